/** The output of a run that ended, read from its files. */
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { logFile, PLAIN_FILE } from "../run-directory.ts";
import type { LineFormat } from "./formats.ts";
import { LineSplitter, parse, readLine } from "./json-lines.ts";
import { Summarizer, type Summary } from "./summary.ts";

const CHUNK_BYTES = 256 * 1024;
/** What a program writes of what it used is short. */
const USAGE_BYTES_MAX = 256 * 1024;

/** Line by line, so that it does not matter how much there is. */
export async function summarize(directory: string, { understand, readUsage }: LineFormat): Promise<Summary> {
  const summarizer = new Summarizer();
  const splitter = new LineSplitter();
  for await (const bytes of chunks(logFile(directory, "stdout"))) {
    for (const line of splitter.lines(bytes)) for (const said of readLine(line, understand)) summarizer.add(said);
  }
  // A whole last line may lack its line break; one that was cut is no JSON.
  for (const said of readLine(splitter.rest, understand)) summarizer.add(said);
  if (readUsage !== undefined) {
    const file = parse((await readHead(logFile(directory, "usage"), USAGE_BYTES_MAX)).bytes.toString("utf8"));
    for (const said of file === null ? [] : readUsage(file)) summarizer.add(said);
  }
  return summarizer.summary;
}

async function* chunks(path: string): AsyncGenerator<Buffer> {
  const file = await openIfThere(path);
  if (file === null) return;
  try {
    const buffer = Buffer.alloc(CHUNK_BYTES);
    for (let offset = 0; ; ) {
      const { bytesRead } = await file.read(buffer, 0, CHUNK_BYTES, offset);
      if (bytesRead === 0) return;
      offset += bytesRead;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await file.close();
  }
}

/** The first bytes of a file, and how many it has in all; none where it is not there. */
export async function readHead(path: string, bytesMax: number): Promise<{ bytes: Buffer; size: number }> {
  const file = await openIfThere(path);
  if (file === null) return { bytes: Buffer.alloc(0), size: 0 };
  try {
    const { size } = await file.stat();
    const wanted = Math.min(size, bytesMax);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(wanted), 0, wanted, 0);
    return { bytes: buffer.subarray(0, bytesRead), size };
  } finally {
    await file.close();
  }
}

/** The last bytes of a file as text, from the beginning of a line on. */
export async function readTail(path: string, bytesMax: number): Promise<string> {
  const file = await openIfThere(path);
  if (file === null) return "";
  try {
    const { size } = await file.stat();
    const length = Math.min(size, bytesMax);
    const { bytesRead, buffer } = await file.read(Buffer.alloc(length), 0, length, size - length);
    const text = buffer.subarray(0, bytesRead).toString("utf8");
    // Begins at a whole line where it does not begin at the beginning.
    return size > length ? text.slice(text.indexOf("\n") + 1) : text;
  } finally {
    await file.close();
  }
}

/** Nothing there, or a link, or a socket: a program can put one where its log was. */
const NO_FILE: ReadonlySet<unknown> = new Set(["ENOENT", "ENOTDIR", "ELOOP", "ENXIO"]);

async function openIfThere(path: string) {
  try {
    const file = await open(path, constants.O_RDONLY | PLAIN_FILE);
    if ((await file.stat()).isFile()) return file;
    await file.close();
    return null;
  } catch (error) {
    if (error instanceof Error && "code" in error && NO_FILE.has(error.code)) return null;
    throw error;
  }
}
