/**
 * Keeps the state files close behind the journal, off the hot path: changes are collected for a moment, then the files that they
 * concern are written, one after the other. A write that fails loses nothing, since the journal has it.
 */
import { type Clock, StorageUnavailable } from "../dispatcher/ports.ts";
import { type Disk, realDisk } from "./disk.ts";
import { pruneHistory } from "./history.ts";
import type { Log } from "./log.ts";
import { StateFileWriter, type StateSnapshot } from "./state-file-writer.ts";

/** One store and its file. */
export interface CheckpointStore {
  /** Of the file, such as `tasks.json`. */
  readonly name: string;
  /** The state of this moment; it may be ahead of what is committed. */
  snapshot(): StateSnapshot;
}

/** What a checkpoint needs of the journal. */
export interface CheckpointJournal {
  readonly lastSeq: number;
  readonly segmentFirstSeq: number;
  committed(seq: number): Promise<void>;
  archiveThrough(seq: number): Promise<readonly string[]>;
}

export interface CheckpointOptions {
  /** The data directory. */
  readonly directory: string;
  readonly dataId: string;
  readonly stores: readonly CheckpointStore[];
  /** The `seq` that each file on disk contains; those that are absent count as 0. */
  readonly fileSeqs: ReadonlyMap<string, number>;
  readonly journal: CheckpointJournal;
  readonly clock: Clock;
  readonly log: Log;
  /** From a change to the start of its write. Default 500 ms. */
  readonly delayMs?: number;
  /** The longest that a change waits under full load. Default 5 s. */
  readonly delayMsMax?: number;
  /** The most of the event loop's time that writing may take under load before it waits longer. Default 0.04. */
  readonly shareMax?: number;
  /** So many changes a second are load; with fewer there is time enough to write. Default 100. */
  readonly loadFrom?: number;
  /** From a failed write to the next attempt; doubles up to `delayMsMax` times six. Default 1 s. */
  readonly retryMs?: number;
  /** How long archived segments are kept. Default 30 days. */
  readonly historyMs?: number;
  /** How much of them is kept at most. Default 16 GiB. */
  readonly historyBytesMax?: number;
  /** Called once for each kind of failure until all is well again. */
  readonly onFailure?: (error: Error) => void;
  readonly onRecovered?: () => void;
  readonly disk?: Disk;
}

const DAY_MS = 24 * 60 * 60 * 1000;
const PRUNE_EVERY_MS = 60 * 60 * 1000;

export class Checkpoint {
  readonly #options: CheckpointOptions;
  readonly #writers: ReadonlyMap<CheckpointStore, StateFileWriter>;
  readonly #fileSeqs: Map<string, number>;
  readonly #changed = new Set<string>();
  #cancelTimer: (() => void) | undefined;
  /** Rounds run one after the other. */
  #round: Promise<unknown> = Promise.resolve();
  #running = 0;
  #stopped = false;
  /** Monotonic ms: the share of the event loop's time is kept by not starting before. */
  #notBefore = 0;
  /** Since the last round ended. */
  #changes = 0;
  #roundAt = Number.NEGATIVE_INFINITY;
  #failedRounds = 0;
  #failure: string | undefined;
  #prunedAt = Number.NEGATIVE_INFINITY;

