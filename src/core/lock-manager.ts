/** The lock manager: the fold that `locks.json` holds. */
import type { Event } from "./event.ts";
import { type Steps, stepsFor } from "./glob.ts";
import { conflicts, isHeld, type Lock, type LockClaim, meet } from "./lock.ts";

export interface LockManager {
  seq: number;
  readonly byId: Map<string, Lock>;
  /** Derived. */
  readonly byWorkspace: Map<string | null, Set<Lock>>;
  /** Derived. */
  readonly bySession: Map<string, Set<string>>;
}

export function emptyLockManager(): LockManager {
  return { seq: 0, byId: new Map(), byWorkspace: new Map(), bySession: new Map() };
}

export function loadLockManager(seq: number, locks: Iterable<Lock>): LockManager {
  const manager = emptyLockManager();
  manager.seq = seq;
  for (const lock of locks) put(manager, lock);
  return manager;
}

export function foldLocks(manager: LockManager, event: Event): void {
  switch (event.type) {
    case "session.started":
      if (event.lock !== undefined) put(manager, event.lock);
      return;
    case "lock.acquired":
      return put(manager, event.lock);
    case "lock.renewed": {
      const lock = manager.byId.get(event.lockId);
      if (lock !== undefined) put(manager, { ...lock, expiresAt: event.expiresAt });
      return;
    }
    case "lock.released":
      return remove(manager, event.lockId);
    case "session.ended":
      for (const id of [...(manager.bySession.get(event.sessionId) ?? [])]) remove(manager, id);
      return;
    default:
      return;
  }
}

/** How much comparing one claim is worth. */
const STEPS_PER_CLAIM = 2_000_000;

/** The locks that stand in the way of a claim; those of `exceptSession` do not. */
export function holders(
  manager: LockManager,
  claim: LockClaim,
  now: number,
  exceptSession?: string,
  steps: Steps = stepsFor(STEPS_PER_CLAIM),
): readonly Lock[] {
  const found: Lock[] = [];
  for (const [workspace, locks] of manager.byWorkspace) {
    if (!meet(workspace, claim.workspace)) continue;
    for (const lock of locks) {
      if (lock.sessionId !== exceptSession && isHeld(lock, now) && conflicts(lock, claim, steps)) found.push(lock);
    }
  }
  return found;
}

function put(manager: LockManager, lock: Lock): void {
  remove(manager, lock.id);
  manager.byId.set(lock.id, lock);
  const inWorkspace = manager.byWorkspace.get(lock.workspace) ?? new Set();
  manager.byWorkspace.set(lock.workspace, inWorkspace.add(lock));
  const ofSession = manager.bySession.get(lock.sessionId) ?? new Set();
  manager.bySession.set(lock.sessionId, ofSession.add(lock.id));
}

function remove(manager: LockManager, id: string): void {
  const lock = manager.byId.get(id);
  if (lock === undefined) return;
  manager.byId.delete(id);
  const inWorkspace = manager.byWorkspace.get(lock.workspace);
  inWorkspace?.delete(lock);
  if (inWorkspace?.size === 0) manager.byWorkspace.delete(lock.workspace);
  const ofSession = manager.bySession.get(lock.sessionId);
  ofSession?.delete(id);
  if (ofSession?.size === 0) manager.bySession.delete(lock.sessionId);
}
