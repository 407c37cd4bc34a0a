/** What the newest segment holds at a start: how far it is good, and what a crash left at its end. Pure. */
import { DamagedData } from "./damage.ts";
import { findIntact, isIntact } from "./frame.ts";
import { checkHeader, decodeSegmentLine, isFrame } from "./segment.ts";

/** How every line of a segment starts. */
export const FRAME_OPENING = '{"seq":';
const NEWLINE = 0x0a;

export interface NewestSegment {
  /** Of the last event in it; one less than the first `seq` of its name when it holds none. */
  readonly lastSeq: number;
  /** Length of the good part; 0 when not even the header is good: then the segment was never used. */
  readonly bytes: number;
  /** Where the last frame starts that some state file may contain: what follows may not be on disk. */
  readonly unsettledFrom: number;
}

interface Expected {
  /** Relative to the data directory. */
  readonly file: string;
  readonly firstSeq: number;
  readonly dataId: string;
  /** The highest `seq` that is known to have been committed, by a state file for instance. */
  readonly committedSeq: number;
}

/**
 * Checks every line. A bad end passes only where a crash in the middle of a commit can have left it: it is one line at most,
 * nothing good follows, and nobody saw its events committed. Anything else throws `DamagedData`.
 */
export function inspectNewest(segment: Buffer, expected: Expected): NewestSegment {
  const { file, firstSeq, committedSeq } = expected;
  let seq = firstSeq - 1;
  let lastFrame: Buffer | undefined;
  let unsettledFrom = 0;
  let position = 0;
  for (let end = segment.indexOf(NEWLINE); end !== -1; end = segment.indexOf(NEWLINE, position)) {
    const line = segment.subarray(position, end);
    if (!isIntact(line)) break;
    if (position === 0) {
      checkHeader(decodeSegmentLine(line), file, expected);
    } else {
      const next = seqOf(line);
      const wanted = `a frame with seq ${seq + 1}`;
      if (lastFrame === undefined ? next !== firstSeq : !(next > seq)) {
        throw new DamagedData({ file, position, wanted, found: `seq ${next}` });
      }
      if (next <= committedSeq) unsettledFrom = position;
      seq = next;
      lastFrame = line;
    }
    position = end + 1;
  }
  const lastSeq = lastFrame === undefined ? firstSeq - 1 : lastSeqOf(lastFrame, file, position);
  checkEnd(segment.subarray(position), { ...expected, position, lastSeq });
  return { lastSeq, bytes: position, unsettledFrom };
}

function checkEnd(
  rest: Buffer,
  { file, committedSeq, position, lastSeq }: Expected & { position: number; lastSeq: number },
): void {
  const wanted = `a frame with seq ${lastSeq + 1}`;
  if (rest.length > 0 && !isTorn(rest)) {
    throw new DamagedData({
      file,
      position,
      wanted,
      found: "a line that does not match its checksum, and more after it",
    });
  }
  if (lastSeq < committedSeq) {
    const found = rest.length > 0 ? "a line that does not match its checksum" : "the end of the file";
    throw new DamagedData({ file, position, wanted: `${wanted} (${committedSeq} was committed)`, found });
  }
}

/** Can this be what is left of one frame whose write was cut? */
function isTorn(rest: Buffer): boolean {
  const newline = rest.indexOf(NEWLINE);
  if (newline !== -1 && newline < rest.length - 1) return false;
  const intact = findIntact(rest, FRAME_OPENING);
  return intact === undefined || (intact.start === 0 && intact.end === rest.length);
}

/** The first `seq` of an intact frame, without parsing its events. */
function seqOf(line: Buffer): number {
  return Number.parseInt(line.toString("latin1", FRAME_OPENING.length, FRAME_OPENING.length + 17), 10);
}

function lastSeqOf(line: Buffer, file: string, end: number): number {
  const frame = decodeSegmentLine(line);
  if (frame !== undefined && isFrame(frame)) return frame.seq + frame.events.length - 1;
  throw new DamagedData({ file, position: end - line.length - 1, wanted: "a frame", found: "something else" });
}