  constructor(options: CheckpointOptions) {
    const { directory, dataId, stores, clock, disk = realDisk } = options;
    const monotonic = (): number => clock.monotonic();
    this.#options = options;
    this.#fileSeqs = new Map(options.fileSeqs);
    this.#writers = new Map(
      stores.map((store) => [store, new StateFileWriter({ directory, name: store.name, dataId, monotonic, disk })]),
    );
  }

  /** The stores of these files have changed: they are written soon. */
  changed(names: Iterable<string>): void {
    for (const name of names) this.#changed.add(name);
    this.#changes++;
    this.#schedule();
  }

  /**
   * Writes every file that is behind the state, now: after a clean stop all of them are exact. Rejects with the first
   * error when one cannot be written; it is tried again later.
   */
  async flush(): Promise<void> {
    if (this.#stopped) throw new Error("the checkpoint has stopped");
    this.#cancel();
    for (const { name } of this.#options.stores) {
      if (this.#seqOf(name) < this.#options.journal.lastSeq) this.#changed.add(name);
    }
    const failed = await this.#startRound();
    if (failed !== undefined) throw failed;
  }

  /** Resolves when no write is under way; the next may be due already. */
  async idle(): Promise<void> {
    await this.#round;
  }

  /** Ends after the write that is under way; nothing is written any more. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#round;
  }

  #schedule(): void {
    if (this.#stopped || this.#cancelTimer !== undefined || this.#running > 0) return;
    // What could not be tidied up is tried again though nothing changed.
    if (this.#changed.size === 0 && this.#failedRounds === 0) return;
    this.#cancelTimer = this.#options.clock.after(this.#delay(), () => {
      this.#cancelTimer = undefined;
      // Load may have come since this was planned.
      if (this.#failedRounds === 0 && this.#loadDelay() > 0) this.#schedule();
      else void this.#startRound();
    });
  }

  /** Under load, how long to wait yet so that writing takes no more than its share. */
  #loadDelay(): number {
    const { clock, loadFrom = 100, delayMs = 500 } = this.#options;
    const now = clock.monotonic();
    const isLoad = this.#changes > (Math.max(now - this.#roundAt, delayMs) / 1000) * loadFrom;
    return isLoad ? this.#notBefore - now : 0;
  }

  #delay(): number {
    const { delayMs = 500, delayMsMax = 5000, retryMs = 1000 } = this.#options;
    if (this.#failedRounds > 0) return Math.min(retryMs * 2 ** (this.#failedRounds - 1), delayMsMax * 6);
    return Math.max(delayMs, this.#loadDelay());
  }

  #cancel(): void {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
  }

  /** Never rejects: resolves with what went wrong. */
  #startRound(): Promise<Error | undefined> {
    this.#running++;
    const round = this.#round.then(() => this.#writeChanged());
    this.#round = round.finally(() => {
      this.#running--;
      this.#schedule();
    });
    return round;
  }

  async #writeChanged(): Promise<Error | undefined> {
    const { clock, shareMax = 0.04, delayMsMax = 5000 } = this.#options;
    const startedAt = clock.monotonic();
    let busyMs = 0;
    let failed: Error | undefined;
    for (const [store, writer] of this.#writers) {
      if (this.#stopped) break;
      if (!this.#isDue(store.name)) continue;
      try {
        busyMs += await this.#write(store, writer);
      } catch (error) {
        this.#changed.add(store.name);
        failed ??= asError(error);
      }
    }
    failed ??= await this.#tidy();
    this.#report(failed);
    // Whatever its share is: a change waits no longer than `delayMsMax`, the next round's own time included.
    const endedAt = clock.monotonic();
    this.#roundAt = endedAt;
    this.#changes = 0;
    this.#notBefore = endedAt + Math.min(busyMs / shareMax, delayMsMax - (endedAt - startedAt));
    return failed;
  }

  /** A file whose store did not change is due, too, when it is all that keeps a segment from the archive. */
  #isDue(name: string): boolean {
    return this.#changed.has(name) || this.#seqOf(name) < this.#options.journal.segmentFirstSeq - 1;
  }

  async #write(store: CheckpointStore, writer: StateFileWriter): Promise<number> {
    this.#changed.delete(store.name);
    const snapshot = store.snapshot();
    // Asked at once: the number may belong to another event when this one's commit has failed.
    const committed = this.#options.journal.committed(snapshot.seq);
    const { busyMs } = await writer.write(snapshot, committed);
    this.#fileSeqs.set(store.name, snapshot.seq);
    return busyMs;
  }

  async #tidy(): Promise<Error | undefined> {
    const { directory, dataId, stores, journal, clock, log, disk = realDisk } = this.#options;
    const { historyMs = 30 * DAY_MS, historyBytesMax = 16 * 2 ** 30 } = this.#options;
    if (this.#stopped) return undefined;
    try {
      const stateFiles = stores.map(({ name }) => name);
      const moved = await journal.archiveThrough(Math.min(...stateFiles.map((name) => this.#seqOf(name))));
      if (moved.length === 0 && clock.monotonic() - this.#prunedAt < PRUNE_EVERY_MS) return undefined;
      const before = clock.now() - historyMs;
      await pruneHistory({ directory, dataId, stateFiles, before, bytesMax: historyBytesMax, log, disk });
      this.#prunedAt = clock.monotonic();
      return undefined;
    } catch (error) {
      return asError(error);
    }
  }

  /** A commit that failed is the journal's to report: nothing is wrong with the state files. */
  #report(error: Error | undefined): void {
    const { log, onFailure, onRecovered } = this.#options;
    if (error === undefined) {
      this.#failedRounds = 0;
      if (this.#failure === undefined) return;
      this.#failure = undefined;
      log.info({}, "checkpoints work again");
      onRecovered?.();
      return;
    }
    this.#failedRounds++;
    const kind = "code" in error ? String(error.code) : error.name;
    if (error instanceof StorageUnavailable || kind === this.#failure) return;
    this.#failure = kind;
    log.warn({ err: error }, "a checkpoint failed: nothing is lost, the journal has all of it; it is tried again");
    onFailure?.(error);
  }

  #seqOf(name: string): number {
    return this.#fileSeqs.get(name) ?? 0;
  }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}
