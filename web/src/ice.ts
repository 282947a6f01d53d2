/** STUN and TURN servers that a WHIP or WHEP address names in its `Link` headers (RFC 9725 section 4.6). */

/** Asking must not hold the picture up: without an answer by then the connection is tried without servers. */
const ASK_MAX_MS = 1000;
/** A server's list longer than this is a mistake; browsers warn from five on, because each one slows gathering. */
const SERVERS_MAX = 8;

const LINK = /<([^>]*)>((?:\s*;\s*[\w-]+\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^;,\s]*))*)/g;
const PARAMETER = /;\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^;,\s]*))/g;

/** The servers in a `Link` header; what is not an ICE server, or not one a browser takes, is left out. Pure. */
export function iceServersOf(link: string | null): RTCIceServer[] {
  const servers: RTCIceServer[] = [];
  for (const [, url = "", rest = ""] of (link ?? "").matchAll(LINK)) {
    const parameters = new Map<string, string>();
    for (const [, name = "", quoted, bare] of rest.matchAll(PARAMETER)) {
      parameters.set(name.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? bare ?? "");
    }
    const server = parameters.get("rel") === "ice-server" ? serverOf(url, parameters) : null;
    if (server) servers.push(server);
  }
  return servers.slice(0, SERVERS_MAX);
}

function serverOf(url: string, parameters: ReadonlyMap<string, string>): RTCIceServer | null {
  if (/^stuns?:/i.test(url)) return { urls: url };
  const username = parameters.get("username");
  const credential = parameters.get("credential");
  // RTCPeerConnection throws for a TURN server without them.
  if (!/^turns?:/i.test(url) || !username || !credential) return null;
  return { urls: url, username, credential };
}

/** Asks an address for its servers before the first offer: TURN is only of use to candidates gathered with it. */
export async function askIceServers(url: string, headers: Record<string, string> = {}): Promise<RTCIceServer[]> {
  try {
    const response = await fetch(url, { method: "OPTIONS", headers, signal: AbortSignal.timeout(ASK_MAX_MS) });
    return iceServersOf(response.headers.get("link"));
  } catch {
    return []; // the offer that follows says what is wrong
  }
}

/** Hands the servers to a connection that has not begun to gather, or for its next ICE restart. */
export function useIceServers(connection: RTCPeerConnection, servers: RTCIceServer[]): void {
  if (servers.length === 0) return;
  try {
    connection.setConfiguration({ ...connection.getConfiguration(), iceServers: servers });
  } catch {
    // One this browser does not understand, or a closed connection: what can be reached directly still is.
  }
}

export type IceChoice = "" | "relay";

/** `?ice=relay` on a page sends everything through TURN, to try a relay out where UDP is not blocked. Pure. */
export function iceChoice(search: string): IceChoice {
  return new URLSearchParams(search).get("ice") === "relay" ? "relay" : "";
}

export function peerConnection(choice: IceChoice): RTCPeerConnection {
  return new RTCPeerConnection({
    bundlePolicy: "max-bundle",
    iceTransportPolicy: choice === "relay" ? "relay" : "all",
  });
}
