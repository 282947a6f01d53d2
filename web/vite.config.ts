import { existsSync, readdirSync } from "node:fs";
import { resolve } from "node:path";
import { defineConfig, type Plugin } from "vite";
import { mockServer } from "./dev/mock.ts";

/** Engine that `npm run dev` talks to when no mock is asked for. */
const ENGINE = process.env.TALLYLIGHT_DEV_ENGINE ?? "http://127.0.0.1:8080";

/** Every `NAME.html` beside this file is a page. */
const PAGES = readdirSync(import.meta.dirname).filter((name) => name.endsWith(".html"));

/** Serves `/watch/NAME` and `NAME.html` as `/NAME` in development, as the engine's http front does in production. */
function pageRoutes(): Plugin {
  return {
    name: "tallylight-page-routes",
    configureServer(server) {
      server.middlewares.use((request, _response, next) => {
        const path = (request.url ?? "").split("?")[0] ?? "";
        const query = (request.url ?? "").slice(path.length);
        if (/^\/watch\/[^/]+$/.test(path)) request.url = `/watch.html${query}`;
        else if (existsSync(resolve(import.meta.dirname, `${path.slice(1)}.html`)))
          request.url = `${path}.html${query}`;
        next();
      });
    },
  };
}

export default defineConfig(({ mode }) => ({
  plugins: mode === "mock" ? [mockServer(), pageRoutes()] : [pageRoutes()],
  server: {
    proxy:
      mode === "mock"
        ? {}
        : Object.fromEntries(["/api/", "/whip", "/whep", "/hls/", "/live/"].map((path) => [path, ENGINE])),
  },
  build: {
    outDir: "../src/tallylight/web",
    emptyOutDir: true,
    target: "es2022",
    // hls.js is one lazily loaded chunk of about 530 kB; only viewers on the HLS path fetch it.
    chunkSizeWarningLimit: 600,
    rolldownOptions: {
      input: PAGES.map((page) => resolve(import.meta.dirname, page)),
    },
  },
}));
