/**
 * The journal in files: what is appended while a commit is under way goes out together as the next frame, with one write and
 * one fdatasync (group commit). DESIGN.md 4.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Event, StoredEvent } from "../core/event.ts";
import { type Journal, StorageUnavailable } from "../dispatcher/ports.ts";
import { DamagedData } from "./damage.ts";
import { type Disk, type DiskFile, realDisk } from "./disk.ts";
import { LineEncoder } from "./frame.ts";
import type { Log } from "./log.ts";
import { inspectNewest } from "./newest-segment.ts";
import { RecentEvents } from "./recent-events.ts";
import {
  type Continues,
  frameBody,
  headerBody,
  JOURNAL,
  JOURNAL_ARCHIVE,
  listAllSegments,
  listSegments,
  readSegmentOf,
  type SegmentName,
  segmentName,
} from "./segment.ts";

export interface FileJournalOptions {
  /** The data directory. */
  readonly directory: string;
  /** The id of the data directory: segments of another one are refused. */
  readonly dataId: string;
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  readonly log: Log;
  /** The first `seq` that some state file does not contain; the journal must reach back to it. Default 1. */
  readonly replayFrom?: number;
  /** The highest `seq` that some state file contains; the journal must reach it. Default 0. */
  readonly stateSeq?: number;
  /** A segment that is longer is followed by a new one. Default 16 MiB. */
  readonly segmentBytesMax?: number;
  /** What goes into one frame, in characters of JSON; one append is never split. Default 8 Mi. */
  readonly frameCharsMax?: number;
  /** Committed events that are kept in memory for readers. Default 4096. */
  readonly recentEventsMax?: number;
  readonly disk?: Disk;
}

/**
 * Opens the journal of a data directory that this process owns. What a crash in the middle of a commit left at the end is
 * moved aside and logged. Throws `DamagedData` when anything else is wrong, before it changes anything.
 */
export async function openFileJournal(options: FileJournalOptions): Promise<FileJournal> {
  const { directory, stateSeq = 0, disk = realDisk } = options;
  const journal = join(directory, JOURNAL);
  await disk.makeDirectory(journal);
  await disk.makeDirectory(join(directory, JOURNAL_ARCHIVE));

  const { newest, unused } = await inspectJournal(options);
  const torn = Buffer.concat([newest?.torn ?? Buffer.alloc(0), ...unused.map(({ torn }) => torn)]);
  if (torn.length > 0) await keepTorn(options, disk, torn, newest?.name);
  for (const { name } of unused) await disk.remove(join(journal, name));
  await disk.syncDirectory(journal);
  const segment =
    newest === undefined
      ? await createSegment(options, disk, { firstSeq: stateSeq + 1 })
      : await settleSegment(join(journal, newest.name), disk, newest);
  return new FileJournal(options, segment);
}

/** The `lastSeq` that `openFileJournal` would find. Throws `DamagedData` where that would, and changes nothing. */
export async function checkFileJournal(options: JournalPlace): Promise<number> {
  const { newest } = await inspectJournal(options);
  return newest?.lastSeq ?? options.stateSeq ?? 0;
}

/** Begins the journal of a directory that has none, after a repair, with `firstSeq`. */
export async function beginJournal(
  options: Pick<FileJournalOptions, "directory" | "dataId" | "now" | "disk">,
  firstSeq: number,
): Promise<void> {
  const { directory, disk = realDisk } = options;
  await disk.makeDirectory(join(directory, JOURNAL));
  await disk.makeDirectory(join(directory, JOURNAL_ARCHIVE));
  const { file } = await createSegment(options, disk, { firstSeq });
  await file.close();
}

/** A segment that is being written. */
interface OpenSegment {
  readonly name: string;
  readonly firstSeq: number;
  readonly file: DiskFile;
  /** The last committed event in it; `firstSeq - 1` when it has none. */
  lastSeq: number;
  /** Its committed length. */
  bytes: number;
}

