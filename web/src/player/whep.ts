import { endSession } from "../api/end_session";
import { readProblem, retryAfterSeconds } from "../api/problem";
import { askIceServers, type IceChoice, iceServersOf, peerConnection, useIceServers } from "../ice";
import { sessionUrl, withStereoOpus } from "../sdp";
import { type InboundSample, JitterTarget, type Latency, webrtcLatency } from "./latency";
import {
  createVideo,
  type PlayerTransport,
  type TransportHandlers,
  type TransportSample,
  whenFirstFrame,
} from "./transport";

/** A server that has not answered the offer by then is not going to. */
const ANSWER_TIMEOUT_MS = 8000;
/** Answers that stay the same for this broadcast, however often it is asked. */
const PERMANENT_STATUS = [406, 409, 415];

/**
 * An offer made before it is needed: creating the first certificate and offer of a page, and asking for ICE servers,
 * takes tens of milliseconds, which then pass while the server-sent state is on its way.
 */
export class PreparedOffer {
  readonly connection: RTCPeerConnection;
  readonly #offer: Promise<string>;
  readonly #iceServers: Promise<RTCIceServer[]>;

  /** `url` is the WHEP address the offer will go to. */
  constructor(url: string, ice: IceChoice) {
    this.#iceServers = askIceServers(url);
    this.connection = peerConnection(ice);
    this.connection.addTransceiver("video", { direction: "recvonly" });
    this.connection.addTransceiver("audio", { direction: "recvonly" });
    this.#offer = this.#create();
    this.#offer.catch(() => undefined); // reported by whoever asks for it
  }

  /**
   * Applies the offer and returns its text. No candidate is waited for, relayed ones neither: the server is ICE-lite at
   * an address that we or the relay can reach, and learns ours from the connectivity checks.
   */
  async apply(): Promise<string> {
    const sdp = await this.#offer;
    useIceServers(this.connection, await this.#iceServers);
    await this.connection.setLocalDescription({ type: "offer", sdp });
    return sdp;
  }

  async #create(): Promise<string> {
    const offer = await this.connection.createOffer();
    return withStereoOpus(offer.sdp ?? "");
  }
}

export interface WhepOptions {
  url: string;
  /** Playback token of a private stream; null for a public one. */
  token: string | null;
  muted: boolean;
  volume: number;
  prepared: PreparedOffer;
}

/** Playback over WebRTC, negotiated by WHEP (draft-ietf-wish-whep; same shape as RFC 9725). */
export class WhepTransport implements PlayerTransport {
  readonly name = "webrtc";
  readonly video: HTMLVideoElement;
  requestedAtMs: number | null = null;
  readonly #connection: RTCPeerConnection;
  readonly #abort = new AbortController();
  readonly #media = new MediaStream();
  #session: string | null = null;
  #stopped = false;
  #before: InboundSample | null = null;
  #jitter: JitterTarget | null = null;
  #latency: Latency | null = null;

  constructor(
    private readonly options: WhepOptions,
    private readonly handlers: TransportHandlers,
  ) {
    this.#connection = options.prepared.connection;
    this.video = createVideo(options.muted, options.volume);
  }

  start(): void {
    this.#connection.addEventListener("track", (event) => this.#addTrack(event));
    this.#connection.addEventListener("connectionstatechange", () => this.#onConnectionState());
    whenFirstFrame(this.video, () => this.#live(() => this.handlers.onFirstFrame()));
    void this.#negotiate();
  }

  stop(ended: boolean): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#abort.abort();
    void this.#close(ended);
  }

