/**
 * What has left the hot files: records of one kind in files that are only appended to, `<name>.jsonl` the first, then
 * `<name>-000001.jsonl` and so on. An id may be there more than once: the newest line counts.
 */
import { type FileHandle, open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import {
  type ArchiveLine,
  archiveLineBody,
  decodeArchiveLine,
  indexName,
  readArchiveIndex,
  scanArchiveFile,
  writeArchiveIndex,
} from "./archive-file.ts";
import { ArchiveIndex, hashOf, type IndexedLine } from "./archive-index.ts";
import { DamagedData } from "./damage.ts";
import { type Disk, type DiskFile, noEntry, realDisk } from "./disk.ts";
import { LineEncoder } from "./frame.ts";
import type { Log } from "./log.ts";

export const ARCHIVE = "archive";

export interface ArchiveOptions<R> {
  /** The data directory. */
  readonly directory: string;
  /** Of the files: `tasks` for `archive/tasks.jsonl`. */
  readonly name: string;
  id(record: R): string;
  /** What records are looked up by beside their id, such as a session's task. Default: nothing. */
  group?(record: R): string;
  readonly log: Log;
  /** A file that is longer is followed by a new one. Default 32 MiB. */
  readonly fileBytesMax?: number;
  readonly disk?: Disk;
}

export interface ArchivePage<R> {
  /** Newest first. */
  readonly records: readonly R[];
  /** For the next page; absent at the end. */
  readonly nextCursor?: string;
}

/** Throws `DamagedData` where a file is not what was written. What a crash in the middle of an append left is cut off. */
export async function openArchive<R extends object>(options: ArchiveOptions<R>): Promise<Archive<R>> {
  const { directory, name, disk = realDisk } = options;
  const folder = join(directory, ARCHIVE);
  await disk.makeDirectory(folder);
  const index = new ArchiveIndex();
  const numbers = await listArchiveFiles(folder, name);
  const newest = numbers.pop();
  for (const number of numbers) await readFullFile(folder, archiveFileName(name, number), number, index, disk);
  const opened =
    newest === undefined
      ? await createFile(folder, name, 0, index, disk)
      : await openNewestFile(options, newest, index, disk);
  return new Archive(options, index, opened);
}

/** The file that is written now. */
interface NewestFile {
  readonly number: number;
  readonly file: DiskFile;
  bytes: number;
  /** The number of its first line in the index. */
  readonly firstLine: number;
}

/** What goes to disk at a time, in bytes: a few ms of serialising. */
const BATCH_BYTES = 512 * 1024;

export class Archive<R extends object> {
  readonly #options: ArchiveOptions<R>;
  readonly #disk: Disk;
  readonly #index: ArchiveIndex;
  readonly #encoder = new LineEncoder(64 * 1024);
  #newest: NewestFile;
  /** Appends run one after the other. */
  #last: Promise<void> = Promise.resolve();
  /** A write or sync failed: the file is not written any more. */
  #failed = false;
  #closed: Promise<void> | undefined;

  constructor(options: ArchiveOptions<R>, index: ArchiveIndex, newest: NewestFile) {
    this.#options = options;
    this.#disk = options.disk ?? realDisk;
    this.#index = index;
    this.#newest = newest;
  }

  /** Resolves once the records are on disk. Rejects with the system's error: some of them may be there nevertheless. */
  append(records: readonly R[]): Promise<void> {
    const options = this.#options;
    return this.#write(() =>
      records.map((record) => ({ id: options.id(record), group: options.group?.(record) ?? "", record })),
    );
  }

  /**
   * The records are no longer in the archive, for good once this resolves, those that are being appended included. Ids that
   * are not in it cost nothing.
   */
  async remove(ids: readonly string[]): Promise<void> {
    const known = () => ids.filter((id) => this.has(id)).map((id) => ({ id, group: "", record: null }));
    await this.#write(known);
  }

  has(id: string): boolean {
    const newest = this.#index.withId(hashOf(id)).next();
    return newest.done !== true && !this.#index.line(newest.value).removed;
  }

  async get(id: string): Promise<R | undefined> {
    return await this.#reading(async (read) => {
      for (const n of this.#index.withId(hashOf(id))) {
        const line = await read(n);
        if (line.id === id) return (line.record ?? undefined) as R | undefined;
      }
      return undefined;
    });
  }

  /** A page of all records, newest first; `cursor` as it was given with the page before. */
  async list(cursor: string | undefined, limit: number): Promise<ArchivePage<R>> {
    const from = cursor === undefined ? this.#index.count : Math.min(Number(cursor), this.#index.count);
    return await this.#reading(async (read) => {
      const records: R[] = [];
      for (let n = from - 1; n >= 0; n--) {
        if (records.length === limit) return { records, nextCursor: String(n + 1) };
        const record = await this.#current(n, read);
        if (record !== undefined) records.push(record);
      }
      return { records };
    });
  }

  /** The records of a group, newest first. */
  async listGroup(group: string, limit: number): Promise<readonly R[]> {
    return await this.#reading(async (read) => {
      const records: R[] = [];
      for (const n of this.#index.withGroup(hashOf(group))) {
        if (records.length === limit) break;
        if ((await read(n)).group !== group) continue;
        const record = await this.#current(n, read);
        if (record !== undefined) records.push(record);
      }
      return records;
    });
  }

  /** Waits for what is being written, and leaves an index so that the next start need not read the newest file. */
  close(): Promise<void> {
    this.#closed ??= this.#last.then(async () => {
      try {
        await this.#writeIndex();
      } finally {
        await this.#newest.file.close();
      }
    });
    return this.#closed;
  }

  /** The record of a line, unless the line is a removal or a newer one has the same id. */
  async #current(n: number, read: Read): Promise<R | undefined> {
    const { idHash, removed } = this.#index.line(n);
    if (removed) return undefined;
    const { id, record } = await read(n);
    for (const newer of this.#index.withId(idHash)) {
      if (newer === n) break;
      if ((await read(newer)).id === id) return undefined;
    }
    return record as R;
  }

  /** `lines` is asked once everything before is written. */
  #write(lines: () => readonly NewLine[]): Promise<void> {
    const written = this.#last.then(() => this.#writeAll(lines()));
    this.#last = written.catch(() => {});
    return written;
  }

  async #writeAll(lines: readonly NewLine[]): Promise<void> {
    const { fileBytesMax = 32 * 1024 * 1024 } = this.#options;
    let batch = new Batch(this.#newest.bytes);
    for (const line of lines) {
      if (batch.bytes === 0 && (this.#failed || this.#newest.bytes >= fileBytesMax)) {
        await this.#startFile();
        batch = new Batch(0);
      }
      batch.add(line, this.#encoder);
      if (batch.bytes < BATCH_BYTES) continue;
      await this.#writeBatch(batch);
      batch = new Batch(this.#newest.bytes);
    }
    if (batch.bytes > 0) await this.#writeBatch(batch);
  }

  async #writeBatch({ pieces, bytes, lines }: Batch): Promise<void> {
    const newest = this.#newest;
    try {
      await newest.file.write(Buffer.concat(pieces), newest.bytes);
      await newest.file.datasync();
    } catch (error) {
      this.#failed = true;
      throw error;
    }
    newest.bytes += bytes;
    for (const line of lines) this.#index.add(line, newest.number);
  }

  /** First the index of the file that is complete, which also says how much of it counts. */
  async #startFile(): Promise<void> {
    const { directory, name } = this.#options;
    const { number, file } = this.#newest;
    await this.#writeIndex();
    this.#newest = await createFile(join(directory, ARCHIVE), name, number + 1, this.#index, this.#disk);
    this.#failed = false;
    await file.close().catch(() => {});
  }

  async #writeIndex(): Promise<void> {
    const { directory, name } = this.#options;
    const { number, bytes, firstLine } = this.#newest;
    const path = join(directory, ARCHIVE, indexName(archiveFileName(name, number)));
    await writeArchiveIndex(path, { bytes, lines: this.#index.linesFrom(firstLine) }, this.#disk);
  }

  /** Opens each file at most once. */
  async #reading<T>(use: (read: Read) => Promise<T>): Promise<T> {
    const { directory, name } = this.#options;
    const opened = new Map<number, FileHandle>();
    const read: Read = async (n) => {
      const number = this.#index.fileOf(n);
      const file = archiveFileName(name, number);
      const handle = opened.get(number) ?? (await open(join(directory, ARCHIVE, file), "r"));
      opened.set(number, handle);
      const { offset, length } = this.#index.line(n);
      const { buffer, bytesRead } = await handle.read(Buffer.allocUnsafe(length), 0, length, offset);
      const line = bytesRead === length ? decodeArchiveLine(buffer) : undefined;
      if (line !== undefined) return line;
      const wanted = "a line that matches its checksum";
      throw new DamagedData({ file: `${ARCHIVE}/${file}`, position: offset, wanted, found: "one that does not" });
    };
    try {
      return await use(read);
    } finally {
      for (const handle of opened.values()) await handle.close();
    }
  }
}

