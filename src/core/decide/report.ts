/** What agents and adapters report of a session: the callback, the run's start and end. The first end counts, whoever tells it. */
import { accept, type Command, type Context, type Decision, refuse } from "../decision.ts";
import type { Event } from "../event.ts";
import {
  type ActiveSession,
  type Cost,
  isActive,
  type Outcome,
  type RunExit,
  type RunFacts,
  type Session,
  type Usage,
} from "../session.ts";
import type { State } from "../state.ts";
import type { TaskStatus } from "../task.ts";
import { costOf, ended, settle } from "./settle.ts";

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
    if (report.status === "running")
      return answered(running(context, session, sessionKey), session.status === "running");
    const claim =
      sessionKey === undefined || session.sessionKey !== undefined ? [] : running(context, session, sessionKey);
    const outcome = outcomeOf(report);
    const grace = session.exitGraceMs;
    return answered(
      [...claim, ...settle(state, context, session, { outcome, usage: report.usage, stopAt: context.now + grace })],
      false,
    );
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

export interface RunReport {
  readonly sessionId: string;
  readonly exit: RunExit;
  /** What the exit and the output say; counts only where no callback came before. */
  readonly outcome: Outcome;
  readonly usage?: Usage | undefined;
  readonly cost: Cost;
}

/** The run is empty: nothing of the session is left. */
export function runEnded({ sessionId, exit, outcome, usage, cost }: RunReport): Command<null> {
  return (state, context) => {
    const session = state.sessions.byId.get(sessionId);
    if (session === undefined || !isActive(session)) return accept([], () => null);
    const settled =
      session.status === "stopping"
        ? []
        : settle(state, context, session, { outcome, usage, stopAt: context.now, leftovers: exit.leftovers });
    // What the exit tells adds to what the callback told; a measured cost beats an estimate, whoever told it.
    const known = session.usage === undefined ? usage : { ...session.usage, ...usage };
    const told = costOf(known);
    const finalCost = cost.basis !== "measured" && told.basis === "measured" ? told : cost;
    return accept([...settled, ended(context, session, exit, known, finalCost)], () => null);
  };
}
