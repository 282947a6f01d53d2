/** Words for what the player is doing: which link, and who can do something about it. Pure. */
import { age } from "../format";
import type { Fallback, View } from "./recovery";

export interface Card {
  /** Short and in large type. */
  title: string;
  /** One or two sentences: the link that broke and who can fix it. */
  text: string;
  /** `wait`: nothing wrong; `warn`: somebody else's turn; `fail`: this will not play here. */
  tone: "wait" | "warn" | "fail";
}

/** Nothing to say for this long: pictures usually come sooner, and a flashing card is worse than none. */
const QUIET_MS = 700;

/** The card over the picture, or null while the picture speaks for itself. */
export function card(view: View): Card | null {
  switch (view.phase) {
    case "playing":
    case "paused":
      return null;
    case "connecting":
      return connecting(view);
    case "waiting":
      return {
        title: "Not on air yet",
        text: "The picture appears here by itself when the broadcast starts. Nothing to do on your side.",
        tone: "wait",
      };
    case "starting":
      return starting(view);
    case "stalled":
      return {
        title: "Waiting for the picture",
        text: `The streamer's picture stopped${stoppedAgo(view)}. Nothing to do on your side; it continues when it returns.`,
        tone: "warn",
      };
    case "reconnecting":
      return reconnecting(view);
    case "ended":
      return {
        title: "The broadcast has ended",
        text:
          view.code === "finished"
            ? "The streamer finished. If they go on air again, the picture appears here by itself."
            : "The streamer's connection broke and did not come back. If they return, the picture appears here by itself.",
        tone: "wait",
      };
    case "denied":
      return denied(view);
    case "unplayable":
      return unplayable(view);
  }
}

function stoppedAgo(view: View): string {
  return view.mediaAgeMs === null ? "" : ` ${age(view.mediaAgeMs / 1000)} ago`;
}

function connecting(view: View): Card | null {
  if (view.sinceMs < QUIET_MS) return null;
  if (view.code !== "server_away" && view.sinceMs < 3000) {
    return { title: "Connecting", text: "Asking the server what is on air.", tone: "wait" };
  }
  return {
    title: "The server does not answer",
    text: "Check your own connection first; if other sites work, the operator of this server can help. This page keeps trying.",
    tone: "warn",
  };
}

function starting(view: View): Card | null {
  if (view.code === "publisher_silent") {
    return {
      title: "Starting soon",
      text: "The streamer is connected but sends no picture yet. Nothing to do on your side.",
      tone: "wait",
    };
  }
  if (view.sinceMs < QUIET_MS) return null;
  if (view.sinceMs < 3000) return { title: "Starting", text: "The picture is on its way.", tone: "wait" };
  return {
    title: "Still starting",
    text: "The broadcast is on air, but no picture has reached this browser yet. Trying a second way in beside the first.",
    tone: "warn",
  };
}

function reconnecting(view: View): Card | null {
  const seconds = age(view.sinceMs / 1000);
  if (view.code === "server_away") {
    return {
      title: "Reconnecting to the server",
      text: `The server does not answer since ${seconds}. Nothing to do on your side if other sites work; this page keeps trying.`,
      tone: "warn",
    };
  }
  if (view.code === "publisher_lost") {
    return {
      title: "Waiting for the streamer",
      text: `The streamer's connection to the server broke ${seconds} ago. Nothing to do on your side; the picture continues when they return.`,
      tone: "warn",
    };
  }
  if (view.transport === null && view.sinceMs < QUIET_MS) return null; // a new session usually shows sooner
  return {
    title: "Reconnecting",
    text: "The broadcast goes on, but its picture stopped reaching this browser: the link between the server and you. Connecting again.",
    tone: "warn",
  };
}

function denied(view: View): Card {
  if (view.code === "token_expired") {
    return {
      title: "This link has expired",
      text: "The broadcast is private, and the permission to watch it ran out. Reload the page if you are signed in, or ask the streamer for a new link.",
      tone: "fail",
    };
  }
  if (view.code === "token_missing") {
    return {
      title: "This broadcast is private",
      text: "Sign in with an account that may watch it, or ask the streamer for a link.",
      tone: "fail",
    };
  }
  return {
    title: "This link does not work any more",
    text: "The broadcast is private, and its streamer withdrew this permission to watch. Sign in, or ask the streamer for a new link.",
    tone: "fail",
  };
}

function unplayable(view: View): Card {
  const reason = view.fallback?.reason ? ` ${view.fallback.reason}` : "";
  if (view.code === "browser_codec") {
    return {
      title: "This browser cannot show this picture",
      text: `The stream uses a codec that this browser does not decode.${reason} Another browser may; the streamer can switch the encoder to H.264.`,
      tone: "fail",
    };
  }
  if (view.code === "webrtc_excluded") {
    return {
      title: "Not playable over WebRTC",
      text: `${view.fallback?.reason ?? "This stream cannot be sent over WebRTC."} ${view.fallback?.fix ?? "Remove transport=webrtc to let the player choose."}`,
      tone: "fail",
    };
  }
  return {
    title: "This stream cannot be played here",
    text: `${view.fallback?.reason ?? "Its codecs fit neither WebRTC nor HLS in this browser."} ${view.fallback?.fix ?? "The streamer can switch the encoder to H.264."}`,
    tone: "fail",
  };
}

/** One sentence for why the slower transport is used, and what would change it; null when there is nothing to tell. */
export function fallbackSentence(fallback: Fallback | null): string | null {
  switch (fallback?.code) {
    case undefined:
    case "asked":
      return null;
    case "webrtc_off":
      return "This browser has WebRTC switched off. Playing the slower, safer way.";
    case "udp_blocked":
      return "Your network blocks UDP. Switched to the slower, safer mode.";
    case "webrtc_no_frames":
      return "WebRTC connected but brought no picture. Switched to the slower, safer mode.";
    case "b_frames":
      return join(
        fallback,
        "The encoder sends B-frames, which WebRTC cannot show, so this plays about a second later.",
        "The streamer can set B-frames to 0 in the encoder.",
      );
    default:
      return join(
        fallback,
        "This stream's codec cannot go over WebRTC, so it plays about a second later.",
        "The streamer can switch the encoder to H.264.",
      );
  }
}

function join(fallback: Fallback | null, reason: string, fix: string): string {
  return `${fallback?.reason ?? reason} ${fallback?.fix ?? (fallback?.reason ? "" : fix)}`.trim();
}
