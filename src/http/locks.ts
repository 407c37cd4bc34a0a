/** /api/locks: what is locked, and locks that a session asks for while it runs. */
import { Type } from "@sinclair/typebox";
import { closed } from "../api/common.ts";
import { Lock, LockGranted, LockList, LockQuery, LockRenewal, NewLock } from "../api/session.ts";
import { lockView } from "../api/views.ts";
import { acquireLock, releaseLock, renewLock } from "../core/decide/locks.ts";
import type { Lock as CoreLock } from "../core/lock.ts";
import { isHeld } from "../core/lock.ts";
import { type Answers, json } from "./answers.ts";
import { optionalBody } from "./body.ts";
import { committed } from "./committed.ts";
import { callerSession, requireOwn } from "./guard.ts";
import { page } from "./paging.ts";
import { problemOf } from "./problems.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";
import { lockPaths } from "./task-input.ts";

const tags = ["locks"];
const ById = Type.Object({ id: Type.String({ pattern: "^[A-Za-z0-9._-]{1,128}$" }) }, closed);

export function lockRoutes(app: App, { dispatcher, now }: Services, answers: Answers): void {
  app.get(
    "/api/locks",
    { schema: { tags, summary: "the locks that are held", querystring: LockQuery, response: { 200: LockList } } },
    async (request) => {
      const locks = await committed(dispatcher, () => [...dispatcher.state.locks.byId.values()]);
      const sorted = locks.sort((a, b) => (a.id < b.id ? -1 : 1));
      const held = (lock: CoreLock) => isHeld(lock, now());
      const { records, nextCursor } = page({ records: sorted, key: (lock) => lock.id, wanted: held }, request.query);
      return { locks: records.map(lockView), ...(nextCursor === undefined ? {} : { nextCursor }) };
    },
  );

  app.post(
    "/api/locks",
    {
      config: { agents: true },
      schema: {
        tags,
        summary: "lock paths for a session: all of them or none",
        body: NewLock,
        response: { 201: LockGranted },
      },
    },
    async (request, reply) => {
      const { sessionId, paths, mode, ttlMs } = request.body;
      requireOwn(request, sessionId);
      const wanted = { sessionId, paths: lockPaths(paths, "/paths"), mode, ...(ttlMs === undefined ? {} : { ttlMs }) };
      return answers.run(request, reply, acquireLock(wanted), (lock) =>
        json(granted(lock), 201, { location: `/api/locks/${lock.id}` }),
      );
    },
  );

  app.put(
    "/api/locks/:id",
    {
      config: { agents: true },
      schema: { tags, summary: "renew a lock", params: ById, body: LockRenewal, response: { 200: Lock } },
      preValidation: optionalBody,
    },
    async (request, reply) => {
      const renewal = { lockId: request.params.id, ttlMs: request.body.ttlMs, callerSessionId: callerSession(request) };
      return answers.run(request, reply, renewLock(renewal), (lock) => json({ ...lockView(lock), token: lock.fence }));
    },
  );

  app.delete(
    "/api/locks/:id",
    { config: { agents: true }, schema: { tags, summary: "release a lock", params: ById } },
    async (request, reply) => {
      const own = callerSession(request);
      const executed = await dispatcher.execute(releaseLock(request.params.id, own));
      if (!executed.ok) throw problemOf(executed.refusal);
      return reply.code(204).send();
    },
  );
}

function granted(lock: CoreLock) {
  const { id, fence, expiresAt } = lockView(lock);
  return { id, token: fence, fence, expiresAt };
}
