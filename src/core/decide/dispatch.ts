/** The dispatch: what `plan` says ought to start now becomes sessions with their locks, in one step. */
import type { Agent } from "../agent.ts";
import { accept, type Command, type Context } from "../decision.ts";
import type { Event } from "../event.ts";
import { type Lock, taskLockId } from "../lock.ts";
import { claimOf, HANDOUTS_MAX, type Plan, type PlanOptions, plan, type Waiting } from "../plan.ts";
import { isInterruption } from "../policy/error-class.ts";
import { isActive, type Resumption, type StartingSession } from "../session.ts";
import type { State } from "../state.ts";
import type { Task } from "../task.ts";

export interface Dispatched {
  readonly session: StartingSession;
  /** Handed out before, and not claimed. */
  readonly again: boolean;
}

export interface DispatchAnswer {
  readonly dispatched: readonly Dispatched[];
  readonly skipped: readonly Waiting[];
}

export function dispatch(options: PlanOptions): Command<DispatchAnswer> {
  return (state, context) => {
    const planned = plan(state, context, options);
    const events = eventsOf(state, context, planned);
    const handedOut = planned.again.map((session) => ({ id: session.id, again: true }));
    const started = events.flatMap((event) =>
      event.type === "session.started" ? [{ id: event.session.id, again: false }] : [],
    );
    return accept(events, (after) => ({
      dispatched: [...handedOut, ...started].map(({ id, again }) => ({
        session: after.sessions.byId.get(id) as StartingSession,
        again,
      })),
      skipped: planned.waiting,
    }));
  };
}

function eventsOf(state: State, context: Context, planned: Plan): readonly Event[] {
  const events: Event[] = [];
  for (const session of planned.again) {
    const times = (session.handout?.times ?? 0) + 1;
    const expiresAt = context.now + (context.agents.get(session.agent)?.claimTimeoutMs ?? 0);
    events.push({
      type: "session.handed_out",
      at: context.now,
      sessionId: session.id,
      taskId: session.taskId,
      handout: { times, expiresAt },
    });
  }
  let fence = state.ledger.fence;
  for (const { task, agent } of planned.starts) {
    const session = newSession(state, context, task, agent);
    const lock = task.files.length === 0 ? undefined : newLock(session, ++fence, context.home);
    events.push({ type: "session.started", at: context.now, session, ...(lock === undefined ? {} : { lock }) });
  }
  return events;
}

function newSession(state: State, context: Context, task: Task, agent: Agent): StartingSession {
  const handedOut = agent.method === "sessions_spawn";
  const timeoutMs = task.timeoutMs ?? agent.timeoutMs;
  const isolation = task.isolation ?? agent.isolation;
  const resumes = resumption(state, task, agent);
  return {
    id: context.newId("ses"),
    taskId: task.id,
    taskTitle: task.title,
    agent: agent.name,
    attempt: task.attempts + 1,
    method: agent.method ?? "cli",
    status: "starting",
    startedAt: context.now,
    // A spawn's own time begins with its claim; until then it may be handed out HANDOUTS_MAX times.
    deadlineAt: context.now + timeoutMs + (handedOut ? HANDOUTS_MAX * agent.claimTimeoutMs : 0),
    stallTimeoutMs: task.stallTimeoutMs ?? agent.stallTimeoutMs,
    startTimeoutMs: task.startTimeoutMs ?? agent.startTimeoutMs,
    timeoutMs,
    exitGraceMs: agent.exitGraceMs,
    files: task.files,
    workspace: task.workspace,
    ...(task.verify.length === 0 ? {} : { verify: task.verify }),
    ...(isolation === "none" ? {} : { isolation }),
    ...(resumes === undefined ? {} : { resumes }),
    ...(handedOut ? { handout: { times: 1, expiresAt: context.now + agent.claimTimeoutMs } } : {}),
  };
}

/** The agent's own session of the last attempt, where that was interrupted and can be gone on with. */
function resumption(state: State, task: Task, agent: Agent): Resumption | undefined {
  if (!agent.resume || task.attempts === 0) return undefined;
  const last = state.sessions.byId.get(state.sessions.byTask.get(task.id)?.at(-1) ?? "");
  if (last === undefined || isActive(last) || last.agent !== agent.name || last.method !== agent.method)
    return undefined;
  const { agentSession, outcome, resumes } = last;
  if (agentSession === undefined || outcome.error === undefined || !isInterruption(outcome.error.code))
    return undefined;
  return { ...agentSession, origin: resumes?.origin ?? last.id };
}

function newLock(session: StartingSession, fence: number, home: string): Lock {
  return {
    id: taskLockId(session.id),
    sessionId: session.id,
    taskId: session.taskId,
    agent: session.agent,
    ...claimOf(session, home),
    fence,
    acquiredAt: session.startedAt,
  };
}
