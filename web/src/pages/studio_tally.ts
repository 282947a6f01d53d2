import type { LiveState } from "../api/types";
import type { LampState } from "../components/lamp";
import type { Phase } from "../player/recovery";
import type { PublisherState } from "../publisher/whip";

export interface TallyFacts {
  server: LiveState | null;
  serverLost: boolean;
  /** The stream is private and not this person's to watch: the server says nothing of it. */
  watchRefused: boolean;
  publisher: PublisherState;
  /** State of the player that watches the stream as viewers do; null while there is none. */
  loopback: Phase | null;
  latencyMs: number | null;
}

export interface Tally {
  state: LampState;
  word: string;
}

/** The streamer's tally: red only when the server has media *and* a viewer's player decodes it. Pure. */
export function tallyOf(facts: TallyFacts): Tally {
  const { server, publisher } = facts;
  if (facts.serverLost) return { state: "degraded", word: "Server does not answer" };
  if (server?.state === "on_air" && facts.loopback === "playing") {
    const latency = facts.latencyMs === null ? "" : ` · ${(facts.latencyMs / 1000).toFixed(2)} s`;
    return { state: "on_air", word: `viewers see you${latency}` };
  }
  if (server?.state === "no_media") return { state: "degraded", word: "Nothing arrives" };
  if (server?.state === "on_air") return { state: "degraded", word: "On air, no picture yet" };
  if (publisher === "connecting") return { state: "unknown", word: "Connecting" };
  if (publisher === "reconnecting") return { state: "degraded", word: "Reconnecting" };
  if (publisher === "live") return { state: "unknown", word: facts.watchRefused ? "Sending" : "Going on air" };
  return { state: "off_air", word: "Off air" };
}
