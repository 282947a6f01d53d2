/** A server that does not answer a goodbye within this is gone; so are we. */
const GOODBYE_MS = 1000;

/** Ends a WHIP or WHEP session. `keepalive` lets the request outlive the page. Never fails: there is nothing left to do. */
export async function endSession(url: string, headers: Record<string, string> = {}): Promise<void> {
  const signal = AbortSignal.timeout(GOODBYE_MS);
  await fetch(url, { method: "DELETE", headers, keepalive: true, signal }).catch(() => undefined);
}
