/** /api/orchestrate: what waits (GET), dispatch it (POST), what came of it (PUT). */
import type { Static } from "@sinclair/typebox";
import type { FastifyReply } from "fastify";
import {
  Callback,
  CallbackAnswer,
  DispatchAnswer,
  type Dispatched as DispatchedView,
  DispatchRequest,
  OrchestrateQuery,
  OrchestrateStatus,
} from "../api/orchestrate.ts";
import { reasonView } from "../api/views.ts";
import { type DispatchAnswer as Decided, dispatch } from "../core/decide/dispatch.ts";
import { callback } from "../core/decide/report.ts";
import { type Command, refuse } from "../core/decision.ts";
import { type Plan, type PlanOptions, plan } from "../core/plan.ts";
import type { EndedSession, StartingSession } from "../core/session.ts";
import type { State } from "../core/state.ts";
import { type Answers, json, type Rendered } from "./answers.ts";
import { optionalBody } from "./body.ts";
import { newMarkers } from "./callback-token.ts";
import { committed } from "./committed.ts";
import { callerSession, requireOwn } from "./guard.ts";
import { ProblemError } from "./problems.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";
import { StatusBoard } from "./status.ts";

const tags = ["orchestrate"];

export function orchestrateRoutes(app: App, services: Services, answers: Answers): void {
  const { dispatcher, signs, now } = services;
  const board = new StatusBoard(services);

  app.get(
    "/api/orchestrate",
    {
      schema: {
        tags,
        summary: "what runs, what waits and why",
        querystring: OrchestrateQuery,
        response: { 200: OrchestrateStatus },
      },
    },
    async (request, typedReply) => {
      const reply: FastifyReply = typedReply as never;
      const { body, heartbeat, etag } = await board.answer();
      const plain = request.query.format === "heartbeat";
      reply.header("etag", etag).header("cache-control", "no-cache").header("vary", "authorization, cookie");
      if (isNamed(request.headers["if-none-match"], etag)) return reply.code(304).send();
      return reply
        .header("content-type", plain ? "text/plain; charset=utf-8" : "application/json; charset=utf-8")
        .send(plain ? heartbeat : body);
    },
  );

  app.post(
    "/api/orchestrate",
    {
      schema: {
        tags,
        summary: "dispatch what can start now",
        body: DispatchRequest,
        response: { 200: DispatchAnswer },
      },
      preValidation: optionalBody,
    },
    async (request, reply) => {
      const { taskIds, dryRun, limit } = request.body;
      if (services.draining())
        throw new ProblemError(503, "DRAINING", "the daemon is stopping; dispatch again when it is back");
      // Who names tasks hears of each of them.
      const options: PlanOptions = { taskIds, limit, waitingMax: taskIds?.length };
      if (dryRun === true) {
        return committed(dispatcher, () =>
          dryRunView(plan(dispatcher.state, services.circumstances(), options), dispatcher.state),
        );
      }
      return answers.run(request, reply, dispatch(options), (answer, state) => rendered(services, answer, state));
    },
  );

  app.put(
    "/api/orchestrate",
    {
      config: { agents: true },
      schema: { tags, summary: "an agent reports on its session", body: Callback, response: { 200: CallbackAnswer } },
    },
    async (request, reply) => {
      const { progress, ...report } = request.body;
      const own = callerSession(request);
      requireOwn(request, report.sessionId ?? own);
      const old = await archivedSession(services, report.sessionId ?? own);
      if (old !== null) return reply.send(await lateReport(services, report, old));
      const command = ownTaskOnly(callback({ ...report, callerSessionId: own }), report.taskId, own);
      return answers.run(request, reply, command, (answer) => {
        if (report.status === "running") signs.note(answer.sessionId, now(), progress);
        const { taskId, sessionId, newStatus, duplicate } = answer;
        return json({ success: true, taskId, sessionId, newStatus, ...(duplicate ? { duplicate } : {}) });
      });
    },
  );
}

/** An agent reports on the task of its own session, whatever task it names. */
function ownTaskOnly<A>(command: Command<A>, taskId: string, own: string | undefined): Command<A> {
  return (state, context) => {
    const session = own === undefined ? undefined : state.sessions.byId.get(own);
    if (session !== undefined && session.taskId !== taskId) {
      return refuse("NOT_YOUR_SESSION", "a callback token is good for its own session's task only");
    }
    return command(state, context);
  };
}

