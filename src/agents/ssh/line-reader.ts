/** Lines and counted bytes from a stream, for one reader at a time. */
import type { Readable } from "node:stream";

/** A line that is longer than this is no line of ours. */
const LINE_BYTES_MAX = 1024 * 1024;
/** What is kept of what nobody asked for; the host may send more when it is read. */
const UNASKED_BYTES_MAX = 1024 * 1024;

export class LineReader {
  readonly #stream: Readable;
  #chunks: Buffer[] = [];
  #length = 0;
  #wake: (() => void) | null = null;
  #end: Error | null = null;

  /** `ended` says why nothing more will come, to whoever reads after that. */
  constructor(stream: Readable, ended: () => Error) {
    this.#stream = stream;
    stream.on("data", (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.#length += chunk.length;
      if (this.#wake === null && this.#length > UNASKED_BYTES_MAX) stream.pause();
      this.#wakeUp();
    });
    stream.once("close", () => {
      this.#end = ended();
      this.#wakeUp();
    });
  }

  /** Without its line break. */
  async line(): Promise<string> {
    let searched = 0;
    for (;;) {
      const buffer = this.#joined();
      const end = buffer.indexOf(10, searched);
      if (end >= 0)
        return this.#take(end + 1)
          .subarray(0, end)
          .toString("utf8");
      if (buffer.length > LINE_BYTES_MAX) throw new Error("the host answers with something else than lines");
      searched = buffer.length;
      await this.#more();
    }
  }

  async bytes(count: number): Promise<Buffer> {
    while (this.#length < count) await this.#more();
    return this.#take(count);
  }

  #take(count: number): Buffer {
    const buffer = this.#joined();
    this.#chunks = [buffer.subarray(count)];
    this.#length -= count;
    return buffer.subarray(0, count);
  }

  #joined(): Buffer {
    const buffer = this.#chunks.length === 1 ? this.#chunks[0] : undefined;
    if (buffer !== undefined) return buffer;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }

  async #more(): Promise<void> {
    if (this.#end !== null) throw this.#end;
    const more = new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#stream.resume();
    await more;
  }

  #wakeUp(): void {
    this.#wake?.();
    this.#wake = null;
  }
}
