/** What a session's program printed, as it is or made readable: from an offset to the end, or as it comes. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";
import { ACTIVE_STATUSES, type SessionStatus } from "../core/session.ts";
import type { LogReader, Services } from "./services.ts";
import { type EventStream, sseText } from "./sse.ts";

/** How often a followed log is looked at. */
const FOLLOW_MS = 200;
const CHUNK_BYTES = 64 * 1024;
/** So far back is looked for what a text goes on from. */
const BEFORE_BYTES = 64 * 1024;

export interface SessionLog {
  readonly file: string;
  /** Makes it readable; `null` = as it is. */
  readonly reader: LogReader | null;
  readonly status: () => Promise<SessionStatus>;
}

/** Sends what there is from a byte offset on, and in `X-Next-Offset` where to go on. */
export async function sendLog(reply: FastifyReply, log: SessionLog, offset: number): Promise<FastifyReply> {
  const { file, reader } = log;
  reply.header("content-type", "text/plain; charset=utf-8");
  // Looked at before the file is read: what an ended session has written is there to the last byte.
  const isOver = !isActive(await log.status());
  const handle = await openLog(file);
  const size = handle === null ? 0 : (await handle.stat()).size;
  const whole = handle === null || reader === null || isOver ? size : await endOfLastLine(handle, offset, size);
  const end = Math.max(whole, offset);
  reply.header("x-next-offset", String(end));
  if (handle === null || end <= offset) {
    await handle?.close();
    return reply.send("");
  }
  if (reader !== null) await resume(reader, file, offset);
  const bytes = handle.createReadStream({ start: offset, end: end - 1, highWaterMark: CHUNK_BYTES });
  return reply.send(reader === null ? bytes : Readable.from(readable(bytes, reader, isOver)));
}

async function* readable(bytes: AsyncIterable<Buffer>, reader: LogReader, isOver: boolean): AsyncGenerator<string> {
  for await (const chunk of bytes) {
    const { text } = reader.add(chunk);
    if (text !== "") yield text;
  }
  // A message that is still under way is gone on with by whoever asks for what comes next.
  const rest = isOver ? reader.end() : "";
  if (rest !== "") yield rest;
}

async function resume(reader: LogReader, file: string, offset: number): Promise<void> {
  if (reader.resume === undefined || offset === 0) return;
  const start = Math.max(0, offset - BEFORE_BYTES);
  reader.resume((await readChunk(file, start)).subarray(0, offset - start));
}

/** The offset behind the last line break between two offsets; the first of them where there is none. */
async function endOfLastLine(handle: FileHandle, from: number, to: number): Promise<number> {
  for (let end = to; end > from; ) {
    const start = Math.max(from, end - CHUNK_BYTES);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(end - start), 0, end - start, start);
    const found = buffer.subarray(0, bytesRead).lastIndexOf(10);
    if (found >= 0) return start + found + 1;
    end = start;
  }
  return from;
}

/**
 * Streams the log as server-sent events (`id`: the offset behind what was told; `data`: the text as JSON), then `end`. Whoever resumes
 * there misses nothing: what is told ends with a whole character, or a whole line of what is made readable.
 */
export async function followLog(stream: EventStream, log: SessionLog, from: number, { log: daemonLog }: Services) {
  const reader = log.reader ?? new CharacterReader();
  let offset = from;
  try {
    await resume(reader, log.file, from);
    while (!stream.closed) {
      // Looked at before the file is read: what an ended session has written is there to the last byte.
      const status = await log.status();
      for (
        let bytes = await readChunk(log.file, offset);
        bytes.length > 0 && !stream.closed;
        bytes = await readChunk(log.file, offset)
      ) {
        offset += bytes.length;
        const { text, told } = reader.add(bytes);
        if (text !== "") await stream.send(sseText("log", JSON.stringify(text), String(from + told)));
      }
      if (!isActive(status)) {
        const rest = reader.end();
        if (rest !== "") await stream.send(sseText("log", JSON.stringify(rest), String(offset)));
        await stream.send(sseText("end", JSON.stringify({ status, offset }), String(offset)));
        break;
      }
      await stream.pause(FOLLOW_MS);
    }
  } catch (error) {
    daemonLog.warn({ err: error }, "a log could not be followed to its end");
  } finally {
    stream.end();
  }
}

function isActive(status: SessionStatus): boolean {
  return ACTIVE_STATUSES.some((active) => active === status);
}

/** Text as it is, cut between characters. */
class CharacterReader implements LogReader {
  #left = Buffer.alloc(0);
  #told = 0;

  add(bytes: Buffer): { text: string; told: number } {
    const all = Buffer.concat([this.#left, bytes]);
    const whole = wholeCharacters(all);
    this.#left = all.subarray(whole);
    this.#told += whole;
    return { text: all.toString("utf8", 0, whole), told: this.#told };
  }

  /** The rest of a character that never came is shown as what it is: damaged. */
  end(): string {
    return this.#left.toString("utf8");
  }
}

/** The number of bytes up to the end of the last character that is there whole. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(3, bytes.length); back++) {
    const byte = bytes[bytes.length - back] as number;
    if (byte < 0x80) break;
    if (byte < 0xc0) continue;
    const length = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
    return length > back ? bytes.length - back : bytes.length;
  }
  return bytes.length;
}

/** Where a reader of the stream was, if it says so. */
export function resumeAt(request: FastifyRequest): number | null {
  const last = request.headers["last-event-id"];
  return typeof last === "string" && /^\d{1,15}$/.test(last) ? Number(last) : null;
}

/** Bytes of the file from an offset on; none where there are none, or no file yet. */
async function readChunk(file: string, offset: number): Promise<Buffer> {
  const handle = await openLog(file);
  if (handle === null) return Buffer.alloc(0);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(CHUNK_BYTES), 0, CHUNK_BYTES, offset);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** `null` where there is no log yet. A link or a pipe that a program put in its place is none: it could lead anywhere, or block. */
async function openLog(file: string): Promise<FileHandle | null> {
  const handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK).catch(() => null);
  if (handle === null || (await handle.stat()).isFile()) return handle;
  await handle.close();
  return null;
}
