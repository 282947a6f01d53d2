import type { ReactiveController, ReactiveControllerHost } from "lit";
import { type Broadcast, fetchNewestBroadcast } from "../api/broadcasts";
import { LiveEvents } from "../api/live_events";
import { Poller } from "../api/poller";
import { fetchSession, onceSessionIsKnown, type User } from "../api/session";
import { fetchOwnStream, fetchOwnStreams, type OwnStream } from "../api/streams";
import type { LiveState } from "../api/types";
import { createPlaybackToken } from "../api/watch_access";
import { rememberedKey, rememberKey, saveTabKey, stillGood, tabKey, takeKeyFromAddress } from "../publisher/keys";

/** Refusals, viewers by transport and the peak change slowly; the picture's state comes by server-sent events. */
const REFRESH_MS = 5000;
/** A token of an hour is replaced in time, so that a player that starts anew is let in. */
const TOKEN_RENEW_MS = 45 * 60_000;
const LAST_STREAM = "tallylight.stream";

/** Those who manage streams pick one of theirs; everybody else names a stream and brings its key. */
export type Mode = "asking" | "owner" | "guest";

export interface StreamListeners {
  onServer(live: LiveState): void;
  /** Another stream was chosen: what was measured of the one before means nothing now. */
  onChosen(): void;
}

/** Which stream this page is about, its key, and what the server knows about it. The page draws it. */
export class StreamController implements ReactiveController {
  /** Undefined while the server has not said. */
  user: User | null | undefined;
  streams: OwnStream[] = [];
  /** Why the list of streams is not there, as a sentence. */
  trouble: string | null = null;
  name = new URLSearchParams(location.search).get("stream") ?? "";
  key = "";
  server: LiveState | null = null;
  serverLost = false;
  /** The stream is private, and whoever uses this page may not watch it. */
  watchRefused = false;
  /** Playback token of a private stream. */
  token = "";
  #broadcast: Broadcast | null = null;
  #events: LiveEvents | null = null;
  #poller: Poller<void> | null = null;
  #stopAsking: () => void = () => undefined;
  #tokenTimer: ReturnType<typeof setInterval> | undefined;

  constructor(
    private readonly host: ReactiveControllerHost,
    private readonly listeners: StreamListeners,
  ) {
    host.addController(this);
  }

  hostConnected(): void {
    const given = takeKeyFromAddress();
    this.#tokenTimer = setInterval(() => void this.#renewToken(), TOKEN_RENEW_MS);
    void this.#begin(given);
  }

  hostDisconnected(): void {
    clearInterval(this.#tokenTimer);
    this.#stopAsking();
    this.#events?.close();
    this.#poller?.close();
  }

  get mode(): Mode {
    if (this.user === undefined) return "asking";
    return this.user?.role === "admin" || this.user?.role === "streamer" ? "owner" : "guest";
  }

  /** The chosen stream as its owner sees it; null for guests and before the first answer. */
  get own(): OwnStream | null {
    return this.streams.find((stream) => stream.name === this.name) ?? null;
  }

  /** The newest broadcast, while it is on air or its publisher may still return. */
  get broadcast(): Broadcast | null {
    return this.#broadcast?.status === "ENDED" ? null : this.#broadcast;
  }

  choose(name: string): void {
    const wanted = name.trim();
    if (wanted === this.name && this.#events) return;
    this.name = wanted;
    this.key = this.mode === "owner" ? this.#knownKey() : tabKey();
    if (this.mode === "owner") keep(wanted);
    this.#broadcast = null;
    this.listeners.onChosen();
    void this.#listen();
    this.#poll();
    this.host.requestUpdate();
  }

  /** A key that was typed, pasted, made or rotated. */
  useKey(key: string): void {
    this.key = key.trim();
    if (this.mode === "owner") rememberKey(this.name, { key: this.key, createdAt: this.own?.key_created_at ?? null });
    else saveTabKey(this.key);
    this.host.requestUpdate();
  }

  /** The server says which stream the key in use belongs to. */
  nameOfKey(name: string): void {
    if (name === this.name) return;
    const { key } = this;
    this.choose(name);
    this.useKey(key);
  }

  /** A stream was made or its key changed. Its facts come first, because they date the key; without them it is kept undated. */
  async adopt(name: string, key: string): Promise<void> {
    const dated = await this.#fetchOwn(name).then(
      () => true,
      () => false,
    );
    if (this.name !== name) this.choose(name);
    this.key = key;
    rememberKey(name, { key, createdAt: dated ? (this.own?.key_created_at ?? null) : null });
    this.host.requestUpdate();
  }

  /** Asks anew what changes slowly. */
  async refresh(): Promise<void> {
    const { name } = this;
    if (name === "") return;
    const broadcast = await fetchNewestBroadcast(name);
    if (this.mode === "owner") await this.#fetchOwn(name);
    if (name !== this.name) return;
    this.#broadcast = broadcast;
    if (this.mode === "owner" && this.key !== "" && this.key === rememberedKey(name)?.key) this.key = this.#knownKey();
    this.host.requestUpdate();
  }

  async #begin(given: string | null): Promise<void> {
    try {
      this.user = await fetchSession();
    } catch {
      this.user = null; // publishing with a key does not need the control plane's word about us
      this.#stopAsking = onceSessionIsKnown((user) => void this.#becomeKnown(user));
    }
    if (this.mode === "owner") await this.#fetchStreams();
    this.choose(this.name || (this.mode === "owner" ? this.#firstChoice() : "main"));
    if (given) this.useKey(given);
    this.host.requestUpdate();
  }

  /** The server was away when the page was opened, and now says whose it is. A key that was brought meanwhile stays. */
  async #becomeKnown(user: User | null): Promise<void> {
    this.user = user;
    if (this.mode === "owner") {
      await this.#fetchStreams();
      if (this.key === "" && !this.own) this.choose(this.#firstChoice());
      if (this.key === "") this.key = this.#knownKey();
      await this.#renewToken();
    }
    this.host.requestUpdate();
  }

  async #fetchStreams(): Promise<void> {
    try {
      this.streams = await fetchOwnStreams();
    } catch (error) {
      this.trouble = error instanceof Error ? error.message : String(error);
    }
  }

  /** The stream used last in this browser, else the one on air, else the first. */
  #firstChoice(): string {
    const names = this.streams.map((stream) => stream.name);
    const last = kept();
    if (last !== null && names.includes(last)) return last;
    return this.streams.find((stream) => stream.status === "ON_AIR")?.name ?? names[0] ?? "";
  }

