/**
 * One line of a file that is only appended to: a JSON object whose last field is the CRC-32 of all bytes before it, so that
 * a line that was cut, changed or mixed with another is told from a good one. JSON has no raw newline inside.
 */
import { crc32 } from "node:zlib";

const SUFFIX_BYTES = ',"crc":"00000000"}'.length;
const NEWLINE = 0x0a;

/** A CRC-32 as eight hexadecimal digits. */
export function hex32(crc: number): string {
  return crc.toString(16).padStart(8, "0");
}

/** Writes lines into one buffer that is used again and again: what it returns is good until the next call. */
export class LineEncoder {
  readonly #scratch: Buffer;

  /** A line that may be longer than the scratch gets a buffer of its own. */
  constructor(scratchBytes: number) {
    this.#scratch = Buffer.allocUnsafeSlow(scratchBytes);
  }

  /** The line, with its newline, of a JSON object whose text is given without the closing brace. */
  encode(body: string): Buffer {
    const buffer = this.#room(body);
    let length = buffer.write(body, 0, "utf8");
    length += buffer.write(suffix(buffer.subarray(0, length)), length, "latin1");
    buffer[length++] = NEWLINE;
    return buffer.subarray(0, length);
  }

  #room(body: string): Buffer {
    const extra = SUFFIX_BYTES + 1;
    // A UTF-16 unit takes at most three bytes.
    if (body.length * 3 + extra <= this.#scratch.length) return this.#scratch;
    return Buffer.allocUnsafe(Buffer.byteLength(body) + extra);
  }
}

/** Is this line, without its newline, as it was written? */
export function isIntact(line: Buffer): boolean {
  const bodyBytes = line.length - SUFFIX_BYTES;
  return bodyBytes > 0 && line.toString("latin1", bodyBytes) === suffix(line.subarray(0, bodyBytes));
}

/** The object of a line that is intact; `undefined` where it is not. */
export function decodeLine(line: Buffer): unknown {
  return isIntact(line) ? JSON.parse(line.toString("utf8")) : undefined;
}

/** Where an intact line lies in bytes that are not one as a whole, looked for by how it starts; `undefined`: nowhere. */
export function findIntact(bytes: Buffer, opening: string): { start: number; end: number } | undefined {
  for (let start = bytes.indexOf(opening); start !== -1; start = bytes.indexOf(opening, start + 1)) {
    for (let crc = bytes.indexOf(',"crc":"', start); crc !== -1; crc = bytes.indexOf(',"crc":"', crc + 1)) {
      const end = crc + SUFFIX_BYTES;
      if (isIntact(bytes.subarray(start, end))) return { start, end };
    }
  }
  return undefined;
}

export interface SalvagedLines {
  readonly lines: readonly Buffer[];
  /** Lines of which nothing is left. */
  readonly lost: number;
  /** The last line is one of them. */
  readonly endsLost: boolean;
}

/** All intact lines of a file that may be damaged anywhere. */
export function salvageLines(bytes: Buffer, opening: string): SalvagedLines {
  const lines: Buffer[] = [];
  let lost = 0;
  let endsLost = false;
  for (let position = 0; position < bytes.length; ) {
    const newline = bytes.indexOf(NEWLINE, position);
    const end = newline === -1 ? bytes.length : newline;
    const found = intactWithin(bytes.subarray(position, end), opening);
    lines.push(...found);
    endsLost = found.length === 0;
    if (endsLost) lost++;
    position = end + 1;
  }
  return { lines, lost, endsLost };
}

/** The line itself, or those that became one when the newline between them was hit. */
function intactWithin(line: Buffer, opening: string): Buffer[] {
  if (isIntact(line)) return [line];
  const lines: Buffer[] = [];
  let rest = line;
  for (let found = findIntact(rest, opening); found !== undefined; found = findIntact(rest, opening)) {
    lines.push(rest.subarray(found.start, found.end));
    rest = rest.subarray(found.end);
  }
  return lines;
}

function suffix(body: Buffer): string {
  return `,"crc":"${hex32(crc32(body))}"}`;
}
