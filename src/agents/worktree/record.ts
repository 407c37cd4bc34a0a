/**
 * What the daemon knows of a task's worktree, in `<data>/worktrees/<task>.json`: in the data directory, where no agent works, so that none
 * changes by accident what its diff is made against, or what may be removed. It is there before the worktree is.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { safeName } from "./names.ts";

export interface WorktreeRecord {
  readonly version: 1;
  readonly taskId: string;
  /** Ms since the epoch: after its deletion, another task may get its id. */
  readonly taskCreatedAt: number | null;
  /** `making`: nobody has worked in it yet, and all that is there of it is git's and ours. */
  readonly state: "making" | "ready" | "removing";
  /** The repository's own directory (git's "common directory"). All paths are absolute and without symlinks. */
  readonly repository: string;
  /** The workspace's checkout, whose branch the work is to be merged into. */
  readonly checkout: string;
  /** The worktree. */
  readonly path: string;
  /** What git keeps of this worktree in the repository; `null` until it was made. */
  readonly gitDirectory: string | null;
  /** The workspace's place in its checkout, `""` for its root. */
  readonly subdirectory: string;
  readonly branch: string;
  /** The commit that it began with. */
  readonly base: string;
}

/** `null` where there is none. Throws where it cannot be read or is damaged. */
export function readWorktreeRecord(dataDirectory: string, taskId: string): WorktreeRecord | null {
  let text: string;
  try {
    text = readFileSync(recordFile(dataDirectory, taskId), "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return null;
    throw error;
  }
  const record = JSON.parse(text) as WorktreeRecord;
  if (record.taskId !== taskId) throw new Error(`the record of the worktree of ${taskId} is that of ${record.taskId}`);
  return record;
}

/** On disk when it returns: what is made after it is known to be ours whatever dies in between. */
export function writeWorktreeRecord(dataDirectory: string, record: WorktreeRecord): void {
  const path = recordFile(dataDirectory, record.taskId);
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const file = openSync(`${path}.new`, "w", 0o600);
  try {
    writeSync(file, `${JSON.stringify(record, null, 2)}\n`);
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
  renameSync(`${path}.new`, path);
  syncDirectory(dirname(path));
}

export function removeWorktreeRecord(dataDirectory: string, taskId: string): void {
  const path = recordFile(dataDirectory, taskId);
  rmSync(path, { force: true });
  syncDirectory(dirname(path));
}

function recordFile(dataDirectory: string, taskId: string): string {
  return join(dataDirectory, "worktrees", `${safeName(taskId)}.json`);
}

function syncDirectory(path: string): void {
  const directory = openSync(path, "r");
  try {
    fsyncSync(directory);
  } finally {
    closeSync(directory);
  }
}
