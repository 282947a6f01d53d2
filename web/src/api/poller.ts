import { fullJitterMs } from "../backoff";

export interface PollerOptions<Value> {
  fetch(signal: AbortSignal): Promise<Value>;
  onValue(value: Value): void;
  /** Called on every failure; the last value stays valid for showing. */
  onError(error: unknown): void;
  everyMs: number;
}

/** An answer later than this is as good as none. */
const TIMEOUT_MS = 8000;
const BACKOFF_CAP_MS = 20_000;

/** Asks again and again while the page is visible, ever more slowly while it fails. */
export class Poller<Value> {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #closed = false;
  readonly #onVisible = (): void => {
    if (!document.hidden) this.#schedule(0);
  };

  constructor(private readonly options: PollerOptions<Value>) {
    document.addEventListener("visibilitychange", this.#onVisible);
    void this.#ask();
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    document.removeEventListener("visibilitychange", this.#onVisible);
  }

  async #ask(): Promise<void> {
    try {
      const value = await this.options.fetch(AbortSignal.timeout(TIMEOUT_MS));
      if (this.#closed) return;
      this.#failures = 0;
      this.options.onValue(value);
    } catch (error) {
      if (this.#closed) return;
      this.#failures += 1;
      this.options.onError(error);
    }
    if (!document.hidden) this.#schedule(this.options.everyMs + this.#penaltyMs());
  }

  #penaltyMs(): number {
    return this.#failures === 0 ? 0 : fullJitterMs(this.#failures, Math.random(), this.options.everyMs, BACKOFF_CAP_MS);
  }

  #schedule(waitMs: number): void {
    clearTimeout(this.#timer);
    if (!this.#closed) this.#timer = setTimeout(() => void this.#ask(), waitMs);
  }
}
