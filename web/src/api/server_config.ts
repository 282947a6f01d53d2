/** What `GET /api/config` tells pages about this server; only what they use. */
export interface ServerConfig {
  rtmp: { port: number };
}

/** RTMP's registered port, for a server that does not answer right now. */
const FALLBACK: ServerConfig = { rtmp: { port: 1935 } };

export async function fetchServerConfig(): Promise<ServerConfig> {
  try {
    const response = await fetch("/api/config", { headers: { accept: "application/json" } });
    if (!response.ok) return FALLBACK;
    const body = (await response.json()) as Partial<ServerConfig>;
    return typeof body.rtmp?.port === "number" ? { rtmp: { port: body.rtmp.port } } : FALLBACK;
  } catch {
    return FALLBACK;
  }
}

/** "rtmp://host:1935/live". The port is always written: it is the part people forget. */
export function rtmpServer(hostname: string, port: number): string {
  return `rtmp://${hostname}:${port}/live`;
}
