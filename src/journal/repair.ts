/**
 * Rebuilds what is damaged in a data directory from what is not: state files, the base copy, the journal and its archive. What it
 * replaces it keeps, in `damaged-<time>/`.
 */
import { stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { StoredEvent } from "../core/event.ts";
import { ARCHIVE, archiveFileName, listArchiveFiles } from "./archive.ts";
import { indexName } from "./archive-file.ts";
import { DamagedData, NewerData } from "./damage.ts";
import { freshId, freshSecret, ID_FILE, makeWord, readId, readSecret, SECRET_FILE } from "./data-directory.ts";
import { type Disk, noEntry, realDisk } from "./disk.ts";
import { beginJournal } from "./file-journal.ts";
import { BASE, copyBase, listBases } from "./history.ts";
import type { Log } from "./log.ts";
import { findArchiveDamage, salvageArchiveFile } from "./salvage-archive.ts";
import { dataIdsOfSegments, findJournalDamage, SalvagedEvents, type SeqRange } from "./salvage-journal.ts";
import { JOURNAL, JOURNAL_ARCHIVE } from "./segment.ts";
import { readStateFile, type StateFile } from "./state-file.ts";
import { StateFileWriter, type StateSnapshot } from "./state-file-writer.ts";

export interface RepairOptions {
  /** The data directory, which this process owns. */
  readonly directory: string;
  readonly stateFiles: readonly string[];
  /** Names of the archives, such as `tasks`. */
  readonly archives: readonly string[];
  /**
   * Folds the events into the stores, each from the `seq` of its file on; `null` is an empty store. Events may be missing:
   * it goes on as well as it can.
   */
  rebuild(
    files: ReadonlyMap<string, StateFile | null>,
    events: AsyncIterable<StoredEvent>,
  ): Promise<ReadonlyMap<string, StateSnapshot>>;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Log;
  readonly disk?: Disk;
}

/** What could not be recovered. */
export type Lost =
  | ({ readonly what: "events" } & SeqRange)
  /** Lines of an archive, each one record. */
  | { readonly what: "records"; readonly count: number }
  /** Callback tokens that were handed out are no longer good. */
  | { readonly what: "tokens" };

export interface RepairStep {
  /** Relative to the data directory. */
  readonly file: string;
  /** `rebuilt`: from other files; `salvaged`: its good lines; `made anew`: with new content. */
  readonly action: "rebuilt" | "salvaged" | "made anew";
  /** Why it was touched. */
  readonly reason: string;
  /** Where the old one is now, relative to the data directory; absent where there was none. */
  readonly movedTo?: string;
  readonly lost: readonly Lost[];
}

/** Resolves with what was done; with nothing where all is well. Throws `NewerData` before it changes anything. */
export async function repair(options: RepairOptions): Promise<readonly RepairStep[]> {
  const damaged = new DamagedFiles(options);
  const states = await readStates(options);
  const dataId = await repairId(options, states, damaged);
  await repairSecret(options, damaged);
  await repairState(options, states, dataId, damaged);
  for (const name of options.archives) await repairArchive(options, name, damaged);
  for (const step of damaged.steps) options.log.info(step, `${step.file}: ${step.action}`);
  return damaged.steps;
}

/** Moves damaged files away, and notes what was done about them. */
class DamagedFiles {
  readonly steps: RepairStep[] = [];
  readonly #directory: string;
  readonly #disk: Disk;
  readonly #folder: string;

  constructor({ directory, now, disk = realDisk }: RepairOptions) {
    this.#directory = directory;
    this.#disk = disk;
    this.#folder = `damaged-${new Date(now()).toISOString().replaceAll(/[-:.]/g, "")}`;
  }

  /** Where the file is now; `undefined` where there was none. */
  async moveAside(file: string): Promise<string | undefined> {
    if ((await stat(join(this.#directory, file)).catch(noEntry)) === undefined) return undefined;
    const movedTo = `${this.#folder}/${file}`;
    await this.#disk.makeDirectory(join(this.#directory, dirname(movedTo)));
    await this.#disk.rename(join(this.#directory, file), join(this.#directory, movedTo));
    await this.#disk.syncDirectory(join(this.#directory, dirname(movedTo)));
    await this.#disk.syncDirectory(join(this.#directory, dirname(file)));
    return movedTo;
  }

  note(step: Omit<RepairStep, "movedTo">, movedTo: string | undefined): void {
    this.steps.push(movedTo === undefined ? step : { ...step, movedTo });
  }
}

/** Of each state file: what it contains, that it is missing (`null`), or what is wrong with it. */
type States = ReadonlyMap<string, StateFile | null | DamagedData>;

async function readStates({ directory, stateFiles }: RepairOptions): Promise<States> {
  const states = new Map<string, StateFile | null | DamagedData>();
  for (const name of stateFiles) states.set(name, await readIfGood(join(directory, name), name, undefined));
  return states;
}

async function readIfGood(
  path: string,
  file: string,
  dataId: string | undefined,
): Promise<StateFile | null | DamagedData> {
  try {
    return await readStateFile(path, { dataId, file });
  } catch (error) {
    if (error instanceof DamagedData && !(error instanceof NewerData)) return error;
    throw error;
  }
}

/** The directory's id is what most of its files say. */
async function repairId(options: RepairOptions, states: States, damaged: DamagedFiles): Promise<string> {
  const { directory, disk = realDisk } = options;
  const written = await readId(directory).catch(asDamage);
  const votes = await dataIdsOfSegments(directory);
  for (const state of states.values()) if (isGood(state)) votes.push(state.dataId);
  if (typeof written === "string") votes.push(written);
  const id = mostFrequent(votes) ?? freshId();
  if (written === id) return id;
  const reason = written instanceof DamagedData ? written.finding : `the data files belong to ${id}`;
  const movedTo = await damaged.moveAside(ID_FILE);
  await makeWord(directory, ID_FILE, id, disk);
  if (votes.length > 0 || movedTo !== undefined)
    damaged.note({ file: ID_FILE, action: "rebuilt", reason, lost: [] }, movedTo);
  return id;
}

async function repairSecret({ directory, disk = realDisk }: RepairOptions, damaged: DamagedFiles): Promise<void> {
  const secret = await readSecret(directory).catch(asDamage);
  if (!(secret instanceof DamagedData)) return;
  const movedTo = await damaged.moveAside(SECRET_FILE);
  await makeWord(directory, SECRET_FILE, freshSecret(), disk);
  const lost = [{ what: "tokens" }] as const;
  damaged.note({ file: SECRET_FILE, action: "made anew", reason: secret.finding, lost }, movedTo);
}

async function repairState(
  options: RepairOptions,
  found: States,
  dataId: string,
  damaged: DamagedFiles,
): Promise<void> {
  const { directory, stateFiles, now, disk = realDisk } = options;
  const states = withoutForeign(found, dataId);
  const good = [...states.values()].filter(isGood).map(({ seq }) => seq);
  const stateSeq = Math.max(0, ...good);
  const replayFrom = good.length === 0 ? Number.POSITIVE_INFINITY : Math.min(...good) + 1;
  const journalDamage = await findJournalDamage({ directory, dataId }, { replayFrom, stateSeq });
  const nothingYet = [...states.values()].every((state) => state === null);
  const bad = nothingYet ? [] : stateFiles.filter((name) => !isGood(states.get(name)));
  if (bad.length === 0 && journalDamage === undefined) return;

  const starts = await findStarts(directory, dataId, states);
  const events = new SalvagedEvents({ directory, dataId }, 1 + Math.min(...[...starts.values()].map(seqOf)));
  const snapshots = await options.rebuild(starts, events.read());
  const lastSeq = Math.max(stateSeq, events.lastSeq);

  const unread = events.lastSeq < stateSeq ? [{ fromSeq: events.lastSeq + 1, toSeq: stateSeq }] : [];
  const missing = [...events.gaps.filter(({ toSeq }) => toSeq !== null || unread.length === 0), ...unread];
  for (const name of journalDamage === undefined ? bad : stateFiles) {
    const snapshot = snapshots.get(name);
    if (snapshot === undefined) throw new Error(`nothing was rebuilt for ${name}`);
    const state = states.get(name);
    const lost = missing.flatMap((range) => lostAfter(seqOf(starts.get(name)), range));
    const movedTo = isGood(state) ? undefined : await damaged.moveAside(name);
    await new StateFileWriter({ directory, name, dataId, disk }).write({ ...snapshot, seq: lastSeq });
    const reason =
      state instanceof DamagedData ? state.finding : `${isGood(state) ? "its events are" : "it is"} missing`;
    if (!isGood(state) || lost.length > 0) damaged.note({ file: name, action: "rebuilt", reason, lost }, movedTo);
  }
  if (journalDamage === undefined) return;

  const movedTo = await damaged.moveAside(JOURNAL);
  await damaged.moveAside(JOURNAL_ARCHIVE);
  await damaged.moveAside(BASE);
  await beginJournal({ directory, dataId, now, disk }, lastSeq + 1);
  await copyBase({ directory, dataId, stateFiles }, disk, lastSeq);
  const lost = missing.map((range) => ({ what: "events", ...range }) as const);
  damaged.note({ file: JOURNAL, action: "made anew", reason: journalDamage.finding, lost }, movedTo);
}

function withoutForeign(states: States, dataId: string): States {
  const own = new Map(states);
  for (const [file, state] of states) {
    if (!isGood(state) || state.dataId === dataId) continue;
    const wanted = `a file of the data directory ${dataId}`;
    own.set(file, new DamagedData({ file, position: 0, wanted, found: `one of ${state.dataId}` }));
  }
  return own;
}

/** What each file is rebuilt from: itself, its newest copy that is good, or nothing. */
async function findStarts(directory: string, dataId: string, states: States): Promise<Map<string, StateFile | null>> {
  const bases = await listBases(directory);
  const starts = new Map<string, StateFile | null>();
  for (const [name, state] of states) {
    let start = isGood(state) ? state : null;
    for (const { path } of bases) {
      if (start !== null) break;
      const copy = await readIfGood(join(path, name), name, dataId);
      if (isGood(copy)) start = copy;
    }
    starts.set(name, start);
  }
  return starts;
}

/** The part of a range of missing events that a file lacks which contains all up to `seq`. */
function lostAfter(seq: number, { fromSeq, toSeq }: SeqRange): Lost[] {
  return toSeq !== null && toSeq <= seq ? [] : [{ what: "events", fromSeq: Math.max(fromSeq, seq + 1), toSeq }];
}

async function repairArchive(options: RepairOptions, name: string, damaged: DamagedFiles): Promise<void> {
  const { directory, disk = realDisk } = options;
  const folder = join(directory, ARCHIVE);
  for (const number of await listArchiveFiles(folder, name)) {
    const file = archiveFileName(name, number);
    const damage = await findArchiveDamage(directory, file);
    if (damage === undefined) continue;
    const salvaged = join(folder, `${file}.salvaged`);
    const count = await salvageArchiveFile(join(folder, file), salvaged, disk);
    const movedTo = await damaged.moveAside(`${ARCHIVE}/${file}`);
    await disk.remove(join(folder, indexName(file)));
    await disk.rename(salvaged, join(folder, file));
    await disk.syncDirectory(folder);
    const lost: Lost[] = count === 0 ? [] : [{ what: "records", count }];
    damaged.note({ file: `${ARCHIVE}/${file}`, action: "salvaged", reason: damage.finding, lost }, movedTo);
  }
}

function isGood(state: StateFile | null | undefined | DamagedData): state is StateFile {
  return state !== null && state !== undefined && !(state instanceof DamagedData);
}

function seqOf(state: StateFile | null | undefined): number {
  return state?.seq ?? 0;
}

function asDamage(error: unknown): DamagedData {
  if (error instanceof DamagedData) return error;
  throw error;
}

function mostFrequent(words: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0];
}
