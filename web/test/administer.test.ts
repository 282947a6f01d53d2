import { describe, expect, it } from "vitest";
import { type Account, newPassword } from "../src/api/accounts";
import type { Role } from "../src/api/session";
import { attemptText, deliveryText } from "../src/api/webhook_words";
import type { Delivery } from "../src/api/webhooks";
import { ownerChange, ownerField } from "../src/pages/dashboard/streams";

const attempt = { at: "2026-11-25T00:00:00Z", status_code: 500, error: null, duration_ms: 41 };
const delivery = (changes: Partial<Delivery>): Delivery => ({
  id: "d1",
  event: "broadcast.started",
  stream: "main",
  status: "pending",
  attempts: [attempt],
  created_at: "2026-11-25T00:00:00Z",
  next_attempt_at: null,
  ...changes,
});

describe("deliveries in words", () => {
  it("says what each attempt gave", () => {
    expect(attemptText(attempt)).toBe("answered 500 after 41 ms");
    expect(attemptText({ ...attempt, status_code: null, error: "timeout", duration_ms: 10_000 })).toBe(
      "no answer in time after 10000 ms",
    );
    expect(attemptText({ ...attempt, status_code: null, duration_ms: null })).toBe("no answer");
  });

  it("says how far it is and what comes", () => {
    const now = Date.parse("2026-11-25T00:00:00Z");
    expect(deliveryText(delivery({ status: "delivered" }), now)).toBe("at the first attempt");
    expect(deliveryText(delivery({ status: "failed", attempts: [attempt, attempt] }), now)).toBe(
      "given up after 2 attempts",
    );
    expect(deliveryText(delivery({ next_attempt_at: "2026-11-25T00:00:30Z" }), now)).toBe(
      "1 attempt so far, the next one in 30 s",
    );
    expect(deliveryText(delivery({ attempts: [] }), now)).toBe("0 attempts so far");
  });
});

describe("a password nobody has to think of", () => {
  it("is long, readable and another one each time", () => {
    const made = new Set(Array.from({ length: 50 }, newPassword));
    expect(made.size).toBe(50);
    for (const password of made) expect(password).toMatch(/^[a-zA-Z34679]{20}$/);
    expect([...made].join("")).not.toMatch(/[lIO01]/);
  });
});

describe("the owner of a stream", () => {
  const stream = (owner: string | null) =>
    ({ name: "main", status: "OFF_AIR", stream_type: null, started_at: null, uptime_s: null, owner }) as const;
  const account = (name: string, role: Role): Account => ({
    name,
    role,
    created_at: "2026-11-25T00:00:00Z",
    last_seen_at: null,
    disabled: false,
  });
  const owners = (accounts: Account[]) => ownerField(stream("maria"), accounts).choices?.map(({ value }) => value);

  it("is among the choices, whatever is known of the accounts", () => {
    expect(owners([])).toEqual(["", "maria"]);
    expect(owners([account("ada", "admin"), account("eve", "viewer")])).toEqual(["", "maria", "ada"]);
    expect(owners([account("ada", "admin"), account("maria", "viewer")])).toEqual(["", "ada", "maria"]);
    expect(ownerField(stream("maria"), []).value).toBe("maria");
  });

  it("is only told to the server when it changes", () => {
    expect(ownerChange(stream("maria"), "maria")).toEqual({});
    expect(ownerChange(stream(null), "")).toEqual({});
    expect(ownerChange(stream("maria"), "")).toEqual({ owner: null });
    expect(ownerChange(stream(null), "ada")).toEqual({ owner: "ada" });
  });
});
