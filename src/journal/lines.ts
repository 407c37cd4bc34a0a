/** Reads a file of lines in big chunks, without taking all of it into memory. */
import { type FileHandle, open } from "node:fs/promises";

const CHUNK_BYTES = 256 * 1024;
const NEWLINE = 0x0a;

export interface Line {
  /** Without the newline. Good until the next batch is asked for. */
  readonly bytes: Buffer;
  /** Byte offset in the file. */
  readonly position: number;
  /** False for what follows the last newline. */
  readonly terminated: boolean;
}

/** All lines of a file from a byte on, in batches: one batch a read. Closes the handle at the end, however it comes. */
export async function* readLines(source: string | FileHandle, from = 0): AsyncGenerator<readonly Line[]> {
  const handle = typeof source === "string" ? await open(source, "r") : source;
  try {
    let buffer = Buffer.allocUnsafeSlow(CHUNK_BYTES);
    let held = 0;
    let position = from;
    for (;;) {
      if (held === buffer.length) buffer = Buffer.concat([buffer, Buffer.allocUnsafe(buffer.length)]);
      const { bytesRead } = await handle.read(buffer, held, buffer.length - held, position + held);
      if (bytesRead === 0) break;
      const { lines, used } = split(buffer.subarray(0, held + bytesRead), held, position);
      if (lines.length > 0) yield lines;
      held += bytesRead - used;
      position += used;
      buffer.copyWithin(0, used, used + held);
    }
    if (held > 0) yield [{ bytes: buffer.subarray(0, held), position, terminated: false }];
  } finally {
    await handle.close();
  }
}

/** `searched`: how many bytes at the start are known to have no newline. */
function split(chunk: Buffer, searched: number, position: number): { lines: Line[]; used: number } {
  const lines: Line[] = [];
  let start = 0;
  let end = chunk.indexOf(NEWLINE, searched);
  while (end !== -1) {
    lines.push({ bytes: chunk.subarray(start, end), position: position + start, terminated: true });
    start = end + 1;
    end = chunk.indexOf(NEWLINE, start);
  }
  return { lines, used: start };
}
