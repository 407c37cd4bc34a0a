/** The local copy of a remote run's logs: every byte is written at its own place, so that a broken-off write does no harm. */
import { type FileHandle, open } from "node:fs/promises";
import { logFile, logSize, OUTPUT_STREAMS, type OutputStream } from "../run-directory.ts";

/** Of one request: large enough to be quick, small enough that other runs get their turn. */
const CHUNK_BYTES_MAX = 256 * 1024;

export type LogSizes = Readonly<Record<OutputStream, number>> & { readonly hasExit: boolean };

export class Mirror {
  readonly #directory: string;
  readonly #bytesMax: number;
  readonly #files = new Map<OutputStream, FileHandle>();
  readonly #sizes: Record<OutputStream, number>;

  /** Goes on where the copy ends. Keeps one byte more than `bytesMax`, which tells that there was more. */
  constructor(directory: string, bytesMax: number) {
    this.#directory = directory;
    this.#bytesMax = bytesMax;
    this.#sizes = {
      stdout: logSize(directory, "stdout"),
      stderr: logSize(directory, "stderr"),
      usage: logSize(directory, "usage"),
    };
  }

  get isOverLimit(): boolean {
    return OUTPUT_STREAMS.some((stream) => this.#sizes[stream] > this.#bytesMax);
  }

  /** Copies the next bytes of each log, up to the sizes that they have on the host; true when there was something new. */
  async advance(
    sizes: LogSizes,
    read: (stream: OutputStream, offset: number, bytes: number) => Promise<Buffer>,
  ): Promise<boolean> {
    let advanced = false;
    for (const stream of OUTPUT_STREAMS) {
      const offset = this.#sizes[stream];
      const bytes = this.#wanted(stream, sizes) - offset;
      if (bytes <= 0) continue;
      const chunk = await read(stream, offset, Math.min(bytes, CHUNK_BYTES_MAX));
      if (!(await this.#write(stream, chunk, offset))) continue;
      this.#sizes[stream] = offset + chunk.length;
      advanced = true;
    }
    return advanced;
  }

  /** True when all that is wanted of both logs is here. */
  isComplete(sizes: LogSizes): boolean {
    return OUTPUT_STREAMS.every((stream) => this.#sizes[stream] >= this.#wanted(stream, sizes));
  }

  async close(): Promise<void> {
    const files = [...this.#files.values()];
    this.#files.clear();
    await Promise.all(files.map((file) => file.close()));
  }

  #wanted(stream: OutputStream, sizes: LogSizes): number {
    // Logs only grow. This one is written anew as often as the program likes: it is fetched once, at the end.
    if (stream === "usage" && !sizes.hasExit) return 0;
    return Math.min(sizes[stream], this.#bytesMax + 1);
  }

  /** False where this machine's disk did not take it: it is fetched again later, the host has it. */
  async #write(stream: OutputStream, chunk: Buffer, offset: number): Promise<boolean> {
    try {
      const file = await this.#file(stream);
      for (let written = 0; written < chunk.length; ) {
        written += (await file.write(chunk, written, chunk.length - written, offset + written)).bytesWritten;
      }
      return true;
    } catch {
      return false;
    }
  }

  async #file(stream: OutputStream): Promise<FileHandle> {
    const known = this.#files.get(stream);
    if (known !== undefined) return known;
    const path = logFile(this.#directory, stream);
    // Neither truncates nor appends.
    const file = await open(path, "r+").catch(() => open(path, "wx+", 0o600));
    this.#files.set(stream, file);
    return file;
  }
}
