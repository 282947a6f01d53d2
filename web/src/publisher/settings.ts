/** The studio's choices, kept for the next visit. */
import type { CaptureSettings } from "./capture";

export interface StudioSettings extends CaptureSettings {
  bitrateBps: number;
}

export const HEIGHTS = [
  { value: 360, label: "640x360" },
  { value: 720, label: "1280x720" },
  { value: 1080, label: "1920x1080" },
] as const;
export const FRAME_RATES = [15, 24, 30, 60] as const;
export const BITRATES_BPS = [800_000, 1_500_000, 2_500_000, 4_000_000, 6_000_000] as const;

const DEFAULTS: StudioSettings = { cameraId: "", microphoneId: "", height: 720, frameRate: 30, bitrateBps: 2_500_000 };
const SETTINGS_KEY = "tallylight.studio";

/** Settings out of a stored text; anything unreadable or out of the lists falls back to the default. Pure. */
export function parseSettings(text: string | null): StudioSettings {
  let given: Partial<StudioSettings> = {};
  try {
    given = (JSON.parse(text ?? "{}") as Partial<StudioSettings> | null) ?? {};
  } catch {
    return { ...DEFAULTS };
  }
  const one = <Value>(value: unknown, choices: readonly Value[], fallback: Value): Value =>
    choices.includes(value as Value) ? (value as Value) : fallback;
  return {
    cameraId: typeof given.cameraId === "string" ? given.cameraId : "",
    microphoneId: typeof given.microphoneId === "string" ? given.microphoneId : "",
    height: one<number>(
      given.height,
      HEIGHTS.map((height) => height.value),
      DEFAULTS.height,
    ),
    frameRate: one<number>(given.frameRate, FRAME_RATES, DEFAULTS.frameRate),
    bitrateBps: one<number>(given.bitrateBps, BITRATES_BPS, DEFAULTS.bitrateBps),
  };
}

export function loadSettings(): StudioSettings {
  try {
    return parseSettings(localStorage.getItem(SETTINGS_KEY));
  } catch {
    return { ...DEFAULTS };
  }
}

export function saveSettings(settings: StudioSettings): void {
  try {
    localStorage.setItem(SETTINGS_KEY, JSON.stringify(settings));
  } catch {
    // Storage denied: the choice lasts as long as the page.
  }
}
