/** Removes what ended runs left in the data directory, once it is old: their output is the bulk of it. */
import { lstat, readdir, rm } from "node:fs/promises";
import { join } from "node:path";

export interface PruneOptions {
  /** `<data>/runs`. */
  readonly directory: string;
  /** Ms since the epoch: what has not changed since goes. */
  readonly before: number;
  /** Of an active session, or one that is still shown with the others. */
  readonly isKept: (sessionId: string) => boolean;
}

/** The run directories and what stands beside them. Resolves with how many entries are gone. */
export async function pruneRuns({ directory, before, isKept }: PruneOptions): Promise<number> {
  let removed = 0;
  for (const name of await namesIn(directory)) {
    if (isKept(name.replace(/\.(begun|openclaw)$/, ""))) continue;
    const path = join(directory, name);
    const { mtimeMs } = await lstat(path);
    if (mtimeMs >= before) continue;
    // A link is removed, not what it leads to.
    await rm(path, { recursive: true, force: true });
    removed++;
  }
  return removed;
}

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}
