/** Commands that end sessions from outside (a person, a clock) and that let old ones go to the archive. */
import { accept, type Command, refuse } from "../decision.ts";
import type { Event } from "../event.ts";
import { HANDOUTS_MAX } from "../plan.ts";
import { type ActiveSession, hasRun, isActive, type Outcome, type Session } from "../session.ts";
import { settle } from "./settle.ts";

/** A person stops a session: its task goes back to todo, held. */
export function cancelSession(sessionId: string, by: string): Command<Session> {
  return (state, context) => {
    const session = state.sessions.byId.get(sessionId);
    if (session === undefined) return refuse("SESSION_NOT_FOUND", `there is no session ${sessionId}`);
    if (!isActive(session))
      return refuse("SESSION_NOT_ACTIVE", `session ${sessionId} is over already (${session.status})`);
    const events =
      session.status === "stopping"
        ? []
        : settle(state, context, session, {
            outcome: { status: "cancelled", error: { code: "CANCELLED", message: `cancelled by ${by}` } },
            stopAt: context.now,
          });
    return accept(events, (after) => after.sessions.byId.get(sessionId) as Session);
  };
}

/** When a session was last heard of, ms since the epoch. */
export type LastSign = (session: ActiveSession) => number;

/**
 * What the clocks end now: unclaimed spawns, spawns past their time, silent sessions, locks that ran out.
 * `spawnsExpireFrom`: before that, ms since the epoch, a spawn that is past its time may only not have reached us.
 */
export function expire(lastSign: LastSign, spawnsExpireFrom = 0): Command<null> {
  return (state, context) => {
    const events: Event[] = [];
    /** Their locks went with them. */
    const gone = new Set<string>();
    for (const sessions of state.sessions.activeByAgent.values()) {
      for (const session of sessions.values()) {
        const outcome = expiry(session, lastSign(session), spawnsExpireFrom, context.now);
        if (outcome === null) continue;
        events.push(...settle(state, context, session, { outcome, stopAt: context.now }));
        if (!hasRun(session)) gone.add(session.id);
      }
    }
    for (const lock of state.locks.byId.values()) {
      if (lock.expiresAt !== undefined && lock.expiresAt <= context.now && !gone.has(lock.sessionId)) {
        events.push({
          type: "lock.released",
          at: context.now,
          lockId: lock.id,
          sessionId: lock.sessionId,
          why: "expired",
        });
      }
    }
    return accept(events, () => null);
  };
}

function expiry(session: ActiveSession, lastSignAt: number, spawnsExpireFrom: number, now: number): Outcome | null {
  // What reported its end has none of its own clocks any more: its verifiers have theirs.
  if (session.status === "stopping" || session.reported !== undefined) return null;
  if (session.status === "starting" && session.handout !== undefined) {
    const { times, expiresAt } = session.handout;
    // The next POST hands it out again; should none come for so long, its locks and slot are free again.
    if ((times < HANDOUTS_MAX ? expiresAt + session.timeoutMs : expiresAt) > now) return null;
    const message = `nobody claimed the spawn, which was handed out ${times} times; does the assistant run sessions_spawn when it is told to?`;
    return { status: "failed", error: { code: "SPAWN_UNCLAIMED", message } };
  }
  // A run is ended in time by its wrapper, wherever it is, and the adapter says so: the daemon may just not have seen it yet.
  if (!hasRun(session) && session.deadlineAt <= now && spawnsExpireFrom <= now) {
    return {
      status: "timed_out",
      error: { code: "TIMED_OUT", message: `it ran longer than its ${Math.round(session.timeoutMs / 1000)} s` },
    };
  }
  // Of the time in which nobody looked whether it had begun, none counts: a sign was noted when that began.
  const isOver = (limitMs: number) => limitMs > 0 && lastSignAt + limitMs <= now;
  if (session.status === "starting" && isOver(session.startTimeoutMs)) {
    const message = `its program did not begin within ${Math.round(session.startTimeoutMs / 1000)} s`;
    return { status: "failed", error: { code: "START_TIMED_OUT", message } };
  }
  if (session.status === "running" && isOver(session.stallTimeoutMs)) {
    const message = `no output or sign for ${Math.round(session.stallTimeoutMs / 1000)} s`;
    return { status: "stalled", error: { code: "STALLED", message } };
  }
  return null;
}

/** Records that tasks and ended sessions, already in the archive, leave the hot state. */
export function archive(taskIds: readonly string[], sessionIds: readonly string[]): Command<null> {
  return (state, context) => {
    const events: Event[] = [];
    const tasks = taskIds.filter(
      (id) => state.tasks.byId.get(id)?.status === "done" && !state.sessions.activeByTask.has(id),
    );
    const sessions = sessionIds.filter((id) => state.sessions.ended.has(id));
    if (tasks.length > 0) events.push({ type: "task.archived", at: context.now, taskIds: tasks });
    if (sessions.length > 0) events.push({ type: "session.archived", at: context.now, sessionIds: sessions });
    return accept(events, () => null);
  };
}
