import { endSession } from "../api/end_session";
import { readProblem, retryAfterSeconds } from "../api/problem";
import type { LiveState, Problem } from "../api/types";
import { fullJitterMs } from "../backoff";
import { askIceServers, type IceChoice, iceServersOf, peerConnection, useIceServers } from "../ice";
import { h264First, sessionUrl, withStartBitrate } from "../sdp";
import type { Content } from "./capture";
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
/**
 * After a break our own dead session may still hold the stream: the server lets it yield after 3 s without media. Who
 * holds the stream longer than this is somebody else.
 */
const OWN_GHOST_MAX_MS = 8000;
/** Media that arrives this long after our connection broke is not ours: the server calls a silence by 1.5 s. */
const OWN_MEDIA_MAX_MS = 2500;

export type PublisherState = "idle" | "connecting" | "live" | "reconnecting" | "failed";

/** Why it is not simply live: a stable code, and a sentence for people (the server's own where it gave one). */
export interface Trouble {
  code: string;
  message: string;
}

export interface PublisherOptions {
  /** `/whip`: the key decides the stream. */
  url: string;
  key: string;
  /** End whoever else is sending; only for the first attempt, or two devices would take over from each other for ever. */
  takeOver: boolean;
  ice: IceChoice;
  maxBitrateBps: number;
  /** Tells the encoder what to keep: a screen's sharp edges or a camera's motion. */
  content: Content;
  onState(state: PublisherState, trouble: Trouble | null): void;
  /** The stream the key belongs to, when the server tells. */
  onStreamName(name: string): void;
}

/** Why one attempt ended; `final` ones are not repeated. */
class AttemptError extends Error {
  constructor(
    readonly code: string,
    message: string,
    readonly final: boolean,
    readonly retryAfterMs: number | null = null,
  ) {
    super(message);
  }
}

/** Somebody ended this broadcast on purpose: sending again would undo it. */
const REMOVED: Trouble = {
  code: "removed",
  message: "This broadcast was ended from another page or by the operator. Press Go live to start a new one.",
};

/** A connection that was live and broke. */
export interface Break {
  forMs: number;
  /** Somebody else's media has been seen arriving meanwhile. */
  othersSend: boolean;
}

/** Whether a refusal is the last word. Pure; `broken` is null before the first time on air. */
export function isFinal(problem: Pick<Problem, "code" | "status">, broken: Break | null): boolean {
  if (problem.code === "publisher_busy") {
    return broken === null || broken.othersSend || broken.forMs > OWN_GHOST_MAX_MS;
  }
  return problem.status >= 400 && problem.status < 500 && problem.status !== 429 && problem.status !== 408;
}

