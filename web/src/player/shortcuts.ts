/** Keys of the player, the ones people know from elsewhere. Pure. */

export type Action =
  | "toggle_play"
  | "toggle_mute"
  | "toggle_fullscreen"
  | "toggle_theatre"
  | "toggle_picture_in_picture"
  | "seek_back"
  | "seek_forward"
  | "volume_up"
  | "volume_down"
  | "toggle_stats";

export interface KeyPress {
  key: string;
  shiftKey: boolean;
  ctrlKey: boolean;
  altKey: boolean;
  metaKey: boolean;
}

const KEYS: Record<string, Action> = {
  " ": "toggle_play",
  k: "toggle_play",
  m: "toggle_mute",
  f: "toggle_fullscreen",
  t: "toggle_theatre",
  i: "toggle_picture_in_picture",
  j: "seek_back",
  l: "seek_forward",
  arrowleft: "seek_back",
  arrowright: "seek_forward",
  arrowup: "volume_up",
  arrowdown: "volume_down",
};

/** The action of a key press, or null; keys with a modifier belong to the browser, except Shift+D. */
export function actionOf(press: KeyPress): Action | null {
  if (press.ctrlKey || press.altKey || press.metaKey) return null;
  const key = press.key.toLowerCase();
  if (press.shiftKey) return key === "d" ? "toggle_stats" : null;
  return KEYS[key] ?? null;
}

/** Whether keys belong to what has the focus: typing, choosing and moving a slider are never shortcuts. */
export function takesKeys(path: readonly EventTarget[]): boolean {
  return path.some(
    (target) =>
      target instanceof HTMLElement &&
      (target.isContentEditable || ["INPUT", "TEXTAREA", "SELECT"].includes(target.tagName)),
  );
}

/** Whether Space or Enter on this element already means "press it". */
export function isButton(path: readonly EventTarget[]): boolean {
  const first = path[0];
  return first instanceof HTMLElement && first.closest("button, a[href], summary") !== null;
}
