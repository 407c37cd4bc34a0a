/** /api/sessions: what agents are doing and did, their logs, and how to stop them. */
import { join } from "node:path";
import { Type } from "@sinclair/typebox";
import { closed, Id } from "../api/common.ts";
import { Heartbeat, LogQuery, Session, SessionList, SessionQuery } from "../api/session.ts";
import { sessionView } from "../api/views.ts";
import { cancelSession } from "../core/decide/sessions.ts";
import { accept, type Command, refuse } from "../core/decision.ts";
import { type Session as CoreSession, isActive } from "../core/session.ts";
import { type Answers, json } from "./answers.ts";
import { optionalBody } from "./body.ts";
import { committed } from "./committed.ts";
import { requireOwn } from "./guard.ts";
import { page } from "./paging.ts";
import { ProblemError, problemOf } from "./problems.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";
import { followLog, resumeAt, type SessionLog, sendLog } from "./session-log.ts";
import type { Streams } from "./sse.ts";

const tags = ["sessions"];
const ById = Type.Object({ id: Id }, closed);

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
      const { stream = "stdout", offset = 0, follow = false, format = "raw" } = request.query;
      const hot = await committed(dispatcher, () => dispatcher.state.sessions.byId.get(id) ?? null);
      const session = hot ?? (await findArchived(id));
      const log: SessionLog = {
        file: join(services.runsDirectory, id, `${stream}.log`),
        reader: format === "readable" && stream === "stdout" ? services.transcriber(id) : null,
        status: () => committed(dispatcher, () => (dispatcher.state.sessions.byId.get(id) ?? session).status),
      };
      if (!follow) return sendLog(reply, log, offset);
      await followLog(streams.open(request, reply), log, resumeAt(request) ?? offset, services);
      return reply;
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
