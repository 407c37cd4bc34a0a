/** The session that a person means who gives an id: a session's own, or a task's. */
import { ACTIVE_STATUSES, ApiError, type Client } from "../api/client.ts";
import type { Session } from "../api/session.ts";
import { Failure } from "./failure.ts";

/** The session of that id; else the task's active session; else, for `any`, the task's newest one. */
export async function findSession(client: Client, id: string, which: "any" | "active"): Promise<Session> {
  const session = await orNull(client.session(id));
  if (session !== null) return session;

  const task = await orNull(client.task(id));
  if (task === null)
    throw new Failure(`there is no session and no task ${JSON.stringify(id)}: \`sessions\` lists them`);
  const newestFirst = task.sessions.toSorted((a, b) => b.attempt - a.attempt || b.startedAt.localeCompare(a.startedAt));
  const active = newestFirst.find(({ status }) => ACTIVE_STATUSES.some((each) => each === status));
  const found = active ?? (which === "any" ? newestFirst[0] : undefined);
  if (found === undefined) throw new Failure(`the task ${id} has no ${which === "active" ? "running " : ""}session`);
  return found;
}

async function orNull<T>(answer: Promise<T>): Promise<T | null> {
  try {
    return await answer;
  } catch (error) {
    if (error instanceof ApiError && (error.status === 404 || error.status === 400)) return null;
    throw error;
  }
}
