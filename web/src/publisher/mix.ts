/** Several sounds as one track, because a broadcast has one: what a shared screen plays, and the microphone. */
export class SoundMix {
  readonly #context = new AudioContext();
  readonly #output = this.#context.createMediaStreamDestination();

  /** @param tracks belong to the mix from now on: they stop with it. */
  constructor(private readonly tracks: readonly MediaStreamTrack[]) {
    for (const track of tracks) {
      this.#context.createMediaStreamSource(new MediaStream([track])).connect(this.#output);
    }
    void this.#context.resume().catch(() => undefined);
  }

  get stream(): MediaStream {
    return this.#output.stream;
  }

  close(): void {
    for (const track of this.tracks) track.stop();
    void this.#context.close().catch(() => undefined);
  }
}
