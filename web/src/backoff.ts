/** First upper bound of the full-jitter back-off: quick enough that a blip is not noticed. */
export const BACKOFF_BASE_MS = 500;
/** Largest upper bound: a server that was away for long is not met by all its viewers in the same second. */
export const BACKOFF_CAP_MS = 30_000;

/**
 * Milliseconds to wait before attempt number `failures + 1`, drawn evenly from 0 to the bound ("full jitter").
 *
 * @param failures attempts that failed in a row; 0 gives no more than BACKOFF_BASE_MS.
 * @param random   number in [0, 1), injected so that tests are deterministic.
 */
export function fullJitterMs(
  failures: number,
  random: number,
  baseMs = BACKOFF_BASE_MS,
  capMs = BACKOFF_CAP_MS,
): number {
  const bound = Math.min(capMs, baseMs * 2 ** Math.min(failures, 16));
  return Math.floor(random * bound);
}
