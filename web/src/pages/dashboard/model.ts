/** What the dashboard makes of the server's answers. Pure. */
import type { LinkLamp, LinkState, RunningStream } from "../../api/dashboard";
import type { ServerEvent } from "../../api/events_tail";
import type { LampState } from "../../components/lamp";
import { viewerCount } from "../../format";

/** Worst first. */
const SEVERITY: LinkState[] = ["fail", "warn", "unknown", "ok"];

function severity(state: LinkState): number {
  const place = SEVERITY.indexOf(state);
  return place < 0 ? SEVERITY.indexOf("unknown") : place;
}

/** Links that wait do so for another one, or because nobody asks: no fault of their own. */
function worst(links: readonly LinkLamp[]): number {
  const own = links.filter((lamp) => lamp.state !== "waiting");
  return Math.min(SEVERITY.length - 1, ...own.map((lamp) => severity(lamp.state)));
}

/** Broken streams, then doubtful ones, then the rest by name. */
export function worstFirst(streams: readonly RunningStream[]): RunningStream[] {
  // Of two that are broken, the one that viewers miss comes first.
  const broken = (stream: RunningStream): number => (isOnAir(stream) ? -2 : -1);
  const rank = (stream: RunningStream): number => (stream.cause ? broken(stream) : worst(stream.links));
  return [...streams].sort((one, other) => rank(one) - rank(other) || one.name.localeCompare(other.name));
}

export interface Sorted {
  /** Each with its lamps: somebody sends, or something about it is broken. */
  shown: RunningStream[];
  /** Nobody sends and nothing is wrong. */
  offAir: RunningStream[];
}

/**
 * What has to be looked at, worst first, and the rest. What breaks for all streams alike (no engine, a full disk) is
 * shown once, not for each stream that nobody sends to.
 */
export function sortStreams(streams: readonly RunningStream[]): Sorted {
  const said = new Set<string>();
  const shown: RunningStream[] = [];
  const offAir: RunningStream[] = [];
  for (const stream of worstFirst(streams)) {
    const sentTo = isOnAir(stream) || stream.stream_type !== null;
    const news = stream.cause !== null && !said.has(stream.cause.sentence);
    if (stream.cause) said.add(stream.cause.sentence);
    (sentTo || news ? shown : offAir).push(stream);
  }
  return { shown, offAir };
}

export function isOnAir(stream: RunningStream): boolean {
  return stream.status !== "OFF_AIR";
}

/** Links that are not right, but for the one that the cause explains and those that only wait. */
export function remarks(stream: RunningStream): LinkLamp[] {
  return stream.links.filter(
    (lamp) => (lamp.state === "fail" || lamp.state === "warn") && lamp.link !== stream.cause?.link,
  );
}

/** The lamp of a stream's whole chain. */
export function streamLamp(stream: RunningStream): { state: LampState; word: string } {
  if (stream.status === "RECONNECTING") return { state: "degraded", word: "Reconnecting" };
  const state = SEVERITY[worst(stream.links)];
  if (stream.cause || state === "fail") return { state: "fail", word: "Broken" };
  if (!isOnAir(stream)) {
    return stream.stream_type === null
      ? { state: "off_air", word: "Off air" }
      : { state: "degraded", word: "No picture" };
  }
  if (state === "warn") return { state: "degraded", word: "On air, degraded" };
  return { state: "on_air", word: "On air" };
}

/** What the summary tells, apart from the numbers in its sentences: it is said anew when this changes. */
export function summaryState(streams: readonly RunningStream[]): string {
  const causes = brokenStreams(streams).map(({ name, cause }) => `${name}/${cause?.link}/${cause?.code}`);
  return [streams.filter(isOnAir).length, ...causes].join(" ");
}

/** The streams in words for those who do not see the lamps. */
export function summary(streams: readonly RunningStream[]): string {
  const onAir = streams.filter(isOnAir).length;
  const broken = brokenStreams(streams);
  const count = onAir === 0 ? "Nothing is on air" : `${onAir} on air`;
  if (broken.length === 0) return `${count}, no broken link.`;
  return `${count}. ${broken.map((stream) => `${stream.name}: ${stream.cause?.sentence}`).join(" ")}`;
}

function brokenStreams(streams: readonly RunningStream[]): RunningStream[] {
  return sortStreams(streams).shown.filter((stream) => stream.cause);
}

export function totalViewers(streams: readonly RunningStream[]): number {
  return streams.reduce((sum, stream) => sum + viewerCount(stream.viewers), 0);
}

export interface EventFilter {
  text: string;
  stream: string;
  name: string;
}

/** One event's fields as text: "reason connection_lost · duration_s 12.3". */
export function fieldsText(fields: Readonly<Record<string, unknown>>): string {
  const shown = (value: unknown): string => (typeof value === "object" ? JSON.stringify(value) : String(value));
  return Object.entries(fields)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([name, value]) => `${name} ${shown(value)}`)
    .join(" · ");
}

export function matches(event: ServerEvent, filter: EventFilter): boolean {
  if (filter.stream !== "" && event.stream !== filter.stream) return false;
  if (filter.name !== "" && event.event !== filter.name) return false;
  const text = `${event.event} ${event.stream ?? ""} ${fieldsText(event.fields)}`.toLowerCase();
  return text.includes(filter.text.trim().toLowerCase());
}

const TROUBLE = /refused|denied|rejected|failed|lost|stalled|reconnecting|gone/;

/** Whether an event tells of trouble, by its name. */
export function isTrouble(name: string): boolean {
  return TROUBLE.test(name);
}