/** Appends that go out together. */
interface Batch {
  readonly firstSeq: number;
  readonly events: Event[];
  /** The events' JSON texts, separated by commas. */
  text: string;
  /** One for all who wait. */
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class FileJournal implements Journal {
  readonly #options: FileJournalOptions;
  readonly #disk: Disk;
  readonly #frameCharsMax: number;
  readonly #segmentBytesMax: number;
  readonly #encoder = new LineEncoder(256 * 1024);
  readonly #recent: RecentEvents;
  #segment: OpenSegment;
  #queue: Batch[] = [];
  #underWay: Batch | undefined;
  /** The `seq` that the next append starts with. */
  #nextSeq: number;
  #failure: StorageUnavailable | undefined;
  /** Resolves when nothing waits to be written. */
  #idle: Promise<void> = Promise.resolve();
  #busy = false;
  #reopening: Promise<void> | undefined;
  #closing: Promise<void> | undefined;

  constructor(options: FileJournalOptions, segment: OpenSegment) {
    this.#options = options;
    this.#disk = options.disk ?? realDisk;
    this.#frameCharsMax = options.frameCharsMax ?? 8 * 1024 * 1024;
    this.#segmentBytesMax = options.segmentBytesMax ?? 16 * 1024 * 1024;
    this.#recent = new RecentEvents(options.recentEventsMax ?? 4096);
    this.#segment = segment;
    this.#nextSeq = segment.lastSeq + 1;
  }

  get lastSeq(): number {
    return this.#segment.lastSeq;
  }

  /** The first `seq` of the segment that is written now: what all state files are past may leave for the archive. */
  get segmentFirstSeq(): number {
    return this.#segment.firstSeq;
  }

  /** Why appends are refused; `undefined` while all is well. */
  get failure(): StorageUnavailable | undefined {
    return this.#failure;
  }

  append(expectedSeq: number, events: readonly Event[]): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closing !== undefined) return Promise.reject(new StorageUnavailable("the journal is closed"));
    if (expectedSeq !== this.#nextSeq) {
      return Promise.reject(new RangeError(`append at seq ${expectedSeq}, but the next is ${this.#nextSeq}`));
    }
    if (events.length === 0) return this.committed(expectedSeq - 1);
    let text = JSON.stringify(events[0]);
    for (let i = 1; i < events.length; i++) text += `,${JSON.stringify(events[i])}`;

    let batch = this.#queue.at(-1);
    if (batch === undefined || batch.text.length + text.length > this.#frameCharsMax) {
      batch = newBatch(this.#nextSeq);
      this.#queue.push(batch);
    }
    batch.text += batch.text === "" ? text : `,${text}`;
    for (const event of events) batch.events.push(event);
    this.#nextSeq += events.length;
    if (!this.#busy) this.#wake();
    return batch.promise;
  }

  /**
   * Resolves once the event is on disk. The promise stands for the event that was appended as `seq` before the call: it
   * rejects when that one's commit fails, even if another takes its number later.
   */
  committed(seq: number): Promise<void> {
    if (seq <= this.lastSeq) return Promise.resolve();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    for (const batch of [this.#underWay, ...this.#queue]) {
      if (batch !== undefined && seq >= batch.firstSeq && seq < batch.firstSeq + batch.events.length)
        return batch.promise;
    }
    return Promise.reject(new RangeError(`event ${seq} was never appended`));
  }

  /** Rejects with `HistoryGone` or `DamagedData` when it reaches an event that is not there. */
  async *read(fromSeq: number): AsyncGenerator<StoredEvent> {
    const { directory, dataId } = this.#options;
    let next = fromSeq;
    while (next <= this.lastSeq) {
      const recent = this.#recent.get(next);
      if (recent !== undefined) {
        yield recent;
        next++;
        continue;
      }
      for await (const frames of readSegmentOf(next, { directory, dataId, newestSeq: this.lastSeq })) {
        for (const { seq, events } of frames) {
          for (const [i, event] of events.entries()) {
            if (seq + i < next) continue;
            yield { seq: next, event };
            next++;
          }
        }
      }
    }
  }

  /**
   * After a failure, and once the committed state is safe in new state files: goes on in a new segment that says how much
   * of the old one counts. Rejects with `StorageUnavailable` while the disk still fails.
   */
  reopen(expectedSeq: number): Promise<void> {
    this.#reopening ??= this.#reopen(expectedSeq).finally(() => {
      this.#reopening = undefined;
    });
    return this.#reopening;
  }

