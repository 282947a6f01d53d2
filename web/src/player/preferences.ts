/** What the player remembers between visits. Storage may be denied (private windows, embedding): then nothing is. */

const VOLUME_KEY = "tallylight.volume";

/** Volume from 0 to 1; full when never set. */
export function loadVolume(): number {
  const value = Number(read(VOLUME_KEY) ?? "1");
  return Number.isFinite(value) ? Math.min(1, Math.max(0, value)) : 1;
}

export function saveVolume(volume: number): void {
  try {
    localStorage.setItem(VOLUME_KEY, String(volume));
  } catch {
    // Storage denied: the volume lasts as long as the page.
  }
}

function read(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}
