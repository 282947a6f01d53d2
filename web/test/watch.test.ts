import { describe, expect, it } from "vitest";
import { refusalWords, takeToken } from "../src/api/watch_access";
import { embedSnippet, watchAddress } from "../src/pages/watch_share";

describe("the playback token of an address", () => {
  it("is taken out, and everything else stays", () => {
    expect(takeToken("?token=a.b.c")).toEqual({ token: "a.b.c", search: "" });
    expect(takeToken("?transport=hls&token=a.b.c")).toEqual({ token: "a.b.c", search: "?transport=hls" });
    expect(takeToken("?transport=hls")).toEqual({ token: null, search: "?transport=hls" });
    expect(takeToken("?token=")).toEqual({ token: null, search: "" });
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
