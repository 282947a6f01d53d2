import { endSession } from "../api/end_session";
import { readProblem, retryAfterSeconds } from "../api/problem";
import { fullJitterMs } from "../backoff";
import { h264First, sessionUrl, withStartBitrate } from "../sdp";
import { type OutboundSample, readOutbound } from "./statistics";

/** Host candidates are there at once; a dead STUN server would hold gathering up for 40 s. */
const GATHERING_MAX_MS = 1000;
/** No connection by then: ICE itself would need 15 s to say so. */
const CONNECT_MAX_MS = 10_000;
/** `disconnected` often heals by itself within this. */
const DISCONNECTED_GRACE_MS = 4000;
/** Connected for this long: the next failure starts the back-off anew. */
const STABLE_MS = 30_000;
/** Share of the chosen bitrate to begin with; the rest comes once the path has shown that it carries it. */
const START_SHARE = 0.6;
const BACKOFF_CAP_MS = 10_000;

export type PublisherState = "idle" | "connecting" | "live" | "reconnecting" | "failed";

export interface PublisherOptions {
  /** `/whip`: the key decides the stream. */
  url: string;
  key: string;
  maxBitrateBps: number;
  /** Tells the encoder what to keep: a screen's sharp edges or a camera's motion. */
  content: "camera" | "screen";
  onState(state: PublisherState, message: string | null): void;
  /** The stream the key belongs to, when the server tells. */
  onStreamName(name: string): void;
}

/** Why one attempt ended; `final` ones are not repeated. */
class AttemptError extends Error {
  constructor(
    message: string,
    readonly final: boolean,
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
  }
}

/** Sends camera or screen by WHIP (RFC 9725), and keeps sending through failures until `stop`. */
export class WhipPublisher {
  #connection: RTCPeerConnection | null = null;
  #session: string | null = null;
  #state: PublisherState = "idle";
  #failures = 0;
  #liveSinceMs: number | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;
  #everLive = false;
  #abort = new AbortController();

  constructor(
    private media: MediaStream,
    private options: PublisherOptions,
  ) {}

  get state(): PublisherState {
    return this.#state;
  }

  start(): void {
    void this.#attempt();
  }

