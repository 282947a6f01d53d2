import type { StreamStatus } from "../api/types";
import type { LampState } from "../components/lamp";

/** The tally of one stream in the list: red only while a viewer could decode it. Pure. */
export function listTally(stream: StreamStatus): { state: LampState; word: string } {
  if (stream.status !== "ON_AIR") return { state: "off_air", word: "Off air" };
  const ways = Object.values(stream.playback ?? {});
  const playable = ways.length === 0 || ways.some((way) => way.playable);
  if (playable) return { state: "on_air", word: "On air" };
  const starting = ways.some((way) => way.code === "starting");
  return { state: "degraded", word: starting ? "Starting" : "Not playable" };
}

/** "Nobody is on air.", "2 streams are on air." */
export function onAirSentence(count: number): string {
  if (count === 0) return "Nobody is on air.";
  return count === 1 ? "One stream is on air." : `${count} streams are on air.`;
}
