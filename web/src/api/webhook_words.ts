/** Deliveries of webhooks in words. Pure. */
import type { Attempt, Delivery } from "./webhooks";

/** "204 after 83 ms", "No answer within 10 s. after 10000 ms". Pure. */
export function attemptText(attempt: Attempt): string {
  const outcome = attempt.error ?? (attempt.status_code === null ? "no answer" : String(attempt.status_code));
  return attempt.duration_ms === null ? outcome : `${outcome.replace(/\.$/, "")} after ${attempt.duration_ms} ms`;
}

/** What happened to a delivery so far, and what comes. Pure. */
export function deliveryText(delivery: Delivery, nowMs: number): string {
  const tries = delivery.attempts.length;
  if (delivery.status === "delivered") return tries === 1 ? "at the first attempt" : `at attempt ${tries}`;
  const made = tries === 1 ? "1 attempt" : `${tries} attempts`;
  if (delivery.status === "failed") return `given up after ${made}`;
  if (!delivery.next_attempt_at) return `${made} so far`;
  const waitS = Math.max(0, Math.round((Date.parse(delivery.next_attempt_at) - nowMs) / 1000));
  return `${made} so far, the next one ${waitS === 0 ? "now" : `in ${waitS} s`}`;
}
