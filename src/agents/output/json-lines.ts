/** Lines of JSON, as programs print them: whatever is none says nothing. */
import { type Fields, isFields, type Said, type Understand } from "./said.ts";

/** A longer line is passed over: to parse one takes 10 ms for each MiB and more, and nothing else happens meanwhile. */
export const LINE_BYTES_MAX = 4 * 1024 * 1024;

/** What a line says; nothing, where it is no JSON, none that is known, or made to trip its reader. Never throws. */
export function readLine(line: string, understand: Understand): readonly Said[] {
  const fields = parse(line);
  if (fields === null) return [];
  try {
    return understand(fields);
  } catch {
    return [];
  }
}

/** `null` for everything but an object. */
export function parse(text: string): Fields | null {
  // Most of what is no object is known by its first character.
  if (!text.trimStart().startsWith("{")) return null;
  try {
    const value: unknown = JSON.parse(text);
    return isFields(value) ? value : null;
  } catch {
    return null;
  }
}

/** Cuts bytes into lines, however they come. What follows the last line break is never a line: it was not written to its end. */
export class LineSplitter {
  readonly #pieces: Buffer[] = [];
  #length = 0;
  #isTooLong = false;
  /** Lines that were passed over. */
  tooLong = 0;
  /** Bytes since the last line break. */
  pending = 0;

  *lines(bytes: Buffer): Generator<string> {
    let start = 0;
    for (let end = bytes.indexOf(10); end >= 0; end = bytes.indexOf(10, start)) {
      this.#keep(bytes.subarray(start, end));
      start = end + 1;
      if (this.#isTooLong) this.tooLong += 1;
      else if (this.#length > 0) yield Buffer.concat(this.#pieces).toString("utf8");
      this.#forget();
      this.#isTooLong = false;
      this.pending = 0;
    }
    // The caller may use its buffer again.
    this.#keep(Buffer.from(bytes.subarray(start)));
  }

  /** What came after the last line break. */
  get rest(): string {
    return this.#isTooLong ? "" : Buffer.concat(this.#pieces).toString("utf8");
  }

  #keep(piece: Buffer): void {
    this.pending += piece.length;
    if (this.#isTooLong || piece.length === 0) return;
    this.#pieces.push(piece);
    this.#length += piece.length;
    if (this.#length <= LINE_BYTES_MAX) return;
    this.#isTooLong = true;
    this.#forget();
  }

  #forget(): void {
    this.#pieces.length = 0;
    this.#length = 0;
  }
}
