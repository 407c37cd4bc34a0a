/** Everything durable, opened in the right order: the directory, the state files, the journal behind them. */
import { join } from "node:path";
import type { Event } from "../core/event.ts";
import { replayFrom, type State } from "../core/state.ts";
import { leaveQueues } from "../core/task-board.ts";
import { transition } from "../core/transition.ts";
import type { Clock, Journal } from "../dispatcher/ports.ts";
import { Checkpoint } from "./checkpoint.ts";
import { type DataDirectory, openDataDirectory } from "./data-directory.ts";
import { type FileJournal, openFileJournal } from "./file-journal.ts";
import type { Log } from "./log.ts";
import { readStateFile } from "./state-file.ts";
import { type FileContent, filesTouchedBy, STATE_FILES, type StateFileName, snapshotOf, stateFrom } from "./stores.ts";

export interface StorageOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly historyDays: number;
  /** Another process took the directory: exit without another write. */
  readonly onLost: (error: Error) => void;
}

export interface Storage {
  readonly directory: DataDirectory;
  readonly journal: FileJournal;
  /** The state on disk at the start. */
  readonly state: State;
  /** Starts keeping the state files close behind; `current` is the state of the moment. */
  keep(current: () => State): Checkpoint;
  /** Reads the committed state from disk again. */
  rebuild(): Promise<State>;
  /** Ends the journal and lets go of the directory. */
  close(): Promise<void>;
}

/** @throws DataDirectoryInUse, DamagedData */
export async function openStorage({ path, clock, log, historyDays, onLost }: StorageOptions): Promise<Storage> {
  const directory = await openDataDirectory(path, { stateFiles: STATE_FILES, clock, log, onLost });
  try {
    const files = await readFiles(directory);
    const state = stateFrom(files);
    const seqs = [...files].map(([name, file]) => [name, file?.seq ?? 0] as const);
    const journal = await openFileJournal({
      directory: directory.path,
      dataId: directory.id,
      now: () => clock.now(),
      log,
      replayFrom: replayFrom(state),
      stateSeq: Math.max(...seqs.map(([, seq]) => seq)),
    });
    await replay(state, journal);
    return {
      directory,
      journal,
      state,
      keep: (current) => {
        const checkpoint = new Checkpoint({
          directory: directory.path,
          dataId: directory.id,
          stores: STATE_FILES.map((name) => ({ name, snapshot: () => snapshotOf(name, current()) })),
          fileSeqs: new Map(seqs),
          journal,
          clock,
          log,
          historyMs: historyDays * 24 * 60 * 60 * 1000,
        });
        // Those that are missing, and those that a crash left behind the journal.
        const behind = [...files].filter(([, file]) => file === null || file.seq < journal.lastSeq);
        checkpoint.changed(behind.map(([name]) => name));
        return checkpoint;
      },
      rebuild: async () => {
        const again = stateFrom(await readFiles(directory));
        await replay(again, journal);
        return again;
      },
      close: async () => {
        await journal.close();
        await directory.close();
      },
    };
  } catch (error) {
    await directory.close();
    throw error;
  }
}

/** The files whose stores these events changed. */
export function filesChangedBy(events: readonly { readonly event: Event }[]): ReadonlySet<StateFileName> {
  const names = new Set<StateFileName>();
  for (const { event } of events) for (const name of filesTouchedBy(event)) names.add(name);
  return names;
}

async function readFiles(directory: DataDirectory): Promise<Map<StateFileName, FileContent>> {
  const files = new Map<StateFileName, FileContent>();
  for (const name of STATE_FILES) {
    files.set(name, await readStateFile(join(directory.path, name), { dataId: directory.id }));
  }
  return files;
}

async function replay(state: State, journal: Journal): Promise<void> {
  const makeQueues = leaveQueues(state.tasks);
  for await (const stored of journal.read(replayFrom(state))) transition(state, stored);
  makeQueues();
}
