import { resolve } from "node:path";
import { defineConfig } from "vite";

/** The player as one classic script, `tallylight-player.js`, that any site can embed with one tag. */
export default defineConfig({
  publicDir: false,
  build: {
    outDir: "../src/tallylight/web",
    emptyOutDir: false, // the pages were built into it just before
    target: "es2022",
    chunkSizeWarningLimit: 800,
    lib: {
      entry: resolve(import.meta.dirname, "src/player/embed.ts"),
      name: "TallylightPlayer",
      formats: ["iife"],
      fileName: () => "tallylight-player.js",
    },
    rolldownOptions: { output: { codeSplitting: false } },
  },
  define: { "process.env.NODE_ENV": '"production"' },
});
