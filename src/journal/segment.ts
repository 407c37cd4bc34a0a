/**
 * A segment: one file of the journal, named by its first `seq`. Its first line is a header, every other line a frame of events
 * that were committed together.
 */
import { type FileHandle, open, readdir } from "node:fs/promises";
import { join } from "node:path";
import type { Event } from "../core/event.ts";
import { DamagedData } from "./damage.ts";
import { noEntry } from "./disk.ts";
import { decodeLine } from "./frame.ts";
import { type Line, readLines } from "./lines.ts";

/** Segments that the state files may still need. */
export const JOURNAL = "journal";
/** Segments that all state files are past. */
export const JOURNAL_ARCHIVE = "archive/journal";

/** After a commit to `segment` failed: only its first `bytes` were acknowledged. Its successor's name says the same in `seq`. */
export interface Continues {
  readonly segment: string;
  readonly bytes: number;
}

export interface SegmentHeader {
  readonly seq: number;
  readonly at: number;
  readonly dataId: string;
  readonly continues?: Continues | undefined;
}

export interface Frame {
  /** Of the first event. */
  readonly seq: number;
  readonly at: number;
  readonly events: readonly Event[];
}

export interface SegmentName {
  readonly name: string;
  readonly firstSeq: number;
  /** How many segments with this first `seq` were begun before it: none of them holds anything that was committed. */
  readonly again: number;
}

const NAME = /^(\d{16})(?:-(\d+))?\.jsonl$/;

export function segmentName(firstSeq: number, again = 0): string {
  return `${String(firstSeq).padStart(16, "0")}${again === 0 ? "" : `-${again}`}.jsonl`;
}

/** All segments of a directory in order, oldest first; none where there is no directory. */
export async function listSegments(directory: string): Promise<SegmentName[]> {
  const found: SegmentName[] = [];
  for (const name of await namesIn(directory)) {
    const match = NAME.exec(name);
    if (match) found.push({ name, firstSeq: Number(match[1]), again: Number(match[2] ?? 0) });
  }
  return found.sort(bySeq);
}

function bySeq(a: SegmentName, b: SegmentName): number {
  return a.firstSeq - b.firstSeq || a.again - b.again;
}

/** Without those that hold nothing committed: of several with one first `seq`, only the last may. */
function withoutSuperseded<S extends SegmentName>(segments: readonly S[]): S[] {
  return segments.filter((segment, i) => segments[i + 1]?.firstSeq !== segment.firstSeq);
}

/** A segment with its place. */
export interface PlacedSegment extends SegmentName {
  readonly folder: typeof JOURNAL | typeof JOURNAL_ARCHIVE;
}

/** All segments that hold committed events, archived ones too, oldest first. */
export async function listAllSegments(directory: string): Promise<PlacedSegment[]> {
  // They move from the journal to the archive at any time: looked for in this order, none is missed.
  const placed: PlacedSegment[] = [];
  for (const folder of [JOURNAL, JOURNAL_ARCHIVE] as const) {
    for (const segment of await listSegments(join(directory, folder))) placed.push({ ...segment, folder });
  }
  return withoutSuperseded(placed.sort(bySeq));
}

/** Opens a segment for reading even if it has just moved to the archive. */
async function openSegment(directory: string, { folder, name }: PlacedSegment): Promise<FileHandle> {
  try {
    return await open(join(directory, folder, name), "r");
  } catch (error) {
    noEntry(error);
    return await open(join(directory, JOURNAL_ARCHIVE, name), "r");
  }
}

export function headerBody(header: SegmentHeader): string {
  return JSON.stringify(header).slice(0, -1);
}

export function frameBody(seq: number, at: number, eventsText: string): string {
  return `{"seq":${seq},"at":${at},"events":[${eventsText}]`;
}

/** A line of a segment, or `undefined` where it is not as it was written. */
export function decodeSegmentLine(bytes: Buffer): SegmentHeader | Frame | undefined {
  const value = decodeLine(bytes);
  if (typeof value !== "object" || value === null || !("seq" in value)) return undefined;
  return "events" in value || "dataId" in value ? (value as SegmentHeader | Frame) : undefined;
}

export function isFrame(line: SegmentHeader | Frame): line is Frame {
  return "events" in line;
}

/** A checked frame with its place. */
export interface PlacedFrame extends Frame {
  readonly position: number;
}

