/** Commands on locks that sessions ask for while they run. */
import { accept, type Command, refuse } from "../decision.ts";
import { isHeld, type Lock, type LockMode, realWorkspace, taskLockId } from "../lock.ts";
import { holders } from "../lock-manager.ts";
import { isActive } from "../session.ts";
import type { State } from "../state.ts";

export interface LockRequest {
  readonly sessionId: string;
  /** Normalised. */
  readonly paths: readonly string[];
  readonly mode: LockMode;
  /** Absent: as long as the session lives. */
  readonly ttlMs?: number | undefined;
}

/** A session that takes lock after lock must not fill the daemon's memory. */
const LOCKS_PER_SESSION_MAX = 100;
/** In all of a session's locks, the task's own included. */
const PATH_CHARS_PER_SESSION_MAX = 128 * 1024;
/** So many paths of a holder are named to whoever is refused. */
const PATHS_NAMED = 20;

/** All paths or none. */
export function acquireLock({ sessionId, paths, mode, ttlMs }: LockRequest): Command<Lock> {
  return (state, context) => {
    const session = state.sessions.byId.get(sessionId);
    if (session === undefined) return refuse("SESSION_NOT_FOUND", `there is no session ${sessionId}`);
    if (!isActive(session) || session.status === "stopping")
      return refuse("SESSION_NOT_ACTIVE", `session ${sessionId} is over`);
    if ((state.locks.bySession.get(sessionId)?.size ?? 0) >= LOCKS_PER_SESSION_MAX)
      return refuse(
        "TOO_MANY_LOCKS",
        `session ${sessionId} holds ${LOCKS_PER_SESSION_MAX} locks; give some back first`,
      );
    if (lockedChars(state, sessionId) + charsOf(paths) > PATH_CHARS_PER_SESSION_MAX)
      return refuse("TOO_MANY_LOCKS", `the paths of session ${sessionId} would be too long; lock directories instead`);
    const claim = { workspace: realWorkspace(session.workspace, context.home), paths, mode };
    const inTheWay = holders(state.locks, claim, context.now, sessionId);
    if (inTheWay.length > 0) {
      return refuse("LOCKED", `held by ${inTheWay.map((lock) => `${lock.agent} on task ${lock.taskId}`).join(", ")}`, {
        heldBy: inTheWay.map((lock) => ({
          lockId: lock.id,
          sessionId: lock.sessionId,
          taskId: lock.taskId,
          agent: lock.agent,
          paths: lock.paths.slice(0, PATHS_NAMED),
          mode: lock.mode,
        })),
      });
    }
    const lock: Lock = {
      id: context.newId("lock"),
      sessionId,
      taskId: session.taskId,
      agent: session.agent,
      ...claim,
      fence: state.ledger.fence + 1,
      acquiredAt: context.now,
      ...(ttlMs === undefined ? {} : { ttlMs, expiresAt: context.now + ttlMs }),
    };
    return accept([{ type: "lock.acquired", at: context.now, lock }], () => lock);
  };
}

function lockedChars(state: State, sessionId: string): number {
  let chars = 0;
  for (const id of state.locks.bySession.get(sessionId) ?? []) chars += charsOf(state.locks.byId.get(id)?.paths ?? []);
  return chars;
}

function charsOf(paths: readonly string[]): number {
  return paths.reduce((sum, path) => sum + path.length, 0);
}

export interface LockRenewal {
  readonly lockId: string;
  readonly ttlMs?: number | undefined;
  /** The session whose token the caller showed; `undefined` = the operator. */
  readonly callerSessionId?: string | undefined;
}

export function renewLock({ lockId, ttlMs, callerSessionId }: LockRenewal): Command<Lock> {
  return (state, context) => {
    const lock = state.locks.byId.get(lockId);
    if (lock === undefined || !isHeld(lock, context.now))
      return refuse("LOCK_NOT_FOUND", `there is no lock ${lockId}; it may have run out`);
    if (callerSessionId !== undefined && lock.sessionId !== callerSessionId) return notYours();
    const span = ttlMs ?? lock.ttlMs;
    // A lock without a time to live goes with its session and needs no renewal.
    if (span === undefined || lock.expiresAt === undefined) return accept([], () => lock);
    const expiresAt = context.now + span;
    return accept(
      [{ type: "lock.renewed", at: context.now, lockId, expiresAt }],
      (after) => after.locks.byId.get(lockId) as Lock,
    );
  };
}

export function releaseLock(lockId: string, callerSessionId?: string): Command<null> {
  return (state, context) => {
    const lock = state.locks.byId.get(lockId);
    if (lock === undefined) return refuse("LOCK_NOT_FOUND", `there is no lock ${lockId}; it may have run out`);
    if (callerSessionId !== undefined && lock.sessionId !== callerSessionId) return notYours();
    if (lock.id === taskLockId(lock.sessionId)) {
      return refuse("LOCK_OF_RUN", "a task's own lock lives as long as its run; cancel the session to be rid of it");
    }
    return accept(
      [{ type: "lock.released", at: context.now, lockId, sessionId: lock.sessionId, why: "released" }],
      () => null,
    );
  };
}

function notYours() {
  return refuse("NOT_YOUR_SESSION", "the lock belongs to another session");
}