/** What `If-None-Match` says of this tag: a list of tags, weak ones too, or `*`. */
function isNamed(header: string | undefined, etag: string): boolean {
  if (header === undefined) return false;
  return header.split(",").some((tag) => tag.trim().replace(/^W\//, "") === etag || tag.trim() === "*");
}

/** The session where the archive has it and the hot state no longer. */
async function archivedSession(
  { dispatcher, archive }: Services,
  id: string | undefined,
): Promise<EndedSession | null> {
  return id === undefined || dispatcher.state.sessions.byId.has(id) ? null : archive.session(id);
}

/** A report on a session that is long over: the same as it was told then, or refused. */
async function lateReport(
  { dispatcher, archive }: Services,
  report: Static<typeof Callback>,
  session: EndedSession,
): Promise<Static<typeof CallbackAnswer>> {
  const { taskId, status } = report;
  if (session.taskId !== taskId)
    throw new ProblemError(404, "SESSION_NOT_FOUND", `task ${taskId} has no session ${session.id}`);
  if (session.status !== status) {
    throw new ProblemError(
      409,
      "SESSION_NOT_ACTIVE",
      `session ${session.id} is over (${session.status}); stop, nothing more is expected of it`,
    );
  }
  const task = dispatcher.state.tasks.byId.get(taskId) ?? (await archive.task(taskId));
  return { success: true, taskId, sessionId: session.id, newStatus: task?.status ?? null, duplicate: true };
}

function dryRunView(planned: Plan, state: State): Static<typeof DispatchAnswer> {
  const wouldDispatch = [
    ...planned.again.map((session) => ({
      taskId: session.taskId,
      title: session.taskTitle,
      agent: session.agent,
      priority: state.tasks.byId.get(session.taskId)?.priority ?? "medium",
      attempt: session.attempt,
      method: session.method,
      again: true as const,
    })),
    ...planned.starts.map(({ task, agent }) => ({
      taskId: task.id,
      title: task.title,
      agent: agent.name,
      priority: task.priority,
      attempt: task.attempts + 1,
      method: agent.method ?? "cli",
    })),
  ];
  const message = `Would dispatch ${count(wouldDispatch.length)}`;
  return { success: true, dryRun: true, message, wouldDispatch, skipped: skippedView(planned.waiting) };
}

function rendered(services: Services, { dispatched, skipped }: Decided, state: State): Rendered {
  const secrets: { marker: string; sessionId: string }[] = [];
  // No text of a task can guess a marker, so no text can have another session's token put in its place.
  const markers = newMarkers(dispatched.length, services.random);
  const views = dispatched.map(({ session, again }): Static<typeof DispatchedView> => {
    const base = {
      taskId: session.taskId,
      title: session.taskTitle,
      agent: session.agent,
      sessionId: session.id,
      attempt: session.attempt,
      method: session.method,
      ...(again ? { again: true as const } : {}),
    };
    if (session.method !== "sessions_spawn") return base;
    const marker = markers[secrets.length] as string;
    secrets.push({ marker, sessionId: session.id });
    return { ...base, spawn: spawnCall(services, session, state, marker) };
  });
  const message = `Dispatched ${count(views.length)}`;
  return {
    ...json({ success: true, dryRun: false, message, dispatched: views, skipped: skippedView(skipped) }),
    secrets,
  };
}

function spawnCall(services: Services, session: StartingSession, state: State, token: string) {
  const settings = services.config().agents[session.agent];
  return {
    tool: "sessions_spawn" as const,
    args: {
      task: services.spawnPrompt(session, state, token),
      label: `${session.taskId} #${session.attempt}`,
      mode: "run" as const,
      cleanup: "keep" as const,
      ...(settings?.model === undefined ? {} : { model: settings.model }),
      ...(settings?.agentId === undefined ? {} : { agentId: settings.agentId }),
    },
  };
}

function skippedView(waiting: Plan["waiting"]) {
  return waiting.map(({ taskId, reasons }) => ({ taskId, reasons: reasons.map(reasonView) }));
}

function count(tasks: number): string {
  return `${tasks} task${tasks === 1 ? "" : "s"}`;
}
