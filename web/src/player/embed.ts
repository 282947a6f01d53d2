/** Entry of `tallylight-player.js`: registers `<tallylight-player>` on any page that loads it. */
import "./player";
