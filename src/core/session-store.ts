/** The session store: the fold that `active-sessions.json` holds. Active sessions and the newest of the ended ones. */
import type { Event } from "./event.ts";
import {
  type ActiveSession,
  type EndedSession,
  isActive,
  type RunningSession,
  type Session,
  type SessionBase,
  type StoppingSession,
} from "./session.ts";

export interface SessionStore {
  seq: number;
  /** In order of starting. */
  readonly byId: Map<string, Session>;
  /** Derived: at most one per task. */
  readonly activeByTask: Map<string, ActiveSession>;
  /** Derived: slots in use. */
  readonly activeByAgent: Map<string, Map<string, ActiveSession>>;
  /** Derived: by the time of their end, oldest first. */
  readonly ended: Map<string, EndedSession>;
  /** Derived: ids in order of starting. */
  readonly byTask: Map<string, readonly string[]>;
}

export function emptySessionStore(): SessionStore {
  return {
    seq: 0,
    byId: new Map(),
    activeByTask: new Map(),
    activeByAgent: new Map(),
    ended: new Map(),
    byTask: new Map(),
  };
}

export function loadSessionStore(seq: number, sessions: Iterable<Session>): SessionStore {
  const store = emptySessionStore();
  store.seq = seq;
  const ended: EndedSession[] = [];
  for (const session of sessions) {
    put(store, session);
    if (!isActive(session)) ended.push(session);
  }
  store.ended.clear();
  for (const session of ended.sort((a, b) => a.completedAt - b.completedAt)) store.ended.set(session.id, session);
  return store;
}

export function foldSessions(store: SessionStore, event: Event): void {
  switch (event.type) {
    case "session.started":
      return put(store, event.session);
    case "session.archived":
      for (const id of event.sessionIds) remove(store, id);
      return;
    case "session.handed_out":
    case "session.running":
    case "session.reported":
    case "session.settled":
    case "session.ended": {
      const before = store.byId.get(event.sessionId);
      if (before === undefined || !isActive(before)) return;
      return put(store, next(before, event));
    }
    default:
      return;
  }
}

type Step = Extract<
  Event,
  { type: "session.handed_out" | "session.running" | "session.reported" | "session.settled" | "session.ended" }
>;

function next(before: ActiveSession, event: Step): Session {
  switch (event.type) {
    case "session.handed_out":
      return before.status === "starting" ? { ...before, handout: event.handout } : before;
    case "session.running": {
      if (before.status === "stopping") return { ...before, ...learned(event) };
      const { sessionKey = before.sessionKey, run = before.run, deadlineAt = before.deadlineAt } = event;
      const after = copyOf(before, { sessionKey, run, usage: before.usage }) as Mutable<RunningSession>;
      after.deadlineAt = deadlineAt;
      after.status = "running";
      return after;
    }
    case "session.reported": {
      const { result, at: reportedAt, stopAt, usage = before.usage } = event;
      const reported = { ...(result === undefined ? {} : { result }), reportedAt, stopAt };
      return { ...before, reported, ...(usage === undefined ? {} : { usage }) };
    }
    case "session.settled": {
      const { sessionKey, run } = before;
      const usage = event.usage ?? before.usage;
      const after = copyOf(before, { sessionKey, run, usage }) as Mutable<StoppingSession>;
      after.status = "stopping";
      after.outcome = event.outcome;
      after.stoppingAt = event.at;
      after.stopAt = event.stopAt;
      return after;
    }
    case "session.ended": {
      if (before.status !== "stopping") return before;
      const { sessionKey, run, outcome } = before;
      const usage = event.usage ?? before.usage;
      const after = copyOf(before, { sessionKey, run, usage }) as Mutable<EndedSession>;
      const { exitCode, signal, leftovers } = event.exit;
      if (exitCode !== undefined) after.exitCode = exitCode;
      if (signal !== undefined) after.signal = signal;
      if (leftovers !== undefined) after.leftovers = leftovers;
      if (event.agentSession !== undefined) after.agentSession = event.agentSession;
      if (event.warnings !== undefined) after.warnings = event.warnings;
      after.status = outcome.status;
      after.completedAt = before.stoppingAt;
      after.outcome = outcome;
      after.cost = event.cost;
      return after;
    }
  }
}

function learned(event: Extract<Step, { type: "session.running" }>): Partial<SessionBase> {
  return {
    ...(event.sessionKey === undefined ? {} : { sessionKey: event.sessionKey }),
    ...(event.run === undefined ? {} : { run: event.run }),
    ...(event.deadlineAt === undefined ? {} : { deadlineAt: event.deadlineAt }),
  };
}

type Mutable<T> = { -readonly [K in keyof T]: T[K] };

/**
 * What all stages have, in a new object that the next stage's fields are then set on. Written out, since every change of a
 * session comes by here: a spread that leaves some fields out and puts others in takes ten times as long.
 */
function copyOf(
  session: Session,
  { sessionKey, run, usage }: Pick<Session, "sessionKey" | "run" | "usage">,
): Mutable<SessionBase> {
  const copy: Mutable<SessionBase> = {
    id: session.id,
    taskId: session.taskId,
    taskTitle: session.taskTitle,
    agent: session.agent,
    attempt: session.attempt,
    method: session.method,
    startedAt: session.startedAt,
    deadlineAt: session.deadlineAt,
    timeoutMs: session.timeoutMs,
    stallTimeoutMs: session.stallTimeoutMs,
    startTimeoutMs: session.startTimeoutMs,
    exitGraceMs: session.exitGraceMs,
    files: session.files,
    workspace: session.workspace,
  };
  if (sessionKey !== undefined) copy.sessionKey = sessionKey;
  if (run !== undefined) copy.run = run;
  if (usage !== undefined) copy.usage = usage;
  const { verify, isolation, resumes, reported } = session;
  if (verify !== undefined) copy.verify = verify;
  if (isolation !== undefined) copy.isolation = isolation;
  if (resumes !== undefined) copy.resumes = resumes;
  if (reported !== undefined) copy.reported = reported;
  return copy;
}

function put(store: SessionStore, session: Session): void {
  const known = store.byId.has(session.id);
  store.byId.set(session.id, session);
  if (!known) store.byTask.set(session.taskId, [...(store.byTask.get(session.taskId) ?? []), session.id]);
  const slots = store.activeByAgent.get(session.agent) ?? new Map<string, ActiveSession>();
  if (isActive(session)) {
    store.activeByTask.set(session.taskId, session);
    store.activeByAgent.set(session.agent, slots.set(session.id, session));
  } else {
    if (store.activeByTask.get(session.taskId)?.id === session.id) store.activeByTask.delete(session.taskId);
    slots.delete(session.id);
    if (slots.size === 0) store.activeByAgent.delete(session.agent);
    store.ended.set(session.id, session);
  }
}

function remove(store: SessionStore, id: string): void {
  const session = store.byId.get(id);
  if (session === undefined || isActive(session)) return;
  store.byId.delete(id);
  store.ended.delete(id);
  const others = (store.byTask.get(session.taskId) ?? []).filter((other) => other !== id);
  if (others.length === 0) store.byTask.delete(session.taskId);
  else store.byTask.set(session.taskId, others);
}
