import { afterEach, describe, expect, it, vi } from "vitest";
import { type Admitted, findAccess, refusalWords, renewAfterMs, takeToken } from "../src/api/watch_access";
import { embedSnippet, watchAddress } from "../src/pages/watch_share";

describe("the playback token of an address", () => {
  it("is taken out, and everything else stays", () => {
    expect(takeToken("?token=a.b.c")).toEqual({ token: "a.b.c", search: "" });
    expect(takeToken("?transport=hls&token=a.b.c")).toEqual({ token: "a.b.c", search: "?transport=hls" });
    expect(takeToken("?transport=hls")).toEqual({ token: null, search: "?transport=hls" });
    expect(takeToken("?token=")).toEqual({ token: null, search: "" });
  });
});

describe("the way in to a private stream", () => {
  const WATCHABLE = { name: "main", visibility: "private", may: { edit: false, watch: true } };
  const own: Admitted = {
    kind: "admitted",
    about: null,
    token: "own",
    unknown: false,
    expiresAt: "2026-11-25T01:00:00Z",
    unanswered: false,
  };

  /** A server that knows the stream and gives tokens, each unless told otherwise; its engine lets nobody in. */
  function answering({ stream = 200, token = 200 } = {}): void {
    vi.stubGlobal("fetch", async (path: string) => {
      if (path.startsWith("/live/")) return Response.json({ code: "token_missing" }, { status: 401 });
      if (path.endsWith("/playback-token")) {
        return Response.json({ token: "new", expires_at: "2026-11-25T02:00:00Z" }, { status: token });
      }
      if (path === "/api/session") return Response.json({ user: null });
      return Response.json(WATCHABLE, { status: stream });
    });
  }
  afterEach(() => vi.unstubAllGlobals());

  it("is a token of one's own", async () => {
    answering();
    const found = { kind: "admitted", token: "new", expiresAt: "2026-11-25T02:00:00Z", unanswered: false };
    expect(await findAccess("main", null)).toMatchObject(found);
    expect(await findAccess("main", null, own)).toMatchObject(found);
  });

  it("stays as it was when no new token comes", async () => {
    const kept = { kind: "admitted", token: "own", unanswered: true };
    answering({ token: 503 });
    expect(await findAccess("main", null, own)).toMatchObject(kept);
    answering({ stream: 503 });
    expect(await findAccess("main", null, own)).toMatchObject(kept);
  });

  it("is not refused to those who may watch, however often their token fails", async () => {
    answering({ token: 503 });
    expect(await findAccess("main", null)).toMatchObject({ kind: "admitted", token: null, unanswered: true });
    expect(await findAccess("main", "link")).toMatchObject({ kind: "admitted", token: "link", unanswered: true });
  });

  it("is refused where the server answers that it is closed", async () => {
    answering({ stream: 404 });
    expect(await findAccess("main", null, own)).toMatchObject({ kind: "refused", code: "token_missing" });
  });

  it("is found anew in time, and soon when it was not answered", () => {
    const nowMs = Date.parse("2026-11-25T00:00:00Z");
    expect(renewAfterMs(own, nowMs)).toBe(0.8 * 3_600_000);
    expect(renewAfterMs({ ...own, unanswered: true }, nowMs)).toBe(30_000);
    expect(renewAfterMs({ ...own, expiresAt: null }, nowMs)).toBeNull();
  });
});

describe("words for those who may not watch", () => {
  it("offers to sign in to those who are not", () => {
    expect(refusalWords("token_missing", null)).toEqual({
      title: "This stream is private",
      text: "Sign in to watch it.",
      signIn: true,
    });
    expect(refusalWords("token_expired", null).text).toContain("or sign in");
    expect(refusalWords("token_wrong", null).signIn).toBe(true);
  });

  it("names the account to those who are", () => {
    const words = refusalWords("token_missing", { name: "maria" });
    expect(words.text).toContain("signed in as maria");
    expect(words.signIn).toBe(false);
    expect(refusalWords("token_expired", { name: "maria" }).signIn).toBe(false);
  });
});

describe("what is shared", () => {
  it("survives names that are no names", () => {
    const name = `"><script>alert(1)</script>`;
    expect(watchAddress("https://tv.example", name)).not.toMatch(/[<>"]/);
    expect(embedSnippet("https://tv.example", name)).toContain(
      `stream="&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;"`,
    );
  });

  it("is two lines that work anywhere", () => {
    expect(embedSnippet("https://tv.example", "main")).toBe(
      '<script src="https://tv.example/tallylight-player.js"></script>\n<tallylight-player stream="main"></tallylight-player>',
    );
  });
});