interface SegmentRange {
  readonly firstSeq: number;
  /** The last one that was committed to it: what follows is not looked at. */
  readonly lastSeq: number;
  readonly dataId: string;
}

/** Reads the frames of a segment, one batch a read. Throws `DamagedData` unless all of its range is there, in order. */
async function* readFrames(source: FileHandle, file: string, range: SegmentRange): AsyncGenerator<PlacedFrame[]> {
  let nextSeq = range.firstSeq;
  let end = 0;
  for await (const lines of readLines(source)) {
    const frames: PlacedFrame[] = [];
    for (const line of lines) {
      end = line.position + line.bytes.length + 1;
      const value = line.terminated ? decodeSegmentLine(line.bytes) : undefined;
      if (line.position === 0) {
        checkHeader(value, file, range);
      } else {
        const frame = checkFrame(value, file, line, nextSeq);
        nextSeq = frame.seq + frame.events.length;
        frames.push(frame);
      }
      if (nextSeq > range.lastSeq) break;
    }
    yield frames;
    if (nextSeq > range.lastSeq) return;
  }
  throw new DamagedData({ file, position: end, wanted: `a frame with seq ${nextSeq}`, found: "the end of the file" });
}

/** Throws `DamagedData` unless the first line of a segment is its header. */
export function checkHeader(
  value: SegmentHeader | Frame | undefined,
  file: string,
  { firstSeq, dataId }: { readonly firstSeq: number; readonly dataId: string },
): asserts value is SegmentHeader {
  const wanted = `a segment header with seq ${firstSeq}`;
  if (value === undefined || isFrame(value)) {
    throw new DamagedData({ file, position: 0, wanted, found: "something else" });
  }
  if (value.seq !== firstSeq) throw new DamagedData({ file, position: 0, wanted, found: `seq ${value.seq}` });
  if (value.dataId !== dataId) {
    throw new DamagedData({
      file,
      position: 0,
      wanted: `a segment of the data directory ${dataId}`,
      found: `one of ${value.dataId}`,
    });
  }
}

function checkFrame(value: SegmentHeader | Frame | undefined, file: string, line: Line, seq: number): PlacedFrame {
  const wanted = `a frame with seq ${seq}`;
  const { position } = line;
  if (value === undefined) {
    const found = line.terminated ? "a line that does not match its checksum" : "the end of the file";
    throw new DamagedData({ file, position, wanted, found });
  }
  if (!isFrame(value)) throw new DamagedData({ file, position, wanted, found: "a segment header" });
  if (value.seq !== seq) throw new DamagedData({ file, position, wanted, found: `seq ${value.seq}` });
  return { ...value, position };
}

async function namesIn(directory: string): Promise<readonly string[]> {
  return (await readdir(directory).catch(noEntry)) ?? [];
}

/** Thrown for events whose segments are past the time that history is kept, and gone. */
export class HistoryGone extends Error {
  readonly code = "HISTORY_GONE";
  /** The oldest `seq` that can still be read. */
  readonly firstSeq: number;

  constructor(wanted: number, firstSeq: number) {
    super(`event ${wanted} is no longer kept: the oldest is ${firstSeq}`);
    this.name = "HistoryGone";
    this.firstSeq = firstSeq;
  }
}

/**
 * Reads all frames of the segment that has `seq`, wherever it is by now, up to `newestSeq` at most. Throws `DamagedData`,
 * or `HistoryGone` where it starts after `seq`.
 */
export async function* readSegmentOf(
  seq: number,
  { directory, dataId, newestSeq }: { readonly directory: string; readonly dataId: string; readonly newestSeq: number },
): AsyncGenerator<PlacedFrame[]> {
  const segments = await listAllSegments(directory);
  const index = segments.findLastIndex(({ firstSeq }) => firstSeq <= seq);
  const segment = segments[index];
  if (segment === undefined) throw new HistoryGone(seq, segments[0]?.firstSeq ?? newestSeq + 1);
  const { folder, name, firstSeq } = segment;
  const lastSeq = Math.min(newestSeq, (segments[index + 1]?.firstSeq ?? Number.POSITIVE_INFINITY) - 1);
  yield* readFrames(await openSegment(directory, segment), `${folder}/${name}`, { firstSeq, lastSeq, dataId });
}
