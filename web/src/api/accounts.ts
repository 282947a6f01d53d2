/** Accounts, as an administrator changes them. Every function throws a ProblemError with a sentence for people. */
import { type Role, request } from "./session";

export interface Account {
  name: string;
  role: Role;
  created_at: string;
  last_seen_at: string | null;
  disabled: boolean;
}

export interface NewAccount {
  name: string;
  role: Role;
}

const BASE = "/api/users";
const path = (name: string): string => `${BASE}/${encodeURIComponent(name)}`;

export async function fetchAccounts(signal?: AbortSignal): Promise<Account[]> {
  return (await request<{ users: Account[] }>("GET", BASE, undefined, signal)).users;
}

/** The answer holds the password, which is shown once. */
export function createAccount(wanted: NewAccount): Promise<Account & { password: string }> {
  return request("POST", BASE, wanted);
}

export function changeAccount(
  name: string,
  changes: Partial<Pick<Account, "role" | "disabled">> & { password?: string },
): Promise<void> {
  return request("PATCH", path(name), changes);
}

export function deleteAccount(name: string): Promise<void> {
  return request("DELETE", path(name));
}

/** No letters or digits that are taken for others. */
const ALPHABET = "abcdefghijkmnpqrstuvwxyzACDEFGHJKLMNPQRTUVWXY34679";
/** With 50 signs to choose from 112 bits, more than anybody guesses. */
const PASSWORD_LENGTH = 20;

/** A password that nobody has to think of, from the browser's secure random numbers. */
export function newPassword(): string {
  const signs: string[] = [];
  while (signs.length < PASSWORD_LENGTH) {
    const [byte = 0] = crypto.getRandomValues(new Uint8Array(1));
    // 250 is the largest multiple of 50 in a byte: every sign is as likely as the others.
    if (byte < 250) signs.push(ALPHABET.charAt(byte % 50));
  }
  return signs.join("");
}
