/** Moves what is done and old out of the hot state, so that the cost of a change does not grow with history. */
import { archive } from "../core/decide/sessions.ts";
import type { EndedSession } from "../core/session.ts";
import type { State } from "../core/state.ts";
import type { Task } from "../core/task.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Archive } from "./ports.ts";

export const ENDED_SESSIONS_KEPT = 500;
export const DONE_TASKS_KEPT = 1000;
export const DONE_TASKS_KEPT_MS = 30 * 24 * 60 * 60 * 1000;
/** At most so many records in one go, so that a backlog does not hold up the loop. */
const BATCH_MAX = 1000;
/** A few too many are left until it is worth a write. */
const SLACK = 50;

export interface ArchiverParts {
  readonly dispatcher: Dispatcher;
  readonly archive: Archive;
  readonly now: () => number;
}

/**
 * Archives one batch, if there is one; resolves to true when more is waiting. The records are on disk in the archive
 * before the event that removes them from the hot state: after a crash between the two they are in both, never in none.
 */
export async function archiveSome({ dispatcher, archive: shelf, now }: ArchiverParts): Promise<boolean> {
  const { state } = dispatcher;
  const sessions = oldSessions(state);
  const tasks = oldTasks(state, now());
  if (sessions.length === 0 && tasks.length === 0) return false;
  await dispatcher.settled();
  // A task that was changed meanwhile is kept, and one that was deleted must not come back.
  const unchanged = () => tasks.filter((task) => dispatcher.state.tasks.byId.get(task.id) === task);
  if (sessions.length > 0) await shelf.appendSessions(sessions);
  const kept = unchanged();
  if (kept.length > 0) await shelf.appendTasks(kept);
  await dispatcher.execute(
    archive(
      unchanged().map((task) => task.id),
      sessions.map((session) => session.id),
    ),
  );
  return sessions.length === BATCH_MAX || tasks.length === BATCH_MAX;
}

function oldSessions(state: State): readonly EndedSession[] {
  const tooMany = state.sessions.ended.size - ENDED_SESSIONS_KEPT;
  return tooMany < SLACK ? [] : first(state.sessions.ended.values(), Math.min(tooMany, BATCH_MAX));
}

function oldTasks(state: State, now: number): readonly Task[] {
  const tooMany = state.tasks.done.size - DONE_TASKS_KEPT;
  const old: Task[] = [];
  for (const task of state.tasks.done.values()) {
    if (old.length >= BATCH_MAX) break;
    if (old.length >= tooMany && task.updatedAt + DONE_TASKS_KEPT_MS > now) break;
    if (!state.sessions.activeByTask.has(task.id)) old.push(task);
  }
  return tooMany < SLACK && old.every((task) => task.updatedAt + DONE_TASKS_KEPT_MS > now) ? [] : old;
}

function first<T>(values: Iterable<T>, count: number): readonly T[] {
  const taken: T[] = [];
  for (const value of values) {
    if (taken.length >= count) break;
    taken.push(value);
  }
  return taken;
}
