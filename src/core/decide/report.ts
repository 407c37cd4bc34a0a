/** What agents and adapters report of a session: the callback, the run's start and end. The first end counts, whoever tells it. */
import { accept, type Command, type Context, type Decision, refuse } from "../decision.ts";
import type { Event } from "../event.ts";
import { addTotals, sinceResumed } from "../policy/usage.ts";
import { zeroWork } from "../policy/zero-work.ts";
import {
  type ActiveSession,
  type AgentSession,
  isActive,
  type Outcome,
  type RunExit,
  type RunFacts,
  type Session,
  type SessionError,
  type Usage,
  type Warning,
} from "../session.ts";
import type { State } from "../state.ts";
import type { TaskStatus } from "../task.ts";
import { ended, settle } from "./settle.ts";

export interface Callback {
  readonly taskId: string;
  readonly status: "running" | "completed" | "failed";
  readonly sessionId?: string | undefined;
  readonly sessionKey?: string | undefined;
  readonly result?: string | undefined;
  readonly error?: string | undefined;
  readonly usage?: Usage | undefined;
  /** The session whose token the caller showed; `undefined` = the operator. */
  readonly callerSessionId?: string | undefined;
}

export interface CallbackAnswer {
  readonly taskId: string;
  readonly sessionId: string;
  /** `null` when a person deleted the task meanwhile. */
  readonly newStatus: TaskStatus | null;
  readonly duplicate: boolean;
}

export function callback(report: Callback): Command<CallbackAnswer> {
  return (state, context) => {
    const found = findSession(state, report);
    if (!found.ok) return found;
    const { session } = found;
    const answered = (events: readonly Event[], duplicate: boolean) =>
      accept(events, (after) => ({
        taskId: report.taskId,
        sessionId: session.id,
        newStatus: after.tasks.byId.get(report.taskId)?.status ?? null,
        duplicate,
      }));
    const { sessionKey } = report;
    if (sessionKey !== undefined && session.sessionKey !== undefined && sessionKey !== session.sessionKey) {
      return refuse(
        "SESSION_CLAIMED",
        "this session was claimed under another session key; stop, somebody else works on it",
      );
    }
    if (!isActive(session) || session.status === "stopping") {
      const status = isActive(session) ? session.outcome.status : session.status;
      if (status === report.status) return answered([], true);
      return refuse(
        "SESSION_NOT_ACTIVE",
        `session ${session.id} is over (${status}); stop, nothing more is expected of it`,
        { sessionStatus: status },
      );
    }
    if (session.reported !== undefined) {
      if (report.status === "completed") return answered([], true);
      return refuse(
        "SESSION_NOT_ACTIVE",
        `session ${session.id} said that it is done, and its work is being verified; stop, nothing more is expected of it`,
        { sessionStatus: "completed" },
      );
    }
    if (report.status === "running")
      return answered(running(context, session, sessionKey), session.status === "running");
    const outcome = outcomeOf(report);
    const isToVerify = outcome.status === "completed" && mustVerify(session);
    // A spawn whose work is verified is handed to nobody else meanwhile.
    const claims = isToVerify || (sessionKey !== undefined && session.sessionKey === undefined);
    const claim = claims ? running(context, session, sessionKey) : [];
    const stopAt = context.now + session.exitGraceMs;
    if (isToVerify) return answered([...claim, reported(context, session, report, stopAt)], false);
    return answered([...claim, ...settle(state, context, session, { outcome, usage: report.usage, stopAt })], false);
  };
}

function mustVerify({ verify = [] }: Session): boolean {
  return verify.length > 0;
}

function reported(context: Context, session: ActiveSession, { result, usage }: Callback, stopAt: number): Event {
  return {
    type: "session.reported",
    at: context.now,
    sessionId: session.id,
    taskId: session.taskId,
    ...(result === undefined ? {} : { result }),
    stopAt,
    ...(usage === undefined ? {} : { usage }),
  };
}

function running(context: Context, session: ActiveSession, sessionKey: string | undefined): readonly Event[] {
  const binds = sessionKey !== undefined && session.sessionKey === undefined;
  // A session with a run is running once its program is, whatever the program says before that.
  const claims = session.status === "starting" && session.method === "sessions_spawn";
  if (!binds && !claims) return [];
  return [
    {
      type: "session.running",
      at: context.now,
      sessionId: session.id,
      taskId: session.taskId,
      ...(binds ? { sessionKey } : {}),
      ...(claims ? { deadlineAt: context.now + session.timeoutMs } : {}),
    },
  ];
}

function outcomeOf(report: Callback): Outcome {
  if (report.status === "completed") {
    return { status: "completed", ...(report.result === undefined ? {} : { result: report.result }) };
  }
  const message = report.error ?? report.result ?? "the agent reported a failure without a reason";
  return {
    status: "failed",
    error: { code: "AGENT_REPORTED", message },
    ...(report.result === undefined ? {} : { result: report.result }),
  };
}

