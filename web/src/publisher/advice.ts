/** What the streamer should know now, worst first: a measured value, what it means, what to change. Pure. */
import type { LiveState } from "../api/types";
import { bitrate, videoTrack } from "../format";
import type { Content } from "./capture";
import type { OutboundRates, OutboundSample } from "./statistics";

export interface Advice {
  /** Stable name of what it is about, whatever was measured. */
  code: string;
  level: "ok" | "warn" | "fail";
  title: string;
  text: string;
}

export interface AdviceFacts {
  server: LiveState | null;
  /** Only when this page sends. */
  sample: OutboundSample | null;
  rates: OutboundRates | null;
  content: Content;
  wantedFrameRate: number;
  /** Seconds the microphone has been silent; null without one or when muted on purpose. */
  silentS: number | null;
  /** Seconds the browser has been reducing the picture; null while it does not. */
  limitedS: number | null;
  /** Whether the loop-back player decodes pictures. */
  viewersSee: boolean;
}

/** Viewers who join wait for a keyframe: up to here they hardly notice. */
const KEYFRAME_INTERVAL_MAX_S = 4;
/** Loss a retransmission hides at usual round trips; above it pictures break. */
const LOSS_MAX = 0.02;
const ROUND_TRIP_MAX_MS = 300;
/** A share of the wanted frame rate that viewers do not notice. */
const FRAME_RATE_MIN_SHARE = 0.8;
const SILENCE_MAX_S = 10;
/** A browser begins with a small picture and needs some seconds to find out what the upload carries. */
const LIMITED_MAX_S = 10;

export function advise(facts: AdviceFacts): Advice[] {
  const found = [...fromServer(facts.server), ...fromSender(facts), ...fromMicrophone(facts)];
  if (found.length > 0) return found;
  if (!facts.server || facts.server.state === "off_air") return [];
  if (!facts.viewersSee) {
    return [
      {
        code: "no_picture_yet",
        level: "warn",
        title: "No picture at the viewers yet.",
        text: "The server receives you; the first picture is on its way.",
      },
    ];
  }
  return [{ code: "viewers_see_you", level: "ok", title: "Viewers see you.", text: healthy(facts) }];
}

function fromServer(server: LiveState | null): Advice[] {
  if (!server || server.state === "off_air") return [];
  const found: Advice[] = [];
  if (server.state === "no_media") {
    const seconds = Math.round((server.media_age_ms ?? 0) / 1000);
    found.push({
      code: "nothing_arrives",
      level: "fail",
      title: `Nothing has reached the server for ${seconds} s.`,
      text: "You are connected, but no picture arrives. Check the camera or the encoder and the network of this machine.",
    });
  }
  if (!server.webrtc.playable && server.webrtc.code !== "starting") {
    found.push({
      code: "webrtc_unplayable",
      level: "warn",
      title: server.webrtc.reason ?? "WebRTC viewers cannot play this stream.",
      text: server.webrtc.fix ?? "They get the slower HLS instead. Switch the encoder to H.264 without B-frames.",
    });
  }
  if (!server.hls.playable && server.hls.code !== "starting") {
    found.push({
      code: "hls_unplayable",
      level: "warn",
      title: server.hls.reason ?? "HLS viewers cannot play this stream.",
      text: server.hls.fix ?? "Viewers whose network blocks WebRTC see nothing. Send H.264 instead.",
    });
  }
  const interval = videoTrack(server.tracks)?.keyframe_interval_s ?? 0;
  if (interval > KEYFRAME_INTERVAL_MAX_S) {
    found.push({
      code: "keyframes_rare",
      level: "warn",
      title: `Keyframes come every ${interval.toFixed(1)} s.`,
      text: `Viewers on HLS wait up to ${Math.ceil(interval)} s for their first picture. In OBS: Settings, Output, Keyframe interval: 2 s.`,
    });
  }
  return found;
}

function fromSender({ sample, rates, content, wantedFrameRate, limitedS }: AdviceFacts): Advice[] {
  if (!sample || !rates) return [];
  const found: Advice[] = [];
  if (rates.lossShare !== null && rates.lossShare > LOSS_MAX) {
    found.push({
      code: "packets_lost",
      level: "warn",
      title: `${(rates.lossShare * 100).toFixed(1)} % of your packets are lost.`,
      text: "Your upload is too full or the Wi-Fi too weak. Lower the bitrate, move closer or use a cable.",
    });
  }
  if (rates.roundTripMs !== null && rates.roundTripMs > ROUND_TRIP_MAX_MS) {
    found.push({
      code: "far_away",
      level: "warn",
      title: `The way to the server and back takes ${rates.roundTripMs.toFixed(0)} ms.`,
      text: "Lost packets come back late over such a distance. Lower the bitrate or use a server nearby.",
    });
  }
  const limited = limitedS !== null && limitedS >= LIMITED_MAX_S;
  if (limited && sample.limitation === "cpu") {
    found.push({
      code: "encoder_slow",
      level: "warn",
      title: "This computer cannot encode fast enough.",
      text: `It now sends ${sample.width}x${sample.height} at ${rates.framesPerSecond.toFixed(0)} fps. Choose a smaller picture or close other programs.`,
    });
  } else if (limited && sample.limitation === "bandwidth") {
    found.push({
      code: "upload_narrow",
      level: "warn",
      title: `Your upload carries only ${bitrate(rates.bitrateBps)}.`,
      text: `The browser reduced the picture to ${sample.width}x${sample.height}. Choose a lower bitrate or a better connection.`,
    });
  } else if (
    // A screen gives a picture when something on it moves.
    content === "camera" &&
    sample.limitation === "none" &&
    sample.framesEncoded > 2 * wantedFrameRate &&
    rates.framesPerSecond < FRAME_RATE_MIN_SHARE * wantedFrameRate
  ) {
    found.push({
      code: "camera_slow",
      level: "warn",
      title: `The camera gives ${rates.framesPerSecond.toFixed(0)} of ${wantedFrameRate} pictures a second.`,
      text: "In poor light cameras slow down: add light, or choose the lower frame rate.",
    });
  }
  return found;
}

function fromMicrophone({ silentS, sample }: AdviceFacts): Advice[] {
  if (!sample || silentS === null || silentS < SILENCE_MAX_S) return [];
  return [
    {
      code: "microphone_silent",
      level: "warn",
      title: `The microphone has been silent for ${Math.round(silentS)} s.`,
      text: "Check that the right one is chosen and that it is not muted on the device itself.",
    },
  ];
}

function healthy({ rates, server }: AdviceFacts): string {
  if (rates) {
    const loss = rates.lossShare === null ? "" : `, ${(rates.lossShare * 100).toFixed(1)} % lost`;
    return `${bitrate(rates.bitrateBps)}, ${rates.framesPerSecond.toFixed(0)} fps${loss}.`;
  }
  const video = server ? videoTrack(server.tracks) : null;
  if (!video) return "The server receives sound only.";
  const interval = video.keyframe_interval_s > 0 ? `, a keyframe every ${video.keyframe_interval_s.toFixed(1)} s` : "";
  return `${bitrate(video.bitrate_bps)}, ${video.frame_rate.toFixed(0)} fps${interval}.`;
}

/** What the advice is about, apart from its numbers: it is said anew when this changes. Pure. */
export function adviceState(advice: readonly Advice[]): string {
  return advice.map(({ level, code }) => `${level}/${code}`).join(" ");
}

/** The advice as it is said to those who do not see it. Pure. */
export function adviceWords(advice: readonly Advice[]): string {
  return advice.length === 0 ? "Off air." : advice.map(({ title, text }) => `${title} ${text}`).join(" ");
}
