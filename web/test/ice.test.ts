import { describe, expect, it } from "vitest";
import { iceChoice, iceServersOf } from "../src/ice";

describe("ICE servers of a Link header", () => {
  it("are read with their credentials, several in one value", () => {
    const link =
      '<stun:a.example:3478>; rel="ice-server", <turn:b.example:3478?transport=udp>; rel="ice-server"; ' +
      'username="1764:bob"; credential="s,;\\"x"; credential-type="password"';
    expect(iceServersOf(link)).toEqual([
      { urls: "stun:a.example:3478" },
      { urls: "turn:b.example:3478?transport=udp", username: "1764:bob", credential: 's,;"x' },
    ]);
  });

  it.each([
    ["no header", null],
    ["another relation", '<https://a.example/>; rel="next"'],
    ["TURN without credentials, which a browser throws at", '<turn:a.example>; rel="ice-server"'],
    ["another scheme", '<https://a.example>; rel=ice-server; username=u; credential="c"'],
    ["nonsense", "<<;;,,>"],
  ])("leave out %s", (_what, link) => {
    expect(iceServersOf(link)).toEqual([]);
  });

  it("do not grow without bound", () => {
    expect(iceServersOf(Array(100).fill("<stun:a.example>; rel=ice-server").join(", "))).toHaveLength(8);
  });
});

it("relay is only forced when asked for", () => {
  expect(iceChoice("?ice=relay")).toBe("relay");
  expect(iceChoice("?ice=all")).toBe("");
});