  async sample(): Promise<TransportSample> {
    const now = readInbound(await this.#connection.getStats());
    const before = this.#before;
    if (now) this.#before = now;
    if (now && before) {
      this.#latency = webrtcLatency(before, now) ?? this.#latency;
      this.#jitter ??= new JitterTarget(now.atMs);
      if (this.#jitter.update(before, now)) this.#applyJitterTarget();
    }
    const seconds = now && before ? (now.atMs - before.atMs) / 1000 : 0;
    return {
      framesDecoded: now?.framesDecoded ?? 0,
      framesDropped: now?.framesDropped ?? 0,
      latency: this.#latency,
      bitrateBps: now && before && seconds > 0 ? (8 * (now.bytesReceived - before.bytesReceived)) / seconds : null,
      framesPerSecond: now?.framesPerSecond ?? null,
      bufferedS: null,
      inbound: now,
      connection: `ICE ${this.#connection.iceConnectionState}, DTLS ${this.#dtlsState()}`,
    };
  }

  async #negotiate(): Promise<void> {
    const timeout = setTimeout(() => this.#abort.abort(), ANSWER_TIMEOUT_MS);
    try {
      const sdp = await this.options.prepared.apply();
      if (this.#stopped) return;
      this.requestedAtMs = performance.now();
      const headers: Record<string, string> = { "content-type": "application/sdp" };
      if (this.options.token) headers.authorization = `Bearer ${this.options.token}`;
      const response = await fetch(this.options.url, {
        method: "POST",
        headers,
        body: sdp,
        signal: this.#abort.signal,
      });
      if (response.status !== 201) return await this.#refused(response);
      this.#session = sessionUrl(response.headers.get("location"), this.options.url);
      useIceServers(this.#connection, iceServersOf(response.headers.get("link")));
      const answer = await response.text();
      if (this.#stopped) return await this.#close(false);
      await this.#connection.setRemoteDescription({ type: "answer", sdp: answer });
    } catch (error) {
      this.#live(() => this.handlers.onFailed({ code: "whep_unreachable", detail: String(error) }));
    } finally {
      clearTimeout(timeout);
    }
  }

  async #refused(response: Response): Promise<void> {
    const problem = await readProblem(response);
    const seconds = retryAfterSeconds(response.headers);
    this.#live(() =>
      this.handlers.onFailed({
        code: problem.code,
        detail: problem.detail,
        retryAfterMs: seconds === null ? null : seconds * 1000,
        denied: response.status === 401,
        permanent: PERMANENT_STATUS.includes(response.status),
      }),
    );
  }

  #addTrack(event: RTCTrackEvent): void {
    this.#media.addTrack(event.track);
    if (this.video.srcObject !== this.#media) this.video.srcObject = this.#media;
    this.#applyJitterTarget();
  }

  /** 0 asks for the lowest latency; browsers without the property keep their own. */
  #applyJitterTarget(): void {
    for (const receiver of this.#connection.getReceivers()) {
      if ("jitterBufferTarget" in receiver) receiver.jitterBufferTarget = this.#jitter?.ms ?? 0;
    }
  }

  #onConnectionState(): void {
    const state = this.#connection.connectionState;
    if (state === "connected") this.#live(() => this.handlers.onConnected());
    // `disconnected` may heal; the frame watchdog decides about it.
    if (state === "failed") {
      const dtls = this.#dtlsState() === "failed";
      const failure = { code: dtls ? "dtls_failed" : "ice_failed", detail: "The WebRTC connection failed." };
      this.#live(() => this.handlers.onFailed(failure));
    }
  }

  #dtlsState(): string {
    return this.#connection.getReceivers()[0]?.transport?.state ?? "new";
  }

  /** DELETE first: the DTLS goodbye of close() would end the session on the server, and DELETE would find none. */
  async #close(ended: boolean): Promise<void> {
    const session = this.#session;
    this.#session = null;
    this.video.muted = true;
    if (session && !ended) await endSession(session);
    this.#connection.close();
  }

  #live(call: () => void): void {
    if (!this.#stopped) call();
  }
}

/** The counters of the incoming video, or null before its first packet. */
function readInbound(report: RTCStatsReport): InboundSample | null {
  let video: RTCInboundRtpStreamStats | null = null;
  let roundTripS: number | null = null;
  report.forEach((entry: RTCStats) => {
    if (entry.type === "inbound-rtp" && (entry as RTCInboundRtpStreamStats).kind === "video") {
      video = entry as RTCInboundRtpStreamStats;
    }
    if (entry.type === "candidate-pair" && (entry as RTCIceCandidatePairStats).nominated) {
      roundTripS = (entry as RTCIceCandidatePairStats).currentRoundTripTime ?? roundTripS;
    }
  });
  return video === null ? null : toSample(video, roundTripS);
}

function toSample(video: RTCInboundRtpStreamStats, roundTripS: number | null): InboundSample {
  return {
    atMs: video.timestamp,
    framesDecoded: video.framesDecoded ?? 0,
    framesDropped: video.framesDropped ?? 0,
    framesPerSecond: video.framesPerSecond ?? 0,
    bytesReceived: video.bytesReceived ?? 0,
    packetsReceived: video.packetsReceived ?? 0,
    packetsLost: video.packetsLost ?? 0,
    jitterBufferDelayS: video.jitterBufferDelay ?? 0,
    jitterBufferEmittedCount: video.jitterBufferEmittedCount ?? 0,
    totalDecodeTimeS: video.totalDecodeTime ?? 0,
    freezeCount: video.freezeCount ?? 0,
    jitterMs: (video.jitter ?? 0) * 1000,
    roundTripTimeMs: roundTripS === null ? null : roundTripS * 1000,
    width: video.frameWidth ?? 0,
    height: video.frameHeight ?? 0,
  };
}