  /** Ends the broadcast: tells the server, so that viewers read "ended" and not "connection lost". */
  async stop(): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#abort.abort();
    await this.#closeConnection();
    this.#setState("idle", null);
  }

  /** Another camera, microphone or a screen without interrupting the broadcast. */
  async replaceMedia(media: MediaStream, content: "camera" | "screen"): Promise<void> {
    this.media = media;
    this.options = { ...this.options, content };
    for (const transceiver of this.#connection?.getTransceivers() ?? []) {
      const kind = transceiver.receiver.track.kind;
      const track = media.getTracks().find((candidate) => candidate.kind === kind) ?? null;
      await transceiver.sender.replaceTrack(track);
    }
    await this.#applyParameters();
  }

  async setMaxBitrate(maxBitrateBps: number): Promise<void> {
    this.options = { ...this.options, maxBitrateBps };
    await this.#applyParameters();
  }

  /** The server's name for this session: the last part of its address. */
  get sessionId(): string | null {
    return this.#session?.split("/").pop() ?? null;
  }

  async sample(): Promise<OutboundSample | null> {
    return this.#connection ? readOutbound(await this.#connection.getStats()) : null;
  }

  async #attempt(): Promise<void> {
    if (this.#stopped) return;
    this.#setState(this.#everLive ? "reconnecting" : "connecting", null);
    try {
      await this.#connect();
    } catch (error) {
      await this.#onAttemptFailed(error);
    }
  }

  async #connect(): Promise<void> {
    const connection = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#connection = connection;
    this.#addMedia(connection);
    connection.addEventListener("connectionstatechange", () => this.#onConnectionState(connection));
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    const answer = await this.#post(connection.localDescription?.sdp ?? "");
    if (this.#stopped || connection !== this.#connection) return;
    const sdp = withStartBitrate(answer, START_SHARE * this.options.maxBitrateBps);
    await connection.setRemoteDescription({ type: "answer", sdp });
    await this.#applyParameters();
    this.#retryUnless(
      connection,
      CONNECT_MAX_MS,
      "The server answered, but no media connection came about. A firewall may block UDP.",
    );
  }

  #addMedia(connection: RTCPeerConnection): void {
    // Both kinds are always offered: a microphone or a screen that comes later needs no second negotiation.
    for (const kind of ["video", "audio"] as const) {
      const track = this.media.getTracks().find((candidate) => candidate.kind === kind);
      const transceiver = connection.addTransceiver(track ?? kind, { direction: "sendonly", streams: [this.media] });
      if (kind === "video") preferH264(transceiver);
    }
  }

  async #post(offer: string): Promise<string> {
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(CONNECT_MAX_MS)]);
    const headers = { "content-type": "application/sdp", authorization: `Bearer ${this.options.key}` };
    const response = await fetch(this.options.url, { method: "POST", headers, body: offer, signal }).catch(() => {
      throw new AttemptError("The server does not answer.", false);
    });
    if (response.status !== 201) throw await this.#refusal(response);
    this.#session = sessionUrl(response.headers.get("location"), this.options.url);
    const name = response.headers.get("x-tallylight-stream");
    if (name) this.options.onStreamName(name);
    return await response.text();
  }

  async #refusal(response: Response): Promise<AttemptError> {
    const problem = await readProblem(response);
    const seconds = retryAfterSeconds(response.headers);
    const retryAfterMs = seconds === null ? null : seconds * 1000;
    if (problem.code === "key_wrong" || problem.code === "key_missing" || response.status === 401) {
      return new AttemptError("The server does not know this stream key. Copy it again from where you got it.", true);
    }
    if (problem.code === "publisher_busy") {
      const text = "Another device is already sending to this stream. End it there, or wait until it has gone.";
      return new AttemptError(text, !this.#everLive, retryAfterMs); // after a break it may be our own ghost
    }
    return new AttemptError(problem.detail, response.status < 500, retryAfterMs);
  }

  #onConnectionState(connection: RTCPeerConnection): void {
    if (connection !== this.#connection || this.#stopped) return;
    if (connection.connectionState === "connected") {
      clearTimeout(this.#timer);
      this.#everLive = true;
      this.#liveSinceMs ??= performance.now();
      this.#setState("live", null);
    }
    if (connection.connectionState === "disconnected") {
      this.#retryUnless(connection, DISCONNECTED_GRACE_MS, "The connection to the server broke.");
    }
    if (connection.connectionState === "failed") {
      void this.#onAttemptFailed(new AttemptError("The connection to the server broke.", false));
    }
  }

  #retryUnless(connection: RTCPeerConnection, waitMs: number, message: string): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (connection !== this.#connection || connection.connectionState === "connected") return;
      void this.#onAttemptFailed(new AttemptError(message, false));
    }, waitMs);
  }

  async #onAttemptFailed(error: unknown): Promise<void> {
    clearTimeout(this.#timer);
    const live = this.#liveSinceMs !== null && performance.now() - this.#liveSinceMs > STABLE_MS;
    this.#failures = live ? 0 : this.#failures;
    this.#liveSinceMs = null;
    await this.#closeConnection();
    if (this.#stopped) return;
    const message = error instanceof Error ? error.message : String(error);
    if (error instanceof AttemptError && error.final) {
      this.#stopped = true;
      this.#setState("failed", message);
      return;
    }
    this.#setState(this.#everLive ? "reconnecting" : "connecting", `${message} Trying again.`);
    const given = error instanceof AttemptError ? error.retryAfterMs : null;
    const waitMs = given ?? fullJitterMs(this.#failures, Math.random(), 500, BACKOFF_CAP_MS);
    this.#failures += 1;
    this.#timer = setTimeout(() => void this.#attempt(), waitMs);
  }

  async #applyParameters(): Promise<void> {
    for (const sender of this.#connection?.getSenders() ?? []) {
      if (sender.track?.kind !== "video") continue;
      const screen = this.options.content === "screen";
      sender.track.contentHint = screen ? "detail" : "motion";
      const parameters = sender.getParameters();
      // Viewers on HLS pay for every change of size with a new decoder; fewer pictures a second cost them nothing.
      parameters.degradationPreference = "maintain-resolution";
      for (const encoding of parameters.encodings) encoding.maxBitrate = this.options.maxBitrateBps;
      // Refused while the connection is being replaced; the next one applies them again.
      await sender.setParameters(parameters).catch(() => undefined);
    }
  }

  async #closeConnection(): Promise<void> {
    const session = this.#session;
    const connection = this.#connection;
    this.#session = null;
    this.#connection = null;
    const headers = { authorization: `Bearer ${this.options.key}` };
    // DELETE first: the DTLS goodbye of close() would end the session on the server, and DELETE would find none.
    if (session) await endSession(session, headers);
    connection?.close();
  }

  #setState(state: PublisherState, message: string | null): void {
    this.#state = state;
    this.options.onState(state, message);
  }
}

function preferH264(transceiver: RTCRtpTransceiver): void {
  const codecs = RTCRtpSender.getCapabilities("video")?.codecs ?? [];
  if (codecs.length > 0 && "setCodecPreferences" in transceiver) transceiver.setCodecPreferences(h264First(codecs));
}

/** Resolves when gathering is complete, or after GATHERING_MAX_MS with what is there. */
function gathered(connection: RTCPeerConnection): Promise<void> {
  if (connection.iceGatheringState === "complete") return Promise.resolve();
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, GATHERING_MAX_MS);
    connection.addEventListener("icegatheringstatechange", () => {
      if (connection.iceGatheringState !== "complete") return;
      clearTimeout(timer);
      resolve();
    });
  });
}
