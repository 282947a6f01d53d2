/** The signed-in person's password and API tokens. Every function throws a ProblemError with a sentence for people. */
import { type Role, request } from "./session";

export type Scope = "read" | "streams" | "webhooks" | "admin";

export interface ApiToken {
  id: string;
  name: string;
  scopes: Scope[];
  created_at: string;
  last_used_at: string | null;
  expires_at: string | null;
}

export interface NewToken {
  name: string;
  scopes: string[];
  expires_in_days?: number;
}

/** What a token of this role can be allowed: never more than its account may. Pure. */
export function scopesFor(role: Role): { value: Scope; label: string }[] {
  const scopes: { value: Scope; label: string }[] = [
    { value: "read", label: "read: what needs signing in to see" },
    { value: "streams", label: "streams: create and change streams, rotate keys, end broadcasts" },
    { value: "webhooks", label: "webhooks: create and change webhooks" },
    { value: "admin", label: "admin: accounts, tokens of others, the server" },
  ];
  if (role === "admin") return scopes;
  return scopes.slice(0, role === "streamer" ? 3 : 1);
}

export async function fetchTokens(): Promise<ApiToken[]> {
  return (await request<{ tokens: ApiToken[] }>("GET", "/api/tokens")).tokens;
}

/** The token itself is in this answer and nowhere else. */
export type FreshToken = ApiToken & { token: string };

export function createToken(wanted: NewToken): Promise<FreshToken> {
  return request<FreshToken>("POST", "/api/tokens", wanted);
}

export function revokeToken(id: string): Promise<void> {
  return request("DELETE", `/api/tokens/${encodeURIComponent(id)}`);
}

/** Signs the person out everywhere else. */
export function changePassword(old: string, wanted: string): Promise<void> {
  return request("POST", "/api/session/password", { old, new: wanted });
}
