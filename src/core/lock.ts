/** A lock: a session's claim on paths of a workspace. All of its paths are held together, or none. */
import { overlaps, type Steps } from "./glob.ts";

export type LockMode = "exclusive" | "shared";

export interface Lock {
  readonly id: string;
  readonly sessionId: string;
  readonly taskId: string;
  readonly agent: string;
  /** `null` is the workspace of tasks that name none. */
  readonly workspace: string | null;
  readonly paths: readonly string[];
  readonly mode: LockMode;
  /** Only grows: whoever writes under a lock can be told from a former holder. */
  readonly fence: number;
  readonly acquiredAt: number;
  /** Only a lock that was asked for with a time to live has these; every other lives as long as its session. */
  readonly expiresAt?: number | undefined;
  readonly ttlMs?: number | undefined;
}

/** The id of the lock that a task's session starts with. */
export function taskLockId(sessionId: string): string {
  return `lock_${sessionId}`;
}

export type LockClaim = Pick<Lock, "workspace" | "paths" | "mode">;

/** True when both claims cannot hold at once: not both shared, and some path that both match. */
export function conflicts(a: LockClaim, b: LockClaim, steps?: Steps): boolean {
  if (a.mode === "shared" && b.mode === "shared") return false;
  const fromA = wayDown(b.workspace, a.workspace);
  const fromB = wayDown(a.workspace, b.workspace);
  if (fromA === null && fromB === null) return false;
  return a.paths.some((left) => b.paths.some((right) => overlaps((fromA ?? "") + left, (fromB ?? "") + right, steps)));
}

/** A workspace as a directory of this machine. `~` stays in tasks and sessions, since an SSH host has another home. */
export function realWorkspace(workspace: string | null, home: string): string | null {
  return workspace === "~" || workspace?.startsWith("~/") === true ? home + workspace.slice(1) : workspace;
}

/** True when one workspace is the other or lies in it, so that paths of both can be the same file. */
export function meet(a: string | null, b: string | null): boolean {
  return wayDown(a, b) !== null || wayDown(b, a) !== null;
}

/** What leads from one workspace to another in it, as the beginning of a pattern; `null` when the other is not in it. */
export function wayDown(outer: string | null, inner: string | null): string | null {
  if (outer === inner) return "";
  if (outer === null || inner === null) return null;
  const root = outer.endsWith("/") ? outer : `${outer}/`;
  // A directory's name is no pattern: what would be read as one becomes any character.
  return inner.startsWith(root) ? `${inner.slice(root.length).replace(/[*?[\]{}]/g, "?")}/` : null;
}

/** A lock that has run out holds nothing, even before its release is recorded. */
export function isHeld(lock: Lock, now: number): boolean {
  return lock.expiresAt === undefined || lock.expiresAt > now;
}
