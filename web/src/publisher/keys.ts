/**
 * Stream keys this browser may remember.
 *
 * The server shows a key once and keeps only its hash, so whoever wants to go live again from here needs the browser to
 * remember it, to paste it, or to rotate it. Keys of accounts are kept until signing out; one that came in an address
 * or was typed without signing in is kept for this tab.
 */

export interface KnownKey {
  key: string;
  /** `key_created_at` of the stream when the key was good; null when nobody said. */
  createdAt: string | null;
}

const KEYS = "tallylight.keys";
const TAB_KEY = "tallylight.key";

/** Keys out of a stored text; anything unreadable counts as none. Pure. */
export function parseKeys(text: string | null): Map<string, KnownKey> {
  const known = new Map<string, KnownKey>();
  try {
    const stored = JSON.parse(text ?? "{}") as Record<string, Partial<KnownKey>> | null;
    for (const [name, value] of Object.entries(stored ?? {})) {
      if (typeof value?.key !== "string" || value.key === "") continue;
      known.set(name, { key: value.key, createdAt: typeof value.createdAt === "string" ? value.createdAt : null });
    }
  } catch {
    // Not ours, or broken: the keys can be pasted again.
  }
  return known;
}

/** The key if it is still the stream's present one: "" after somebody rotated it elsewhere. Pure. */
export function stillGood(known: KnownKey | undefined, keyCreatedAt: string | null): string {
  if (!known) return "";
  const rotated = known.createdAt !== null && keyCreatedAt !== null && known.createdAt !== keyCreatedAt;
  return rotated ? "" : known.key;
}

export function rememberedKey(stream: string): KnownKey | undefined {
  return parseKeys(read("localStorage", KEYS)).get(stream);
}

/** Keeps a key until signing out; "" forgets it. */
export function rememberKey(stream: string, known: KnownKey): void {
  const keys = parseKeys(read("localStorage", KEYS));
  if (known.key === "") keys.delete(stream);
  else keys.set(stream, known);
  write("localStorage", KEYS, JSON.stringify(Object.fromEntries(keys)));
}

export function forgetKeys(): void {
  write("localStorage", KEYS, null);
  write("sessionStorage", TAB_KEY, null);
}

/** The key in `#key=…`, or null. Pure. */
export function keyFromHash(hash: string): string | null {
  const key = new URLSearchParams(hash.replace(/^#/, "")).get("key");
  return key ? key : null;
}

/** Takes the key out of the address (which gets shared, shown on screens and kept in histories) into this tab. */
export function takeKeyFromAddress(): string | null {
  const given = keyFromHash(location.hash);
  if (!given) return null;
  saveTabKey(given);
  history.replaceState(history.state, "", location.pathname + location.search);
  return given;
}

export function tabKey(): string {
  return read("sessionStorage", TAB_KEY) ?? "";
}

export function saveTabKey(key: string): void {
  write("sessionStorage", TAB_KEY, key === "" ? null : key);
}

type Area = "localStorage" | "sessionStorage";

// Where storage is denied, even naming it throws.
function read(area: Area, name: string): string | null {
  try {
    return window[area].getItem(name);
  } catch {
    return null;
  }
}

function write(area: Area, name: string, value: string | null): void {
  try {
    if (value === null) window[area].removeItem(name);
    else window[area].setItem(name, value);
  } catch {
    // The key lasts as long as the page.
  }
}
