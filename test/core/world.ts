/** What the core's tests share: records with sensible fields, and a world to execute commands in, whose time stands still. */
import type { Agent, Unavailability } from "../../src/core/agent.ts";
import { dispatch } from "../../src/core/decide/dispatch.ts";
import { createTask, type NewTask } from "../../src/core/decide/tasks.ts";
import type { Command, Context, Refusal } from "../../src/core/decision.ts";
import type { Event, StoredEvent } from "../../src/core/event.ts";
import type { Cost, Session, Usage } from "../../src/core/session.ts";
import { emptyState, type State } from "../../src/core/state.ts";
import type { Task } from "../../src/core/task.ts";
import { transition } from "../../src/core/transition.ts";

/** 2026-01-01T00:00:00Z */
export const START = 1_767_225_600_000;
export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;

export function aTask(fields: Partial<Task> & Pick<Task, "id">): Task {
  return {
    title: `the task ${fields.id}`,
    description: "",
    status: "todo",
    priority: "medium",
    assignee: "copilot",
    labels: [],
    project: null,
    dependsOn: [],
    files: [],
    workspace: null,
    dueDate: null,
    estimate: null,
    requiresReview: false,
    maxAttempts: null,
    timeoutMs: null,
    stallTimeoutMs: null,
    startTimeoutMs: null,
    verify: [],
    isolation: null,
    attempts: 0,
    retryAt: null,
    hold: null,
    lastError: null,
    version: 1,
    createdAt: START,
    updatedAt: START,
    comments: [],
    ...fields,
  };
}

export function anAgent(fields: Partial<Agent> & Pick<Agent, "name">): Agent {
  return {
    adapter: "cli",
    method: "cli",
    model: null,
    costMultiplier: 1,
    maxConcurrent: 2,
    bestFor: [],
    timeoutMs: 30 * MINUTE,
    stallTimeoutMs: 5 * MINUTE,
    startTimeoutMs: 0,
    claimTimeoutMs: 10 * MINUTE,
    exitGraceMs: 10 * SECOND,
    account: null,
    isolation: "none",
    canIsolate: (fields.method ?? "cli") === "cli",
    resume: false,
    ...fields,
  };
}

/** One agent for each way to be reached, and Jarvis, who is listed but never dispatched to. */
export const AGENTS: readonly Agent[] = [
  anAgent({ name: "copilot", costMultiplier: 2, bestFor: ["git", "shell", "coding"] }),
  anAgent({ name: "gemini", adapter: "ssh", method: "ssh", costMultiplier: 1, bestFor: ["research", "planning"] }),
  anAgent({
    name: "claude",
    adapter: "spawn",
    method: "sessions_spawn",
    costMultiplier: 3,
    stallTimeoutMs: 0,
    bestFor: ["coding"],
  }),
  anAgent({ name: "jarvis", adapter: "none", method: null, costMultiplier: 10, maxConcurrent: 0 }),
];

export type Done<A> =
  | { readonly ok: true; readonly answer: A; readonly events: readonly Event[] }
  | { readonly ok: false; readonly refusal: Refusal };

export interface World {
  readonly state: State;
  /** Tests move `now` and replace settings here. */
  readonly context: { -readonly [K in keyof Context]: Context[K] };
  /** Every event so far, as a journal has them. */
  readonly journal: StoredEvent[];
  readonly archived: Set<string>;
  readonly unavailable: Map<string, Unavailability>;
  /** Decides and folds, as the dispatcher does. */
  execute<A>(command: Command<A>): Done<A>;
  /** The same for a command that has to be accepted. */
  must<A>(command: Command<A>): A;
  /** Folds an event that no command made. */
  happen(event: Event): void;
  pass(ms: number): void;
  task(id: string): Task;
  session(id: string): Session;
}

/** A price list that knows only what was told. */
export function measured(usage: Usage | undefined): Cost {
  return usage?.costUsd === undefined ? { usd: null, basis: "unknown" } : { usd: usage.costUsd, basis: "measured" };
}

export function aWorld(settings: Partial<Context> = {}): World {
  const state = emptyState();
  const journal: StoredEvent[] = [];
  const archived = new Set<string>();
  const unavailable = new Map<string, Unavailability>();
  let ids = 0;
  const context: World["context"] = {
    now: START,
    agents: new Map(AGENTS.map((agent) => [agent.name, agent])),
    humans: new Set(["jarvis", "diego"]),
    maxConcurrent: 8,
    unavailability: (agent) => unavailable.get(agent) ?? null,
    isArchived: (id) => archived.has(id),
    home: "/home/me",
    newId: (prefix) => `${prefix}_${String(++ids).padStart(6, "0")}`,
    random: () => 0.5,
    retry: { maxAttempts: 3, initialDelayMs: 10_000, maxDelayMs: 300_000 },
    price: (_agent, usage) => measured(usage),
    ...settings,
  };
  const happen = (event: Event) => {
    const stored = { seq: journal.length + 1, event };
    journal.push(stored);
    transition(state, stored);
  };
  const execute = <A>(command: Command<A>): Done<A> => {
    const decision = command(state, context);
    if (!decision.ok) return decision;
    for (const event of decision.events) happen(event);
    return { ok: true, answer: decision.answer(state), events: decision.events };
  };
  return {
    state,
    context,
    journal,
    archived,
    unavailable,
    execute,
    happen,
    must: (command) => {
      const done = execute(command);
      if (!done.ok) throw new Error(`refused: ${done.refusal.code}: ${done.refusal.message}`);
      return done.answer;
    },
    pass: (ms) => {
      context.now += ms;
    },
    task: (id) => found(state.tasks.byId.get(id), id),
    session: (id) => found(state.sessions.byId.get(id), id),
  };
}

/** A world in which a task was created and dispatched; `fields` are the task's. */
export function aRunningWorld(
  fields: Partial<NewTask> = {},
  settings: Partial<Context> = {},
): World & { readonly sessionId: string } {
  const world = aWorld(settings);
  const { id } = world.must(createTask({ id: "t1", title: "the task", assignee: "copilot", ...fields }));
  return { ...world, sessionId: start(world, id) };
}

/** Dispatches one task and says which session that made. */
export function start(world: World, taskId: string): string {
  const { dispatched, skipped } = world.must(dispatch({ taskIds: [taskId] }));
  const [first] = dispatched;
  if (first === undefined) throw new Error(`not dispatched: ${JSON.stringify(skipped)}`);
  return first.session.id;
}

/** The code of a refusal, or "ok". */
export function codeOf(done: Done<unknown>): string {
  return done.ok ? "ok" : done.refusal.code;
}

export function typesOf(done: Done<unknown>): readonly string[] {
  return done.ok ? done.events.map((event) => event.type) : [];
}

function found<T>(record: T | undefined, id: string): T {
  if (record === undefined) throw new Error(`there is no ${id}`);
  return record;
}
