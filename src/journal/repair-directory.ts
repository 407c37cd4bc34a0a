/** `repair` for a whole data directory that no daemon is using, and what came of it in words. */
import type { StoredEvent } from "../core/event.ts";
import { transition } from "../core/transition.ts";
import type { Clock } from "../dispatcher/ports.ts";
import { ownDataDirectory } from "./data-directory.ts";
import type { Log } from "./log.ts";
import { type Lost, repair } from "./repair.ts";
import type { StateFile } from "./state-file.ts";
import type { StateSnapshot } from "./state-file-writer.ts";
import { STATE_FILES, snapshotOf, stateFrom } from "./stores.ts";

export interface RepairedFile {
  /** Relative to the data directory. */
  readonly file: string;
  readonly action: string;
  /** What could not be rebuilt; `null` = nothing is missing. */
  readonly lost: string | null;
}

/** Resolves with what was done, with nothing where all is well. @throws DataDirectoryInUse, NewerData */
export async function repairDirectory(path: string, clock: Clock, log: Log): Promise<readonly RepairedFile[]> {
  const onLost = (error: Error) => {
    throw error;
  };
  const { path: directory, ownership } = await ownDataDirectory(path, { clock, log, onLost });
  try {
    const steps = await repair({
      directory,
      stateFiles: STATE_FILES,
      archives: ["tasks", "sessions"],
      rebuild,
      now: () => clock.now(),
      log,
    });
    return steps.map(({ file, action, reason, movedTo, lost }) => ({
      file,
      action: `${action}: ${reason}${movedTo === undefined ? "" : `; the old one is ${movedTo}`}`,
      lost: lost.length === 0 ? null : lost.map(inWords).join("; "),
    }));
  } finally {
    await ownership.release();
  }
}

/** The state files that follow from those that are left and the events that are. */
async function rebuild(
  files: ReadonlyMap<string, StateFile | null>,
  events: AsyncIterable<StoredEvent>,
): Promise<ReadonlyMap<string, StateSnapshot>> {
  const state = stateFrom(new Map(STATE_FILES.map((name) => [name, files.get(name) ?? null])));
  for await (const stored of events) transition(state, stored);
  return new Map(STATE_FILES.map((name) => [name, snapshotOf(name, state)]));
}

function inWords(lost: Lost): string {
  switch (lost.what) {
    case "events":
      return `the changes number ${lost.fromSeq} to ${lost.toSeq ?? "the last"}`;
    case "records":
      return `${lost.count} records`;
    case "tokens":
      return "callback tokens that were handed out are no longer good";
  }
}