  async #fetchOwn(name: string): Promise<void> {
    const fresh = await fetchOwnStream(name);
    if (!fresh.may.edit) return;
    const others = this.streams.filter((stream) => stream.name !== name);
    this.streams = [...others, fresh].sort((a, b) => a.name.localeCompare(b.name));
  }

  #knownKey(): string {
    return stillGood(rememberedKey(this.name), this.own?.key_created_at ?? null);
  }

  #poll(): void {
    this.#poller?.close();
    this.#poller = new Poller<void>({
      fetch: () => this.refresh(),
      onValue: () => undefined,
      onError: () => undefined, // the last values stay; that the server is away is said by its events
      everyMs: REFRESH_MS,
    });
  }

  async #listen(): Promise<void> {
    this.#events?.close();
    this.#events = null;
    this.server = null;
    this.serverLost = false;
    this.watchRefused = false;
    this.token = "";
    const { name } = this;
    if (name === "") return;
    if (this.own?.visibility === "private") await this.#renewToken();
    if (name !== this.name || this.#events) return;
    this.#events = new LiveEvents(this.#eventsUrl(), {
      onState: (live) => this.#onState(live),
      onLost: () => {
        this.serverLost = true;
        this.host.requestUpdate();
      },
      onRefused: () => void this.#onRefused(),
    });
  }

  #eventsUrl(): string {
    const query = this.token === "" ? "" : `?token=${encodeURIComponent(this.token)}`;
    return `/live/${encodeURIComponent(this.name)}/events${query}`;
  }

  #onState(live: LiveState): void {
    const changed = this.server !== null && this.server.state !== live.state;
    this.server = live;
    this.serverLost = false;
    this.watchRefused = false;
    this.listeners.onServer(live);
    if (changed) void this.refresh().catch(() => undefined);
    this.host.requestUpdate();
  }

  /** Private since a moment ago, or the token is too old: an owner gets another one, a guest cannot. */
  async #onRefused(): Promise<void> {
    this.serverLost = false;
    this.watchRefused = true;
    if (this.mode === "owner") await this.#renewToken();
    this.host.requestUpdate();
  }

  async #renewToken(): Promise<void> {
    const { name } = this;
    if (this.mode !== "owner" || (this.own?.visibility !== "private" && !this.watchRefused)) return;
    const given = await createPlaybackToken(name).catch(() => null);
    if (!given || name !== this.name) return;
    this.token = given.token;
    this.#events?.readdress(this.#eventsUrl());
    this.host.requestUpdate();
  }
}

function kept(): string | null {
  try {
    return localStorage.getItem(LAST_STREAM);
  } catch {
    return null;
  }
}

function keep(name: string): void {
  try {
    localStorage.setItem(LAST_STREAM, name);
  } catch {
    // Storage denied: the next visit chooses anew.
  }
}
