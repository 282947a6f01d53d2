/** What the browser says about its own sending. Rates are differences of two reports. Pure, except the reader. */

export interface OutboundSample {
  atMs: number;
  bytesSent: number;
  framesEncoded: number;
  keyFramesEncoded: number;
  width: number;
  height: number;
  /** "none", "cpu", "bandwidth" or "other". */
  limitation: string;
  codec: string | null;
  /** Share of packets lost on the way to the server, 0 to 1, as the server reported it. */
  lossShare: number | null;
  roundTripMs: number | null;
  /** 0 to 1; null without a microphone. */
  audioLevel: number | null;
}

export interface OutboundRates {
  bitrateBps: number;
  framesPerSecond: number;
  lossShare: number | null;
  roundTripMs: number | null;
}

export function ratesBetween(before: OutboundSample, now: OutboundSample): OutboundRates | null {
  const seconds = (now.atMs - before.atMs) / 1000;
  if (seconds <= 0 || now.bytesSent < before.bytesSent) return null;
  return {
    bitrateBps: (8 * (now.bytesSent - before.bytesSent)) / seconds,
    framesPerSecond: (now.framesEncoded - before.framesEncoded) / seconds,
    lossShare: now.lossShare,
    roundTripMs: now.roundTripMs,
  };
}

type Entry = RTCStats & Record<string, unknown>;

/** Reads one report; audio and video bytes together, the rest from the video. */
export function readOutbound(report: RTCStatsReport): OutboundSample | null {
  const entries: Entry[] = [];
  report.forEach((entry: Entry) => {
    entries.push(entry);
  });
  const outbound = entries.filter((entry) => entry.type === "outbound-rtp");
  if (outbound.length === 0) return null;
  const video = outbound.find((entry) => entry.kind === "video");
  const remote = entries.find(
    (entry) => entry.type === "remote-inbound-rtp" && entry.kind === (video ? "video" : "audio"),
  );
  const codec = entries.find((entry) => entry.type === "codec" && entry.id === video?.codecId);
  const microphone = entries.find((entry) => entry.type === "media-source" && entry.kind === "audio");
  const number = (value: unknown): number => (typeof value === "number" ? value : 0);
  const maybe = (value: unknown): number | null => (typeof value === "number" ? value : null);
  const trip = maybe(remote?.roundTripTime);
  return {
    atMs: number(outbound[0]?.timestamp),
    bytesSent: outbound.reduce((sum, entry) => sum + number(entry.bytesSent), 0),
    framesEncoded: number(video?.framesEncoded),
    keyFramesEncoded: number(video?.keyFramesEncoded),
    width: number(video?.frameWidth),
    height: number(video?.frameHeight),
    limitation: String(video?.qualityLimitationReason ?? "none"),
    codec: typeof codec?.mimeType === "string" ? codec.mimeType.replace(/^video\//, "") : null,
    lossShare: maybe(remote?.fractionLost),
    roundTripMs: trip === null ? null : trip * 1000,
    audioLevel: maybe(microphone?.audioLevel),
  };
}
