/** Loudness of a microphone for a level meter: root mean square of the newest samples, as 0 to 1 on a decibel scale. */
export class LevelMeter {
  readonly #context = new AudioContext();
  readonly #analyser: AnalyserNode;
  readonly #samples: Float32Array<ArrayBuffer>;

  constructor(track: MediaStreamTrack) {
    this.#analyser = this.#context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#context.createMediaStreamSource(new MediaStream([track])).connect(this.#analyser);
    // Suspended until a gesture when the page opened the camera by itself.
    void this.#context.resume().catch(() => undefined);
  }

  get running(): boolean {
    return this.#context.state === "running";
  }

  /** Resumes after a gesture. */
  resume(): void {
    void this.#context.resume().catch(() => undefined);
  }

  read(): number {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    return levelOf(this.#samples);
  }

  close(): void {
    void this.#context.close().catch(() => undefined);
  }
}

/** -60 dBFS or less is 0 (room noise of a quiet room), full scale is 1. Pure. */
export function levelOf(samples: ArrayLike<number>): number {
  let sum = 0;
  for (let index = 0; index < samples.length; index += 1) sum += (samples[index] ?? 0) ** 2;
  const rms = Math.sqrt(sum / Math.max(1, samples.length));
  if (rms <= 0.001) return 0;
  return Math.min(1, 1 + (20 * Math.log10(rms)) / 60);
}
