/**
 * A state file: one store's state up to its `seq`, as indented JSON. The first fields say what it is, the last one is a checksum
 * of all bytes before it.
 */
import { open, readFile } from "node:fs/promises";
import { basename } from "node:path";
import { crc32 } from "node:zlib";
import { DamagedData, NewerData } from "./damage.ts";
import { noEntry } from "./disk.ts";
import { hex32 } from "./frame.ts";

/** What this code writes; it reads this one and those before it. */
export const STATE_FILE_VERSION = 1;

export interface StateFile {
  readonly version: number;
  readonly dataId: string;
  /** The last event that the content contains. */
  readonly seq: number;
  /** All other fields. */
  readonly content: Readonly<Record<string, unknown>>;
}

interface Expected {
  /** Of the data directory that the file must belong to; `undefined`: any. */
  readonly dataId: string | undefined;
  /** How errors name the file, relative to the data directory. Default: its base name. */
  readonly file?: string;
}

/** The text of a state file up to its first own field. */
export function stateFileOpening(dataId: string, seq: number): string {
  return `{\n  "version": ${STATE_FILE_VERSION},\n  "dataId": ${JSON.stringify(dataId)},\n  "seq": ${seq},\n`;
}

/** The indentation of the field that ends a state file belongs to what is checked. */
export const CHECKSUM_INDENT = "  ";

export function stateFileEnding(crc: number): string {
  return `"checksum": "crc32:${hex32(crc)}"\n}\n`;
}

/** Reads and checks a state file; `null` where there is none. Throws `DamagedData` where it is not as it was written. */
export async function readStateFile(
  path: string,
  { dataId, file = basename(path) }: Expected,
): Promise<StateFile | null> {
  const bytes = await readFile(path).catch(noEntry);
  if (bytes === undefined) return null;
  const ending = bytes.length - ENDING_BYTES;
  checkEnding(file, bytes);
  const crc = crc32(bytes.subarray(0, ending));
  if (bytes.toString("latin1", ending) !== stateFileEnding(crc)) {
    const wanted = `the content that its checksum ${checksumIn(bytes.subarray(ending))} stands for`;
    const position = brokenAt(bytes) ?? ending;
    throw new DamagedData({ file, position, wanted, found: `content with checksum ${hex32(crc)}` });
  }
  return checkContent(file, parse(file, bytes), dataId);
}

/** Checks a state file without parsing it, a piece at a time: its `seq`. Throws `DamagedData`. */
export async function verifyStateFile(path: string, { dataId, file = basename(path) }: Expected): Promise<number> {
  const handle = await open(path, "r");
  try {
    const buffer = Buffer.allocUnsafe(256 * 1024);
    const { size } = await handle.stat();
    const read = async (from: number, to: number): Promise<Buffer> => {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, to - from), from);
      return buffer.subarray(0, bytesRead);
    };
    const { seq } = checkContent(file, openingOf(file, await read(0, Math.min(size, 1024))), dataId);
    let crc = 0;
    let position = 0;
    while (position < size - ENDING_BYTES) {
      const piece = await read(position, size - ENDING_BYTES);
      if (piece.length === 0) break;
      crc = crc32(piece, crc);
      position += piece.length;
    }
    const ending = (await read(position, size)).toString("latin1");
    if (ending === stateFileEnding(crc)) return seq;
    throw new DamagedData({ file, position, wanted: `the checksum ${hex32(crc)}`, found: "another one" });
  } finally {
    await handle.close();
  }
}

const ENDING_BYTES = stateFileEnding(0).length;
const ENDING = /^"checksum": "crc32:([0-9a-f]{8})"\n\}\n$/;

function checksumIn(ending: Buffer): string | undefined {
  return ENDING.exec(ending.toString("latin1"))?.[1];
}

function checkEnding(file: string, bytes: Buffer): void {
  if (bytes.length === 0) {
    throw new DamagedData({ file, position: 0, wanted: "a state file", found: "an empty file" });
  }
  if (checksumIn(bytes.subarray(-ENDING_BYTES)) !== undefined) return;
  const position = brokenAt(bytes);
  const wanted = "a checksum as its last field";
  if (position === undefined) throw new DamagedData({ file, position: bytes.length, wanted, found: "none" });
  const found = position >= bytes.length ? "the end of a file that was cut" : "text that is not JSON";
  throw new DamagedData({ file, position, wanted, found });
}

function parse(file: string, bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch {
    throw new DamagedData({ file, position: brokenAt(bytes) ?? 0, wanted: "JSON", found: "text that is not JSON" });
  }
}

/** The first fields alone: they come before anything big. */
function openingOf(file: string, bytes: Buffer): unknown {
  const text = /^\{\n {2}"version": \d+,\n {2}"dataId": "[^"]*",\n {2}"seq": \d+/.exec(bytes.toString("latin1"))?.[0];
  const wanted = "version, dataId and seq as the first fields";
  if (text === undefined) throw new DamagedData({ file, position: 0, wanted, found: "something else" });
  return parse(file, Buffer.from(`${text}}`));
}

function checkContent(file: string, value: unknown, expectedId: string | undefined): StateFile {
  const { version, dataId, seq, checksum: _, ...content } = isRecord(value) ? value : {};
  if (typeof version !== "number" || typeof dataId !== "string" || !Number.isSafeInteger(seq)) {
    throw new DamagedData({ file, position: 0, wanted: "version, dataId and seq", found: "something else" });
  }
  if (version > STATE_FILE_VERSION) {
    throw new NewerData({ file, wanted: `version ${STATE_FILE_VERSION} or older`, found: `version ${version}` });
  }
  if (expectedId !== undefined && dataId !== expectedId) {
    const wanted = `a file of the data directory ${expectedId}`;
    const advice =
      'It was put here from elsewhere: put the right file back, or run "jarvis-orchestrator repair" to rebuild it. Nothing was changed.';
    throw new DamagedData({ file, position: 0, wanted, found: `one of ${dataId}`, advice });
  }
  return { version, dataId, seq: seq as number, content };
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** The byte at which a text stops being JSON, as far as that can be told; `undefined` where it is JSON. */
function brokenAt(bytes: Buffer): number | undefined {
  const text = bytes.toString();
  try {
    JSON.parse(text);
    return undefined;
  } catch (error) {
    const message = error instanceof Error ? error.message : "";
    const at = /position (\d+)/.exec(message)?.[1];
    // A short text is quoted in the message, without a position.
    if (at === undefined) return /end of JSON|Unterminated/.test(message) ? bytes.length : 0;
    // Bytes that are no UTF-8 count for three.
    return Math.min(Buffer.byteLength(text.slice(0, Number(at))), bytes.length);
  }
}