/** Sends camera or screen by WHIP (RFC 9725), and keeps sending through failures until `stop`. */
export class WhipPublisher {
  #connection: RTCPeerConnection | null = null;
  #session: string | null = null;
  #state: PublisherState = "idle";
  #trouble: Trouble | null = null;
  #failures = 0;
  #liveSinceMs: number | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #stopped = false;
  #everLive = false;
  /** When the connection that was live broke; null while it is live, and before. */
  #brokeAtMs: number | null = null;
  /** The server has confirmed that this connection's media is on air. */
  #seenOnAir = false;
  #othersSend = false;
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
  async replaceMedia(media: MediaStream, content: Content): Promise<void> {
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

  /**
   * What the server says about the stream while this page sends to it. A cut session is known here some seconds before
   * ICE notices.
   */
  onServer(live: LiveState): void {
    if (this.#state !== "live") {
      const brokenForMs = this.#brokenForMs;
      this.#othersSend = live.state === "on_air" && brokenForMs !== null && brokenForMs > OWN_MEDIA_MAX_MS;
      return;
    }
    if (live.state !== "off_air") {
      this.#seenOnAir = true;
      return;
    }
    if (!this.#seenOnAir) return; // still the time before
    if (live.last_end === "removed") void this.#fail(REMOVED);
    else void this.#onAttemptFailed(BROKEN());
  }

  /** The server's name for this session: the last part of its address. */
  get sessionId(): string | null {
    return this.#session?.split("/").pop() ?? null;
  }

  get #brokenForMs(): number | null {
    return this.#brokeAtMs === null ? null : performance.now() - this.#brokeAtMs;
  }

  async sample(): Promise<OutboundSample | null> {
    return this.#connection ? readOutbound(await this.#connection.getStats()) : null;
  }

  async #attempt(): Promise<void> {
    if (this.#stopped) return;
    this.#setState(this.#everLive ? "reconnecting" : "connecting", this.#trouble);
    try {
      await this.#connect();
    } catch (error) {
      await this.#onAttemptFailed(error);
    }
  }

  async #connect(): Promise<void> {
    const connection = peerConnection(this.options.ice);
    this.#connection = connection;
    this.#addMedia(connection);
    connection.addEventListener("connectionstatechange", () => this.#onConnectionState(connection));
    useIceServers(connection, await askIceServers(this.options.url));
    await connection.setLocalDescription(await connection.createOffer());
    await gathered(connection);
    const answer = await this.#post(connection);
    if (this.#stopped || connection !== this.#connection) return;
    const sdp = withStartBitrate(answer, START_SHARE * this.options.maxBitrateBps);
    await connection.setRemoteDescription({ type: "answer", sdp });
    await this.#applyParameters();
    this.#retryUnless(
      connection,
      CONNECT_MAX_MS,
      new AttemptError(
        "no_connection",
        "The server answered, but no media connection came about. A firewall may block UDP.",
        false,
      ),
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

  async #post(connection: RTCPeerConnection): Promise<string> {
    const signal = AbortSignal.any([this.#abort.signal, AbortSignal.timeout(CONNECT_MAX_MS)]);
    const headers = { "content-type": "application/sdp", authorization: `Bearer ${this.options.key}` };
    const body = connection.localDescription?.sdp ?? "";
    const url = this.options.takeOver ? `${this.options.url}?takeover=1` : this.options.url;
    const response = await fetch(url, { method: "POST", headers, body, signal }).catch(() => {
      throw new AttemptError("server_away", "The server does not answer.", false);
    });
    if (response.status !== 201) throw await this.#refusal(response);
    this.#session = sessionUrl(response.headers.get("location"), this.options.url);
    this.options = { ...this.options, takeOver: false };
    useIceServers(connection, iceServersOf(response.headers.get("link")));
    const name = response.headers.get("x-tallylight-stream");
    if (name) this.options.onStreamName(name);
    return await response.text();
  }

  async #refusal(response: Response): Promise<AttemptError> {
    const problem = await readProblem(response);
    const seconds = retryAfterSeconds(response.headers);
    const retryAfterMs = seconds === null ? null : seconds * 1000;
    const forMs = this.#brokenForMs;
    const broken = forMs === null ? null : { forMs, othersSend: this.#othersSend };
    return new AttemptError(problem.code, problem.detail, isFinal(problem, broken), retryAfterMs);
  }

  #onConnectionState(connection: RTCPeerConnection): void {
    if (connection !== this.#connection || this.#stopped) return;
    if (connection.connectionState === "connected") {
      clearTimeout(this.#timer);
      this.#everLive = true;
      this.#brokeAtMs = null;
      this.#othersSend = false;
      this.#liveSinceMs ??= performance.now();
      this.#setState("live", null);
    }
    if (connection.connectionState === "disconnected") {
      this.#retryUnless(connection, DISCONNECTED_GRACE_MS, BROKEN());
    }
    if (connection.connectionState === "failed") {
      void this.#onAttemptFailed(BROKEN());
    }
  }

  #retryUnless(connection: RTCPeerConnection, waitMs: number, error: AttemptError): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      if (connection !== this.#connection || connection.connectionState === "connected") return;
      void this.#onAttemptFailed(error);
    }, waitMs);
  }

  async #onAttemptFailed(error: unknown): Promise<void> {
    if (this.#stopped) return;
    clearTimeout(this.#timer);
    const live = this.#liveSinceMs !== null && performance.now() - this.#liveSinceMs > STABLE_MS;
    this.#failures = live ? 0 : this.#failures;
    this.#liveSinceMs = null;
    this.#seenOnAir = false;
    if (this.#everLive) this.#brokeAtMs ??= performance.now();
    const reason = asAttemptError(error);
    if (reason.final) return await this.#fail(reason);
    this.#setState(this.#everLive ? "reconnecting" : "connecting", {
      code: reason.code,
      message: `${reason.message} Trying again.`,
    });
    await this.#closeConnection();
    if (this.#stopped) return;
    const waitMs = reason.retryAfterMs ?? fullJitterMs(this.#failures, Math.random(), 500, BACKOFF_CAP_MS);
    this.#failures += 1;
    this.#timer = setTimeout(() => void this.#attempt(), waitMs);
  }

  /** Gives up, with the reason on the screen. */
  async #fail({ code, message }: Trouble): Promise<void> {
    if (this.#stopped) return;
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#setState("failed", { code, message });
    await this.#closeConnection();
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

  #setState(state: PublisherState, trouble: Trouble | null): void {
    this.#state = state;
    this.#trouble = trouble;
    this.options.onState(state, trouble);
  }
}

const BROKEN = (): AttemptError => new AttemptError("connection_lost", "The connection to the server broke.", false);

/** Whatever else the browser throws is worth another try: it may be a device that is being changed. */
function asAttemptError(error: unknown): AttemptError {
  if (error instanceof AttemptError) return error;
  return new AttemptError("browser", `The browser could not connect (${String(error)}).`, false);
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
