/** /api/sessions: what agents are doing and did, their logs, and how to stop them. */
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import type { FastifyRequest } from "fastify";
import { closed, Id } from "../api/common.ts";
import { Heartbeat, LogQuery, Session, SessionList, SessionQuery } from "../api/session.ts";
import { sessionView } from "../api/views.ts";
import { cancelSession } from "../core/decide/sessions.ts";
import { accept, type Command, refuse } from "../core/decision.ts";
import { ACTIVE_STATUSES, type Session as CoreSession, isActive } from "../core/session.ts";
import { type Answers, json } from "./answers.ts";
import { optionalBody } from "./body.ts";
import { committed } from "./committed.ts";
import { requireOwn } from "./guard.ts";
import { page } from "./paging.ts";
import { ProblemError, problemOf } from "./problems.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";
import { type EventStream, type Streams, sseText } from "./sse.ts";

const tags = ["sessions"];
const ById = Type.Object({ id: Id }, closed);
/** How often a followed log is looked at. */
const FOLLOW_MS = 200;
const CHUNK_BYTES = 64 * 1024;

export function sessionRoutes(app: App, services: Services, answers: Answers, streams: Streams): void {
  const { dispatcher, archive, signs, now } = services;
  const view = (session: CoreSession, short: boolean) =>
    sessionView(session, { locks: dispatcher.state.locks, sign: (id) => signs.of(id) }, short);

  app.get(
    "/api/sessions",
    { schema: { tags, summary: "sessions, newest first", querystring: SessionQuery, response: { 200: SessionList } } },
    async (request) => {
      const { query } = request;
      const wanted = (session: CoreSession) =>
        (query.status === undefined || session.status === query.status) &&
        (query.agent === undefined || session.agent === query.agent) &&
        (query.taskId === undefined || session.taskId === query.taskId);
      if (query.archived === true) {
        const { records, nextCursor } = await archive.sessions(query.cursor, query.limit ?? 50);
        const sessions = records.filter(wanted).map((session) => view(session, true));
        return { sessions, ...(nextCursor === undefined ? {} : { nextCursor }) };
      }
      // Who asks for one task's sessions wants all of them, wherever they are by now.
      const archived = query.taskId === undefined ? [] : await archive.sessionsOf(query.taskId);
      return committed(dispatcher, () => {
        const hot = dispatcher.state.sessions.byId;
        const all = [...hot.values(), ...archived.filter(({ id }) => !hot.has(id))];
        const newestFirst = all.sort((a, b) => (a.id < b.id ? 1 : -1));
        const { records, nextCursor } = page(
          { records: newestFirst, key: (session) => session.id, descending: true, wanted },
          query,
        );
        return {
          sessions: records.map((session) => view(session, true)),
          ...(nextCursor === undefined ? {} : { nextCursor }),
        };
      });
    },
  );

  app.get(
    "/api/sessions/:id",
    { schema: { tags, summary: "a session", params: ById, response: { 200: Session } } },
    async (request) => {
      const { id } = request.params;
      const hot = await committed(dispatcher, () => {
        const session = dispatcher.state.sessions.byId.get(id);
        return session === undefined ? null : view(session, false);
      });
      return hot ?? view(await findArchived(id), false);
    },
  );

  app.post(
    "/api/sessions/:id/cancel",
    {
      schema: {
        tags,
        summary: "stop a session; its task goes back to todo, held",
        params: ById,
        response: { 202: Session },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      await refuseArchived(id);
      const sent = await answers.run(request, reply, cancelSession(id, "a person"), (session) =>
        json(view(session, true), 202),
      );
      services.stopNow(id);
      return sent;
    },
  );

  app.post(
    "/api/sessions/:id/heartbeat",
    {
      config: { agents: true },
      schema: { tags, summary: "renew a session's lease", params: ById, body: Heartbeat },
      preValidation: optionalBody,
    },
    async (request, reply) => {
      const { id } = request.params;
      requireOwn(request, id);
      await refuseArchived(id);
      return answers.run(request, reply, lifeSign(id), ({ status }) => {
        signs.note(id, now(), request.body.progress);
        return json({ success: true, sessionId: id, status });
      });
    },
  );

  app.get(
    "/api/sessions/:id/log",
    { schema: { tags, summary: "what its program printed, from a byte offset", params: ById, querystring: LogQuery } },
    async (request, reply) => {
      const { id } = request.params;
      const { stream = "stdout", offset = 0, follow = false } = request.query;
      const hot = await committed(dispatcher, () => dispatcher.state.sessions.byId.get(id) ?? null);
      const session = hot ?? (await findArchived(id));
      const file = join(services.runsDirectory, id, `${stream}.log`);
      if (follow) {
        const from = resumeAt(request) ?? offset;
        const status = () => committed(dispatcher, () => (dispatcher.state.sessions.byId.get(id) ?? session).status);
        await followLog(streams.open(request, reply), { file, from, status }, services);
        return reply;
      }
      reply.header("content-type", "text/plain; charset=utf-8");
      const handle = await openLog(file);
      const size = handle === null ? 0 : (await handle.stat()).size;
      const end = Math.max(size, offset);
      reply.header("x-next-offset", String(end));
      if (handle !== null && end > offset) return reply.send(handle.createReadStream({ start: offset, end: end - 1 }));
      await handle?.close();
      return reply.send("");
    },
  );

  async function findArchived(id: string): Promise<CoreSession> {
    const session = await archive.session(id);
    if (session === null) throw new ProblemError(404, "SESSION_NOT_FOUND", `there is no session ${id}`);
    return session;
  }

  /** A session that only the archive has is over. */
  async function refuseArchived(id: string): Promise<void> {
    const session = dispatcher.state.sessions.byId.has(id) ? null : await archive.session(id);
    if (session !== null) throw problemOf(over(session).refusal);
  }
}

/** Changes nothing; refused where there is no lease to renew. */
function lifeSign(id: string): Command<CoreSession> {
  return (state) => {
    const session = state.sessions.byId.get(id);
    if (session === undefined) return refuse("SESSION_NOT_FOUND", `there is no session ${id}`);
    // One that is stopping has told its end, or was told to end: whoever still works on it should hear so.
    return isActive(session) && session.status !== "stopping" ? accept([], () => session) : over(session);
  };
}

function over({ id, status }: CoreSession) {
  return refuse("SESSION_NOT_ACTIVE", `session ${id} is over (${status}); stop`, { sessionStatus: status });
}

interface Followed {
  readonly file: string;
  /** Bytes. */
  readonly from: number;
  readonly status: () => Promise<CoreSession["status"]>;
}

/**
 * Streams the log as server-sent events (`id`: the offset behind the chunk; `data`: the text as JSON), then `end`. A
 * chunk ends with a whole character, so that whoever resumes behind it misses nothing.
 */
async function followLog(stream: EventStream, { file, from, status }: Followed, { log }: Services): Promise<void> {
  let offset = from;
  try {
    while (!stream.closed) {
      // Looked at before the file is read: what an ended session has written is there to the last byte.
      const now = await status();
      const over = !ACTIVE_STATUSES.some((active) => active === now);
      for (
        let bytes = await readChunk(file, offset);
        bytes.length > 0 && !stream.closed;
        bytes = await readChunk(file, offset)
      ) {
        const whole = wholeCharacters(bytes);
        // The rest of a character that never came is shown as what it is: damaged.
        const shown = whole > 0 || !over ? bytes.subarray(0, whole) : bytes;
        if (shown.length === 0) break;
        offset += shown.length;
        await stream.send(sseText("log", JSON.stringify(shown.toString()), String(offset)));
      }
      if (over) {
        await stream.send(sseText("end", JSON.stringify({ status: now, offset }), String(offset)));
        break;
      }
      await stream.pause(FOLLOW_MS);
    }
  } catch (error) {
    log.warn({ err: error }, "a log could not be followed to its end");
  } finally {
    stream.end();
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
function resumeAt(request: FastifyRequest): number | null {
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
