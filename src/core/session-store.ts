/** The session store: the fold that `active-sessions.json` holds. Active sessions and the newest of the ended ones. */
import type { Event } from "./event.ts";
import { type ActiveSession, type EndedSession, isActive, type Session, type SessionBase } from "./session.ts";

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

type Step = Extract<Event, { type: "session.handed_out" | "session.running" | "session.settled" | "session.ended" }>;

function next(before: ActiveSession, event: Step): Session {
  switch (event.type) {
    case "session.handed_out":
      return before.status === "starting" ? { ...before, handout: event.handout } : before;
    case "session.running": {
      const { sessionKey = before.sessionKey, run = before.run, deadlineAt = before.deadlineAt } = event;
      const learned = { ...baseOf(before, { sessionKey, run, usage: before.usage }), deadlineAt };
      if (before.status !== "stopping") return { ...learned, status: "running" };
      const { outcome, stoppingAt, stopAt } = before;
      return { ...learned, status: "stopping", outcome, stoppingAt, stopAt };
    }
    case "session.settled": {
      const { sessionKey, run } = before;
      const base = baseOf(before, { sessionKey, run, usage: event.usage ?? before.usage });
      return { ...base, status: "stopping", outcome: event.outcome, stoppingAt: event.at, stopAt: event.stopAt };
    }
    case "session.ended": {
      if (before.status !== "stopping") return before;
      const { sessionKey, run, outcome, stoppingAt } = before;
      const base = baseOf(before, { sessionKey, run, usage: event.usage ?? before.usage });
      const { status } = outcome;
      return { ...base, ...event.exit, status, completedAt: stoppingAt, outcome, cost: event.cost };
    }
  }
}

/** What all stages have, in a new object. Written out: copying a session with some of its fields left out takes ten times as long. */
function baseOf(
  session: Session,
  { sessionKey, run, usage }: Pick<Session, "sessionKey" | "run" | "usage">,
): SessionBase {
  const base: { -readonly [K in keyof SessionBase]: SessionBase[K] } = {
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
    exitGraceMs: session.exitGraceMs,
    files: session.files,
    workspace: session.workspace,
  };
  if (sessionKey !== undefined) base.sessionKey = sessionKey;
  if (run !== undefined) base.run = run;
  if (usage !== undefined) base.usage = usage;
  return base;
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
