/** One file of an archive: how a line is made, how a file is read at a start, and the index that saves reading it. */
import { readFile, stat } from "node:fs/promises";
import { crc32 } from "node:zlib";
import type { IndexedLine } from "./archive-index.ts";
import { hashOf } from "./archive-index.ts";
import { DamagedData } from "./damage.ts";
import { type Disk, noEntry } from "./disk.ts";
import { decodeLine, isIntact } from "./frame.ts";
import { readLines } from "./lines.ts";

/** What a line says; `record` is `null` once it left the archive again. */
export interface ArchiveLine {
  /** Byte offset at which the lines begin that went to disk together with this one. */
  readonly batch: number;
  readonly id: string;
  readonly group: string;
  readonly record: unknown;
}

/** How every line of an archive starts. */
export const ARCHIVE_LINE_OPENING = '{"batch":';

/** The name of a file's index. */
export function indexName(file: string): string {
  return file.replace(/\.jsonl$/, ".index");
}

export function archiveLineBody({ batch, id, group, record }: ArchiveLine): string {
  return JSON.stringify({ batch, id, group, record }).slice(0, -1);
}

export function decodeArchiveLine(bytes: Buffer): ArchiveLine | undefined {
  return decodeLine(bytes) as ArchiveLine | undefined;
}

/**
 * Reads and checks a file from byte `from` on, telling every good line. Resolves with the length of the good part: what
 * follows was torn by a crash. A bad line passes for that where all after it belongs to the same batch; otherwise throws
 * `DamagedData`, naming the file as `file`.
 */
export async function scanArchiveFile(
  path: string,
  file: string,
  add: (line: IndexedLine) => void,
  from = 0,
): Promise<number> {
  let good = from;
  let tornAt: number | undefined;
  for await (const lines of readLines(path, from)) {
    for (const { bytes, position, terminated } of lines) {
      if (!terminated || !isIntact(bytes)) {
        tornAt ??= position;
      } else if (tornAt === undefined) {
        add(indexed(bytes, position));
        good = position + bytes.length + 1;
      } else if (openingOf(bytes).batch > tornAt) {
        const wanted = "a line that matches its checksum";
        throw new DamagedData({ file, position: tornAt, wanted, found: "one that does not, and later ones that do" });
      }
    }
  }
  return good;
}

function indexed(line: Buffer, offset: number): IndexedLine {
  const { id, group, removed } = openingOf(line);
  return { idHash: hashOf(id), groupHash: hashOf(group), offset, length: line.length, removed };
}

const OPENING = /^\{"batch":(\d+),"id":"([^"\\]*)","group":"([^"\\]*)","record":(null)?/;

/** The first fields of an intact line, as a rule without parsing all of it. */
function openingOf(line: Buffer): { batch: number; id: string; group: string; removed: boolean } {
  const match = OPENING.exec(line.toString("latin1", 0, 256));
  const [, batch, id, group, none] = match ?? [];
  // Latin 1 tells nothing of what is beyond ASCII, and a long or escaped id is not matched: parse those.
  if (id !== undefined && group !== undefined && isAscii(id) && isAscii(group)) {
    return { batch: Number(batch), id, group, removed: none !== undefined };
  }
  const parsed = JSON.parse(line.toString("utf8")) as ArchiveLine;
  return { ...parsed, removed: parsed.record === null };
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false;
  return true;
}

// The index of a file: a header, then the lines.
const MAGIC = 0x4941_4f4a;
const INDEX_VERSION = 2;
const HEADER_BYTES = 24;
const LINE_BYTES = 24;
const REMOVED = 0x8000_0000;

/** `lines`: all that are in the file's first `bytes`, which are on disk. */
export async function writeArchiveIndex(
  path: string,
  { bytes, lines }: { readonly bytes: number; readonly lines: readonly IndexedLine[] },
  disk: Disk,
): Promise<void> {
  const payload = Buffer.alloc(lines.length * LINE_BYTES);
  let at = 0;
  for (const { idHash, groupHash, offset, length, removed } of lines) {
    payload.writeDoubleLE(idHash, at);
    payload.writeDoubleLE(groupHash, at + 8);
    payload.writeUInt32LE(offset, at + 16);
    payload.writeUInt32LE(removed ? length + REMOVED : length, at + 20);
    at += LINE_BYTES;
  }
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32LE(MAGIC, 0);
  header.writeUInt32LE(INDEX_VERSION, 4);
  header.writeDoubleLE(bytes, 8);
  header.writeUInt32LE(crc32(payload, crc32(header.subarray(0, 16))), 16);
  await disk.replace(path, async (sink) => {
    await sink(header);
    await sink(payload);
  });
}

/**
 * Tells every line that the index of a file has; resolves with the length of the part that it stands for: 0 where it is
 * missing or not as it was written, since it only saves reading the file. Throws `DamagedData` where the file is shorter.
 */
export async function readArchiveIndex(
  indexPath: string,
  dataPath: string,
  file: string,
  add: (line: IndexedLine) => void,
): Promise<number> {
  const index = await readFile(indexPath).catch(noEntry);
  if (index === undefined || !isIntactIndex(index)) return 0;
  const bytes = index.readDoubleLE(8);
  const { size } = await stat(dataPath);
  if (size < bytes) {
    throw new DamagedData({ file, position: size, wanted: `${bytes} bytes`, found: "the end of the file" });
  }
  for (let at = HEADER_BYTES; at + LINE_BYTES <= index.length; at += LINE_BYTES) {
    const length = index.readUInt32LE(at + 20);
    add({
      idHash: index.readDoubleLE(at),
      groupHash: index.readDoubleLE(at + 8),
      offset: index.readUInt32LE(at + 16),
      length: length % REMOVED,
      removed: length >= REMOVED,
    });
  }
  return bytes;
}

function isIntactIndex(index: Buffer): boolean {
  return (
    index.length >= HEADER_BYTES &&
    index.readUInt32LE(0) === MAGIC &&
    index.readUInt32LE(4) === INDEX_VERSION &&
    index.readUInt32LE(16) === crc32(index.subarray(HEADER_BYTES), crc32(index.subarray(0, 16)))
  );
}
