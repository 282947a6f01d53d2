/** Deliveries of webhooks in words. Pure. */
import type { Attempt, Delivery } from "./webhooks";

/** Why there was no answer, by the server's codes (src/tallylight/outbound.py). */
const ERRORS: Record<string, string> = {
  address_refused: "the address is in a network that nothing is sent to, or its name is unknown",
  answer_malformed: "what came back was not HTTP",
  connect_failed: "nobody accepted the connection",
  timeout: "no answer in time",
  tls_failed: "the certificate is not valid",
};

/** "answered 204 after 83 ms", "no answer in time after 10000 ms". */
export function attemptText(attempt: Attempt): string {
  const known = attempt.error === null ? undefined : (ERRORS[attempt.error] ?? attempt.error);
  const outcome = known ?? (attempt.status_code === null ? "no answer" : `answered ${attempt.status_code}`);
  return attempt.duration_ms === null ? outcome : `${outcome} after ${attempt.duration_ms} ms`;
}

/** What happened to a delivery so far, and what comes. */
export function deliveryText(delivery: Delivery, nowMs: number): string {
  const tries = delivery.attempts.length;
  if (delivery.status === "delivered") return tries === 1 ? "at the first attempt" : `at attempt ${tries}`;
  const made = tries === 1 ? "1 attempt" : `${tries} attempts`;
  if (delivery.status === "failed") return `given up after ${made}`;
  if (!delivery.next_attempt_at) return `${made} so far`;
  const waitS = Math.max(0, Math.round((Date.parse(delivery.next_attempt_at) - nowMs) / 1000));
  return `${made} so far, the next one ${waitS === 0 ? "now" : `in ${waitS} s`}`;
}
