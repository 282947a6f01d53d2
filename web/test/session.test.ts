import { afterEach, describe, expect, it, vi } from "vitest";
import { localNext, onceSessionIsKnown, ProblemError, request, signInAddress } from "../src/api/session";

afterEach(() => vi.unstubAllGlobals());

function answering(response: Response | Error) {
  const fetch = vi.fn(async (_path: string, _init: RequestInit) => {
    if (response instanceof Error) throw response;
    return response;
  });
  vi.stubGlobal("fetch", fetch);
  return fetch;
}

describe("requests", () => {
  it("carry the header that forms of other sites cannot send", async () => {
    const fetch = answering(Response.json({ name: "main" }, { status: 201 }));
    expect(await request("POST", "/api/streams", { name: "main" })).toEqual({ name: "main" });
    const init = fetch.mock.calls[0]?.[1];
    expect(init?.headers).toMatchObject({ "x-tallylight-request": "1", "content-type": "application/json" });
    expect(init?.body).toBe('{"name":"main"}');
  });

  it("give undefined for an answer without a body", async () => {
    answering(new Response(null, { status: 204 }));
    expect(await request("DELETE", "/api/tokens/1")).toBeUndefined();
  });

  it("throw the server's sentence, code and when to ask again", async () => {
    const problem = { code: "rate_limited", detail: "Too many wrong passwords." };
    answering(Response.json(problem, { status: 429, headers: { "retry-after": "20" } }));
    const error = await request("POST", "/api/session", {}).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(ProblemError);
    expect(error).toMatchObject({ code: "rate_limited", status: 429, message: problem.detail, retryAfterS: 20 });
  });

  it("say in words that nothing answered, or something else did", async () => {
    answering(new TypeError("Failed to fetch"));
    await expect(request("GET", "/api/session")).rejects.toMatchObject({ code: "server_away" });
    answering(new Response("<html>"));
    await expect(request("GET", "/api/session")).rejects.toMatchObject({ code: "answer_unreadable" });
  });
});

describe("the way back after signing in", () => {
  it("is the page that asked", () => {
    const address = signInAddress({ pathname: "/watch/a b", search: "?x=1&y=2" });
    expect(localNext(address.slice(address.indexOf("?")))).toBe("/watch/a b?x=1&y=2");
    expect(localNext("")).toBe("/");
  });

  it.each([
    "https://evil.example",
    "//evil.example",
    "/\\evil.example",
    "/\t/evil.example",
    "javascript:alert(1)",
    "x",
  ])("never leaves this server: %s", (next) => {
    expect(localNext(`?next=${encodeURIComponent(next)}`)).toBe("/");
  });
});

describe("who is signed in", () => {
  it("is asked until the server answers, and then no more", async () => {
    vi.useFakeTimers();
    const told: unknown[] = [];
    answering(new TypeError("Failed to fetch"));
    onceSessionIsKnown((user) => told.push(user));
    const stop = onceSessionIsKnown((user) => told.push(user));
    await vi.advanceTimersByTimeAsync(5000);
    expect(told).toEqual([]);
    stop();
    const fetch = answering(Response.json({ user: { name: "ada", role: "admin" } }));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(told).toEqual([{ name: "ada", role: "admin" }]);
    expect(fetch).toHaveBeenCalledTimes(1);
    vi.useRealTimers();
  });
});
