/**
 * What `repair` can build on. Segments that all state files are past are kept for a time; before the first of them goes, a
 * checked copy of all state files that are past it lies in `archive/base/`.
 */
import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { type Disk, noEntry, realDisk } from "./disk.ts";
import type { Log } from "./log.ts";
import { JOURNAL, JOURNAL_ARCHIVE, listAllSegments } from "./segment.ts";
import { verifyStateFile } from "./state-file.ts";

export const BASE = "archive/base";

export interface HistoryOptions {
  /** The data directory. */
  readonly directory: string;
  readonly dataId: string;
  /** Names of all state files. */
  readonly stateFiles: readonly string[];
  /** Ms since the epoch: what was last written before goes. */
  readonly before: number;
  /** Archived segments beyond this go too, oldest first. */
  readonly bytesMax: number;
  readonly log: Log;
  readonly disk?: Disk;
}

/** Deletes what is too old or too much; resolves with the names of the segments that went. Throws `DamagedData`. */
export async function pruneHistory(options: HistoryOptions): Promise<string[]> {
  const { directory, log, disk = realDisk } = options;
  await removeTornParts(options, disk);
  const { names, lastSeq } = await findSegmentsToGo(options);
  if (names.length === 0) return [];
  if ((await newestBase(directory)) < lastSeq && !(await copyBase(options, disk, lastSeq))) return [];
  for (const name of names) await disk.remove(join(directory, JOURNAL_ARCHIVE, name));
  await disk.syncDirectory(join(directory, JOURNAL_ARCHIVE));
  log.info({ segments: names.length, lastSeq }, "journal segments past their time are deleted");
  return names;
}

/** The bases there are: the lowest `seq` of the files in each, newest first. */
export async function listBases(directory: string): Promise<{ seq: number; path: string }[]> {
  const names = (await readdir(join(directory, BASE)).catch(noEntry)) ?? [];
  return names
    .filter((name) => /^\d{16}$/.test(name))
    .sort()
    .reverse()
    .map((name) => ({ seq: Number(name), path: join(directory, BASE, name) }));
}

async function newestBase(directory: string): Promise<number> {
  return (await listBases(directory))[0]?.seq ?? -1;
}

/** Copies all state files; false where one of them does not reach `neededSeq`. */
export async function copyBase(
  { directory, dataId, stateFiles }: Pick<HistoryOptions, "directory" | "dataId" | "stateFiles">,
  disk: Disk,
  neededSeq: number,
): Promise<boolean> {
  const older = await listBases(directory);
  const begun = join(directory, BASE, "begun");
  await disk.remove(begun);
  await disk.makeDirectory(begun);
  const seqs: number[] = [];
  for (const name of stateFiles) {
    if ((await stat(join(directory, name)).catch(noEntry)) === undefined) return false;
    await copyFile(join(directory, name), join(begun, name), disk);
    seqs.push(await verifyStateFile(join(begun, name), { dataId, file: name }));
  }
  const seq = Math.min(...seqs);
  if (seq < neededSeq) return false;
  await disk.syncDirectory(begun);
  await disk.rename(begun, join(directory, BASE, String(seq).padStart(16, "0")));
  await disk.syncDirectory(join(directory, BASE));
  for (const { path } of older) await disk.remove(path);
  return true;
}

async function findSegmentsToGo({
  directory,
  before,
  bytesMax,
}: HistoryOptions): Promise<{ names: string[]; lastSeq: number }> {
  const segments = await listAllSegments(directory);
  const archived: { name: string; lastSeq: number; bytes: number; mtimeMs: number }[] = [];
  for (const [i, { folder, name }] of segments.entries()) {
    const successor = segments[i + 1];
    if (folder !== JOURNAL_ARCHIVE || successor === undefined) break;
    const { size, mtimeMs } = await stat(join(directory, folder, name));
    archived.push({ name, lastSeq: successor.firstSeq - 1, bytes: size, mtimeMs });
  }
  let left = archived.reduce((sum, { bytes }) => sum + bytes, 0);
  const names: string[] = [];
  let lastSeq = 0;
  for (const segment of archived) {
    if (segment.mtimeMs >= before && left <= bytesMax) break;
    names.push(segment.name);
    lastSeq = segment.lastSeq;
    left -= segment.bytes;
  }
  return { names, lastSeq };
}

async function removeTornParts({ directory, before }: HistoryOptions, disk: Disk): Promise<void> {
  for (const name of await readdir(join(directory, JOURNAL))) {
    if (!/^torn-.*\.part$/.test(name)) continue;
    const { mtimeMs } = await stat(join(directory, JOURNAL, name));
    if (mtimeMs < before) await disk.remove(join(directory, JOURNAL, name));
  }
}

async function copyFile(from: string, to: string, disk: Disk): Promise<void> {
  const source = await open(from, "r");
  try {
    const target = await disk.create(to);
    try {
      const buffer = Buffer.allocUnsafe(256 * 1024);
      for (let position = 0; ; ) {
        const { bytesRead } = await source.read(buffer, 0, buffer.length, position);
        if (bytesRead === 0) break;
        await target.write(buffer.subarray(0, bytesRead), position);
        position += bytesRead;
      }
      await target.sync();
    } finally {
      await target.close();
    }
  } finally {
    await source.close();
  }
}