/** Reads a line by its number. */
type Read = (n: number) => Promise<ArchiveLine>;

type NewLine = Omit<ArchiveLine, "batch">;

/** Lines that go to disk together. */
class Batch {
  readonly #offset: number;
  readonly pieces: Buffer[] = [];
  readonly lines: IndexedLine[] = [];
  bytes = 0;

  constructor(offset: number) {
    this.#offset = offset;
  }

  add({ id, group, record }: NewLine, encoder: LineEncoder): void {
    const piece = Buffer.from(encoder.encode(archiveLineBody({ batch: this.#offset, id, group, record })));
    this.pieces.push(piece);
    this.lines.push({
      idHash: hashOf(id),
      groupHash: hashOf(group),
      offset: this.#offset + this.bytes,
      length: piece.length - 1,
      removed: record === null,
    });
    this.bytes += piece.length;
  }
}

/** The numbers of an archive's files, oldest first. */
export async function listArchiveFiles(folder: string, name: string): Promise<number[]> {
  const numbers: number[] = [];
  for (const file of (await readdir(folder).catch(noEntry)) ?? []) {
    const [, of, number] = /^(.+?)(?:-(\d{6}))?\.jsonl$/.exec(file) ?? [];
    if (of === name) numbers.push(Number(number ?? 0));
  }
  return numbers.sort((a, b) => a - b);
}

export function archiveFileName(name: string, number: number): string {
  return number === 0 ? `${name}.jsonl` : `${name}-${String(number).padStart(6, "0")}.jsonl`;
}

/** An index stands for all of it that counts, even where a failed append left more. */
async function readFullFile(
  folder: string,
  file: string,
  number: number,
  index: ArchiveIndex,
  disk: Disk,
): Promise<void> {
  const path = join(folder, file);
  const indexPath = join(folder, indexName(file));
  const shown = `${ARCHIVE}/${file}`;
  if ((await readArchiveIndex(indexPath, path, shown, (line) => index.add(line, number))) > 0) return;
  const firstLine = index.count;
  const bytes = await scanArchiveFile(path, shown, (line) => index.add(line, number));
  await writeArchiveIndex(indexPath, { bytes, lines: index.linesFrom(firstLine) }, disk);
}

async function openNewestFile(
  { directory, name, log }: ArchiveOptions<never>,
  number: number,
  index: ArchiveIndex,
  disk: Disk,
): Promise<NewestFile> {
  const folder = join(directory, ARCHIVE);
  const fileName = archiveFileName(name, number);
  const path = join(folder, fileName);
  const shown = `${ARCHIVE}/${fileName}`;
  const firstLine = index.count;
  const add = (line: IndexedLine): void => index.add(line, number);
  const indexed = await readArchiveIndex(join(folder, indexName(fileName)), path, shown, add);
  const bytes = await scanArchiveFile(path, shown, add, indexed);
  const torn = (await stat(path)).size - bytes;
  const file = await disk.open(path);
  if (torn > 0) {
    await file.truncate(bytes);
    log.warn({ file: shown, bytes: torn }, "records that a crash cut while they were archived are dropped");
  }
  await file.sync();
  return { number, file, bytes, firstLine };
}

async function createFile(
  folder: string,
  name: string,
  number: number,
  index: ArchiveIndex,
  disk: Disk,
): Promise<NewestFile> {
  const path = join(folder, archiveFileName(name, number));
  // An attempt that failed may have left one.
  await disk.remove(path);
  const file = await disk.create(path);
  await disk.syncDirectory(folder);
  return { number, file, bytes: 0, firstLine: index.count };
}