  /** Moves the segments whose events are all `<= seq` to the archive, never the newest one; resolves with their names. */
  async archiveThrough(seq: number): Promise<string[]> {
    const journal = join(this.#options.directory, JOURNAL);
    const archive = join(this.#options.directory, JOURNAL_ARCHIVE);
    const segments = (await listSegments(journal)).filter(({ firstSeq }) => firstSeq <= this.#segment.firstSeq);
    const moved: string[] = [];
    for (const [i, { name }] of segments.entries()) {
      const successor = segments[i + 1];
      if (name === this.#segment.name || successor === undefined || successor.firstSeq - 1 > seq) break;
      await this.#disk.rename(join(journal, name), join(archive, name));
      moved.push(name);
    }
    if (moved.length > 0) {
      await this.#disk.syncDirectory(archive);
      await this.#disk.syncDirectory(journal);
    }
    return moved;
  }

  /** Writes what waits and refuses all that comes after. */
  close(): Promise<void> {
    this.#closing ??= this.#idle.then(() => this.#segment.file.close());
    return this.#closing;
  }

  async #reopen(expectedSeq: number): Promise<void> {
    await this.#idle;
    if (this.#failure === undefined) return;
    const { name, bytes, lastSeq, file } = this.#segment;
    if (expectedSeq !== lastSeq + 1) {
      throw new RangeError(`reopen at seq ${expectedSeq}, but the next is ${lastSeq + 1}`);
    }
    const continues = { segment: name, bytes };
    try {
      this.#segment = await createSegment(this.#options, this.#disk, { firstSeq: expectedSeq, continues });
    } catch (error) {
      throw unavailable(error);
    }
    this.#nextSeq = expectedSeq;
    this.#failure = undefined;
    await file.close().catch(() => {});
  }

  #wake(): void {
    this.#busy = true;
    this.#idle = this.#commitQueued();
  }

  async #commitQueued(): Promise<void> {
    // All requests of one turn of the event loop share a frame.
    await turn();
    for (let batch = this.#queue.shift(); batch !== undefined; batch = this.#queue.shift()) {
      this.#underWay = batch;
      try {
        await this.#commit(batch);
      } catch (error) {
        this.#fail(error, batch);
        break;
      }
      this.#underWay = undefined;
      batch.resolve();
      if (this.#queue.length > 0) await turn();
    }
    this.#busy = false;
  }

  async #commit(batch: Batch): Promise<void> {
    if (this.#segment.bytes >= this.#segmentBytesMax && this.#segment.lastSeq >= this.#segment.firstSeq)
      await this.#rotate();
    const segment = this.#segment;
    const line = this.#encoder.encode(frameBody(batch.firstSeq, this.#options.now(), batch.text));
    await segment.file.write(line, segment.bytes);
    await segment.file.datasync();
    segment.bytes += line.length;
    segment.lastSeq += batch.events.length;
    this.#recent.add({ firstSeq: batch.firstSeq, events: batch.events, chars: batch.text.length });
  }

  async #rotate(): Promise<void> {
    const { file, lastSeq } = this.#segment;
    this.#segment = await createSegment(this.#options, this.#disk, { firstSeq: lastSeq + 1 });
    await file.close();
  }

  #fail(cause: unknown, underWay: Batch): void {
    this.#failure = unavailable(cause);
    const queued = this.#queue;
    this.#queue = [];
    this.#underWay = undefined;
    for (const batch of [underWay, ...queued]) batch.reject(this.#failure);
  }
}

interface Inspected extends SegmentName {
  readonly lastSeq: number;
  readonly bytes: number;
  readonly torn: Buffer;
  readonly unsettled: { readonly bytes: Buffer; readonly position: number };
}

type JournalPlace = Pick<FileJournalOptions, "directory" | "dataId" | "replayFrom" | "stateSeq">;

/** The newest segment that was in use, and those after it that a crash left before they were. */
interface Inspection {
  readonly newest?: Inspected;
  readonly unused: readonly Inspected[];
}

async function inspectJournal(options: JournalPlace): Promise<Inspection> {
  const { directory, replayFrom = 1, stateSeq = 0 } = options;
  const inspection = await findNewest(options);
  if (inspection.newest === undefined) await checkNothingIsGone(directory, stateSeq, inspection.unused.at(-1));
  else await checkReach(directory, replayFrom);
  return inspection;
}

async function findNewest(options: JournalPlace): Promise<Inspection> {
  const { directory, dataId, stateSeq = 0 } = options;
  const unused: Inspected[] = [];
  let committedSeq = stateSeq;
  for (const segment of (await listSegments(join(directory, JOURNAL))).reverse()) {
    const { name, firstSeq } = segment;
    const content = await readFile(join(directory, JOURNAL, name));
    // A segment is begun when all before it is committed.
    if (unused.length > 0) committedSeq = Math.max(committedSeq, (unused.at(-1)?.firstSeq ?? 1) - 1);
    const found = inspectNewest(content, { file: `${JOURNAL}/${name}`, firstSeq, dataId, committedSeq });
    const inspected = {
      ...segment,
      ...found,
      torn: content.subarray(found.bytes),
      unsettled: { bytes: content.subarray(found.unsettledFrom, found.bytes), position: found.unsettledFrom },
    };
    if (found.bytes > 0) return { newest: inspected, unused };
    unused.push(inspected);
  }
  return { unused };
}

/** Without a segment in use, either nothing was ever written, or a new one was just begun after all that the state files contain. */
async function checkNothingIsGone(directory: string, stateSeq: number, begun: SegmentName | undefined): Promise<void> {
  const archived = (await listSegments(join(directory, JOURNAL_ARCHIVE))).at(-1);
  if (begun?.firstSeq === stateSeq + 1 || (begun === undefined && stateSeq === 0 && archived === undefined)) return;
  const wanted = stateSeq > 0 ? `the journal up to seq ${stateSeq}, which a state file contains` : "the newest segment";
  throw new DamagedData({ file: JOURNAL, position: 0, wanted, found: "no segment" });
}

async function checkReach(directory: string, replayFrom: number): Promise<void> {
  const oldest = (await listAllSegments(directory))[0];
  if (oldest === undefined || oldest.firstSeq <= replayFrom) return;
  const wanted = `the events from seq ${replayFrom} on, which a state file lacks`;
  const found = `seq ${oldest.firstSeq} as the oldest`;
  throw new DamagedData({ file: `${oldest.folder}/${oldest.name}`, position: 0, wanted, found });
}

async function keepTorn(
  options: FileJournalOptions,
  disk: Disk,
  torn: Buffer,
  segment: string | undefined,
): Promise<void> {
  const name = `torn-${new Date(options.now()).toISOString().replaceAll(/[-:.]/g, "")}.part`;
  const file = await disk.create(join(options.directory, JOURNAL, name));
  try {
    await file.write(torn, 0);
    await file.sync();
  } finally {
    await file.close();
  }
  await disk.syncDirectory(join(options.directory, JOURNAL));
  options.log.warn(
    { segment, bytes: torn.length, keptAs: `${JOURNAL}/${name}` },
    "the last commit was cut by a crash before anyone was told of it: its bytes are moved aside",
  );
}

/** Cuts what was torn, and makes sure that the rest is on disk. */
async function settleSegment(path: string, disk: Disk, newest: Inspected): Promise<OpenSegment> {
  const { name, firstSeq, lastSeq, bytes, torn, unsettled } = newest;
  const file = await disk.open(path);
  if (torn.length > 0) await file.truncate(bytes);
  // A sync that failed before the crash may have left bytes that can be read but are not on disk, and the next sync would
  // not write them: they are, once written again.
  if (unsettled.bytes.length > 0) await file.write(unsettled.bytes, unsettled.position);
  await file.sync();
  return { name, firstSeq, lastSeq, bytes, file };
}

/** A new segment, on disk with its header and its name. */
async function createSegment(
  { directory, dataId, now }: Pick<FileJournalOptions, "directory" | "dataId" | "now">,
  disk: Disk,
  { firstSeq, continues }: { firstSeq: number; continues?: Continues },
): Promise<OpenSegment> {
  const journal = join(directory, JOURNAL);
  const taken = (await listSegments(journal)).findLast((segment) => segment.firstSeq === firstSeq);
  const name = segmentName(firstSeq, taken === undefined ? 0 : taken.again + 1);
  const file = await disk.create(join(journal, name));
  try {
    const header = headerBody({ seq: firstSeq, at: now(), dataId, continues });
    const line = new LineEncoder(1024).encode(header);
    await file.write(line, 0);
    await file.sync();
    await disk.syncDirectory(journal);
    return { name, firstSeq, lastSeq: firstSeq - 1, bytes: line.length, file };
  } catch (error) {
    await file.close().catch(() => {});
    throw error;
  }
}

function newBatch(firstSeq: number): Batch {
  let resolve: () => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<void>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { firstSeq, events: [], text: "", promise, resolve, reject };
}

function unavailable(cause: unknown): StorageUnavailable {
  const code = cause instanceof Error && "code" in cause ? ` (${String(cause.code)})` : "";
  return new StorageUnavailable(`the journal could not be written${code}`, { cause });
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