function findSession(
  state: State,
  report: Callback,
): { ok: true; session: Session } | Extract<Decision<never>, { ok: false }> {
  const { taskId, callerSessionId } = report;
  const ids = state.sessions.byTask.get(taskId) ?? [];
  if (!state.tasks.byId.has(taskId) && ids.length === 0) return refuse("TASK_NOT_FOUND", `there is no task ${taskId}`);
  const id = report.sessionId ?? callerSessionId ?? state.sessions.activeByTask.get(taskId)?.id ?? ids.at(-1);
  if (callerSessionId !== undefined && id !== callerSessionId)
    return refuse("NOT_YOUR_SESSION", "the token is good for its own session only");
  if (id === undefined) return refuse("SESSION_NOT_ACTIVE", `task ${taskId} has never been dispatched`);
  const session = state.sessions.byId.get(id);
  if (session !== undefined && session.taskId === taskId) return { ok: true, session };
  if (session !== undefined && callerSessionId !== undefined)
    return refuse("NOT_YOUR_SESSION", "the token is good for its own task only");
  return refuse("SESSION_NOT_FOUND", `task ${taskId} has no session ${id}`);
}

/** The program runs. */
export function runStarted(sessionId: string, run: RunFacts): Command<null> {
  return (state, context) => {
    const session = state.sessions.byId.get(sessionId);
    if (session === undefined || !isActive(session) || session.run !== undefined) return accept([], () => null);
    const { sessionKey } = run;
    const binds = sessionKey !== undefined && session.sessionKey === undefined;
    const event = { type: "session.running", at: context.now, sessionId, taskId: session.taskId, run } as const;
    return accept([binds ? { ...event, sessionKey } : event], () => null);
  };
}

/** What the verifiers found. */
export type Verification = { readonly ok: true } | { readonly ok: false; readonly error: SessionError };

export interface RunReport {
  readonly sessionId: string;
  readonly exit: RunExit;
  /** What the exit and the output say; counts only where no callback came before. */
  readonly outcome: Outcome;
  readonly usage?: Usage | undefined;
  /** The agent's own session, with the totals where its program counts on through all attempts. */
  readonly agentSession?: AgentSession | undefined;
  /** How many tools its program used, where its output tells. */
  readonly toolCalls?: number | undefined;
  readonly warnings?: readonly Warning[] | undefined;
  /** Of work that is to be verified and was said to be done. */
  readonly verification?: Verification | undefined;
}

/**
 * The run is empty, and its work was verified where that was asked for: nothing of the session is left. Refused with `NOT_VERIFIED`
 * where it would count as completed and has still to be verified.
 */
export function runEnded(report: RunReport): Command<null> {
  return (state, context) => {
    const session = state.sessions.byId.get(report.sessionId);
    if (session === undefined || !isActive(session)) return accept([], () => null);
    // What the exit tells adds to what the callback told.
    const { resumes } = session;
    // One of another name was begun instead of it, and counts from 0.
    const before = resumes?.id === report.agentSession?.id ? resumes?.totals : undefined;
    const own = sinceResumed(report.agentSession?.totals, before);
    const told = [session.usage, report.usage, own].filter((usage) => usage !== undefined);
    const usage: Usage | undefined = told.length === 0 ? undefined : Object.assign({}, ...told);
    const agentSession = addTotals(report.agentSession, resumes);
    const { exit } = report;
    if (session.status === "stopping")
      return accept([ended(context, session, { exit, usage, agentSession, warnings: report.warnings })], () => null);

    const said = session.reported === undefined ? report.outcome : completedWith(session.reported.result);
    if (said.status === "completed" && mustVerify(session) && report.verification === undefined)
      return refuse("NOT_VERIFIED", `what session ${session.id} did has still to be verified`);
    const isRefuted = said.status === "completed" && report.verification?.ok === false;
    const outcome = isRefuted ? failedWith(said, report.verification.error) : said;
    const idle = outcome.status === "completed" ? zeroWork(report.toolCalls, context.now - session.startedAt) : [];
    const warnings = [...(report.warnings ?? []), ...idle];
    const { leftovers } = exit;
    const settled = settle(state, context, session, { outcome, usage, stopAt: context.now, leftovers, warnings });
    return accept([...settled, ended(context, session, { exit, usage, agentSession, warnings })], () => null);
  };
}

function completedWith(result: string | undefined): Outcome {
  return { status: "completed", ...(result === undefined ? {} : { result }) };
}

function failedWith({ result }: Outcome, error: SessionError): Outcome {
  return { status: "failed", error, ...(result === undefined ? {} : { result }) };
}
