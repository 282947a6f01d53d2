/**
 * Words for an `aria-live` region: new ones when the state they tell of changes, the same while only numbers in them do,
 * or screen readers would say every second again. No looks.
 */
export class Announcement {
  #state: string | null = null;
  #words = "";

  /** What the region holds now. */
  words(state: string, words: string): string {
    if (state !== this.#state) {
      this.#state = state;
      this.#words = words;
    }
    return this.#words;
  }
}
