/** Webhooks, as their owners change them. Every function throws a ProblemError with a sentence for people. */
import { request } from "./session";

export const WEBHOOK_EVENTS = [
  "broadcast.started",
  "broadcast.reconnecting",
  "broadcast.ended",
  "recording.ready",
  "health.changed",
] as const;

export interface Attempt {
  at: string;
  status_code: number | null;
  error: string | null;
  duration_ms: number | null;
}

export interface Delivery {
  id: string;
  event: string;
  stream: string | null;
  status: "pending" | "delivered" | "failed";
  attempts: Attempt[];
  created_at: string;
  next_attempt_at: string | null;
}

export interface Webhook {
  id: string;
  url: string;
  events: string[];
  stream: string | null;
  enabled: boolean;
  owner: string | null;
  last_delivery: Delivery | null;
}

export interface NewWebhook {
  url: string;
  events: string[];
  stream?: string;
}

const BASE = "/api/webhooks";
const DELIVERIES_SHOWN = 20;
const path = (id: string, tail = ""): string => `${BASE}/${encodeURIComponent(id)}${tail}`;

export async function fetchWebhooks(signal?: AbortSignal): Promise<Webhook[]> {
  return (await request<{ webhooks: Webhook[] }>("GET", BASE, undefined, signal)).webhooks;
}

/** The answer holds the secret, which is shown once. */
export function createWebhook(wanted: NewWebhook): Promise<Webhook & { secret: string }> {
  return request("POST", BASE, wanted);
}

export function changeWebhook(
  id: string,
  changes: Partial<Pick<Webhook, "enabled" | "events" | "url">>,
): Promise<void> {
  return request("PATCH", path(id), changes);
}

export function deleteWebhook(id: string): Promise<void> {
  return request("DELETE", path(id));
}

export function testWebhook(id: string): Promise<void> {
  return request("POST", path(id, "/test"));
}

export function rotateWebhookSecret(id: string): Promise<{ secret: string }> {
  return request("POST", path(id, "/rotate-secret"));
}

/** The newest ones, newest first. */
export async function fetchDeliveries(id: string, signal?: AbortSignal): Promise<Delivery[]> {
  const answer = await request<{ deliveries: Delivery[] }>(
    "GET",
    path(id, `/deliveries?limit=${DELIVERIES_SHOWN}`),
    undefined,
    signal,
  );
  return answer.deliveries;
}
