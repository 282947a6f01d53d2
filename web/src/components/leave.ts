import { signOut } from "../api/session";
import { forgetKeys } from "../publisher/keys";

/** Signs out, and leaves no stream key behind in a browser that others may use. Throws a ProblemError. */
export async function leave(): Promise<void> {
  await signOut();
  forgetKeys();
}
