import type { Problem } from "./types";

/** The problem document of a refused request; a made-up one when the answer is not one (a proxy's HTML page). */
export async function readProblem(response: Response): Promise<Problem> {
  const fallback: Problem = {
    title: response.statusText,
    status: response.status,
    code: `http_${response.status}`,
    detail: `The server answered ${response.status}.`,
  };
  try {
    const body: unknown = await response.json();
    if (typeof body !== "object" || body === null) return fallback;
    const given = body as Partial<Problem>;
    return {
      title: typeof given.title === "string" ? given.title : fallback.title,
      status: response.status,
      code: typeof given.code === "string" ? given.code : fallback.code,
      detail: typeof given.detail === "string" ? given.detail : fallback.detail,
    };
  } catch {
    return fallback;
  }
}

/** Seconds of a Retry-After header, bounded to a minute; null when absent or a date. */
export function retryAfterSeconds(headers: Headers): number | null {
  const value = Number(headers.get("retry-after") ?? Number.NaN);
  return Number.isFinite(value) && value >= 0 ? Math.min(value, 60) : null;
}
