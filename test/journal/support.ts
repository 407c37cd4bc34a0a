/** What the journal tests share: events, a clock that is moved by hand, and a disk that can be watched and made to fail. */
import { readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Event, StoredEvent } from "../../src/core/event.ts";
import type { Clock } from "../../src/dispatcher/ports.ts";
import { type Disk, type DiskFile, realDisk, type Sink } from "../../src/journal/disk.ts";
import type { FileJournalOptions } from "../../src/journal/file-journal.ts";

export const DATA_ID = "0123456789abcdef";
export const NOW = Date.UTC(2026, 10, 22, 16, 15);

/** An event that says which one it is. */
export function event(n: number): Event {
  return { type: "agent.resumed", at: NOW + n, agent: `agent-${n}` };
}

export function events(from: number, to: number): Event[] {
  return Array.from({ length: to - from + 1 }, (_, i) => event(from + i));
}

export function stored(from: number, to: number): StoredEvent[] {
  return events(from, to).map((each, i) => ({ seq: from + i, event: each }));
}

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}

/** Remembers what was logged. */
export class TestLog {
  readonly warnings: string[] = [];
  readonly infos: string[] = [];

  warn(_facts: object, message: string): void {
    this.warnings.push(message);
  }

  info(_facts: object, message: string): void {
    this.infos.push(message);
  }
}

export function journalOptions(directory: string, more: Partial<FileJournalOptions> = {}): FileJournalOptions {
  return { directory, dataId: DATA_ID, now: () => NOW, log: new TestLog(), disk: hastyDisk, ...more };
}

/** Time passes only by `advance`. */
export class TestClock implements Clock {
  #now = NOW;
  #timers: { at: number; callback: () => void }[] = [];

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now - NOW;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.#now + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer);
    };
  }

  /** From now to the next timer, in ms; `undefined` without one. */
  get next(): number | undefined {
    const [first] = this.#timers.toSorted((a, b) => a.at - b.at);
    return first === undefined ? undefined : first.at - this.#now;
  }

  /** Time goes by, and no timer notices. */
  pass(ms: number): void {
    this.#now += ms;
  }

  advance(ms: number): void {
    this.#now += ms;
    const due = this.#timers.filter(({ at }) => at <= this.#now);
    this.#timers = this.#timers.filter(({ at }) => at > this.#now);
    for (const { callback } of due.toSorted((a, b) => a.at - b.at)) callback();
  }
}

export type Operation = keyof Disk | keyof DiskFile;

/** The real disk without its syncs: for tests that make many files and lose no power. */
export const hastyDisk: Disk = {
  ...realDisk,
  create: async (path) => withoutSyncs(await realDisk.create(path)),
  open: async (path) => withoutSyncs(await realDisk.open(path)),
  syncDirectory: async () => {},
  async replace(path, fill) {
    const pieces: Uint8Array[] = [];
    await fill(async (bytes) => void pieces.push(Buffer.from(bytes)));
    writeFileSync(`${path}.1`, Buffer.concat(pieces));
    renameSync(`${path}.1`, path);
  },
};

function withoutSyncs(file: DiskFile): DiskFile {
  return {
    write: (bytes, position) => file.write(bytes, position),
    read: (buffer, position) => file.read(buffer, position),
    truncate: (length) => file.truncate(length),
    datasync: async () => {},
    sync: async () => {},
    close: () => file.close(),
  };
}

/** A disk that tells every operation before it is done; what `before` throws is how the operation fails. */
export function watchedDisk(
  before: (operation: Operation, path: string) => void | Promise<void>,
  real: Disk = realDisk,
): Disk {
  const watchFile = (path: string, file: DiskFile): DiskFile => ({
    async write(bytes, position) {
      await before("write", path);
      await file.write(bytes, position);
    },
    async read(buffer, position) {
      await before("read", path);
      return await file.read(buffer, position);
    },
    async truncate(length) {
      await before("truncate", path);
      await file.truncate(length);
    },
    async datasync() {
      await before("datasync", path);
      await file.datasync();
    },
    async sync() {
      await before("sync", path);
      await file.sync();
    },
    async close() {
      await file.close();
    },
  });
  return {
    async create(path) {
      await before("create", path);
      return watchFile(path, await real.create(path));
    },
    async open(path) {
      await before("open", path);
      return watchFile(path, await real.open(path));
    },
    async makeDirectory(path) {
      await before("makeDirectory", path);
      await real.makeDirectory(path);
    },
    async rename(from, to) {
      await before("rename", to);
      await real.rename(from, to);
    },
    async remove(path) {
      await before("remove", path);
      await real.remove(path);
    },
    async syncDirectory(path) {
      await before("syncDirectory", path);
      await real.syncDirectory(path);
    },
    async replace(path, fill) {
      await real.replace(path, async (sink: Sink) => {
        await fill(async (bytes) => {
          await before("replace", path);
          await sink(bytes);
        });
      });
    },
  };
}

/** The system's error for a full or failing disk. */
export function systemError(code: string): Error {
  return Object.assign(new Error(`${code}: made to fail`), { code });
}

export function segmentsIn(directory: string): string[] {
  return readdirSync(join(directory, "journal"))
    .filter((name) => name.endsWith(".jsonl"))
    .sort();
}

/** Every file below a directory with its content. */
export function contentOf(directory: string): Record<string, string> {
  const files: Record<string, string> = {};
  for (const entry of readdirSync(directory, { withFileTypes: true, recursive: true })) {
    const path = join(entry.parentPath, entry.name);
    if (entry.isFile()) files[path.slice(directory.length + 1)] = readFileSync(path, "latin1");
  }
  return files;
}
