/** Random lives of a board: commands as plain data, so that fast-check can shrink a failing list of them and print it. */
import fc from "fast-check";
import { pauseAgent, resumeAgent } from "../../src/core/decide/agents.ts";
import { dispatch } from "../../src/core/decide/dispatch.ts";
import { acquireLock, releaseLock, renewLock } from "../../src/core/decide/locks.ts";
import { callback, runEnded, runStarted, type Verification } from "../../src/core/decide/report.ts";
import { archive, cancelSession, expire } from "../../src/core/decide/sessions.ts";
import { addComment, changeTask, createTask, deleteTask } from "../../src/core/decide/tasks.ts";
import type { Event } from "../../src/core/event.ts";
import { hasRun, isActive, type Session } from "../../src/core/session.ts";
import { PRIORITIES, TASK_STATUSES, type Task } from "../../src/core/task.ts";
import { AGENTS, anAgent, aWorld, type Done, HOUR, MINUTE, SECOND, type World } from "./world.ts";

const WORKSPACES = [null, null, "/w", "/w/sub"];
const FILES: readonly (readonly string[])[] = [
  [],
  [],
  ["src/**"],
  ["src/a.ts"],
  ["src/*.ts", "docs"],
  ["lib/*.ts"],
  ["sub/src/a.ts"],
];
const ASSIGNEES = [
  "copilot",
  "copilot",
  "gemini",
  "claude",
  "claude",
  "claude",
  "local",
  "auto",
  "jarvis",
  "diego",
  "nobody",
];
const KEYS = ["key-1", "key-2"];

/** Numbers name what exists at that moment: they are taken modulo how many there are. */
const pick = fc.nat({ max: 9 });
const file = fc.constantFrom(...FILES);
const maybe = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined });

function task(ids: number) {
  return fc.nat({ max: ids - 1 });
}

function fields(ids: number) {
  return {
    status: fc.oneof({ weight: 4, arbitrary: fc.constant("todo" as const) }, fc.constantFrom(...TASK_STATUSES)),
    assignee: fc.constantFrom(...ASSIGNEES),
    priority: fc.constantFrom(...PRIORITIES),
    dueDate: fc.constantFrom(null, "2026-01-01", "2026-02-01T00:00:00Z"),
    dependsOn: fc.oneof({ weight: 3, arbitrary: fc.constant<number[]>([]) }, fc.array(task(ids), { maxLength: 2 })),
    files: file,
    workspace: fc.constantFrom(...WORKSPACES),
    requiresReview: fc.boolean(),
    maxAttempts: fc.constantFrom(null, null, 1, 2),
    labels: fc.constantFrom([], ["coding"], ["research"]),
    verify: fc.constantFrom([], [], ["tests"]),
    isolation: fc.constantFrom(null, null, null, "none" as const, "worktree" as const),
  };
}

export interface Weights {
  readonly create: number;
  readonly others: number;
}

/** A step that makes one of so many tasks. */
export function aCreation(ids = 5) {
  const facts = { kind: fc.constant("create" as const), task: task(ids), ...fields(ids) };
  return fc.record(facts, { noNullPrototype: true });
}

/** A step of one of all kinds; `ids` says how many different tasks there can be. */
export function anyStep(ids = 5, { create, others }: Weights = { create: 10, others: 1 }) {
  const all = fields(ids);
  const of = <K extends string, T>(weight: number, kind: K, facts: { [P in keyof T]: fc.Arbitrary<T[P]> }) => ({
    weight: weight * others,
    arbitrary: fc.record<T>(facts, { noNullPrototype: true }).map((made) => ({ kind, ...made })),
  });
  return fc.oneof(
    { weight: create, arbitrary: aCreation(ids) },
    of(4, "change", {
      task: task(ids),
      changes: fc.record(all, { requiredKeys: [], noNullPrototype: true }),
      stale: fc.constantFrom(false, false, true),
    }),
    of(5, "by hand", {
      task: task(ids),
      status: fc.constantFrom("in_progress" as const, "todo" as const, "done" as const),
      assignee: fc.constantFrom("diego", "copilot", "gemini"),
    }),
    of(1, "release hold", { task: task(ids), held: fc.boolean() }),
    of(1, "delete", { task: task(ids) }),
    of(1, "comment", { task: task(ids) }),
    of(20, "dispatch", {
      taskIds: fc.option(fc.array(task(ids), { maxLength: 4 }), { nil: undefined, freq: 1 }),
      limit: fc.option(fc.nat({ max: 3 }), { nil: undefined, freq: 1 }),
      unattended: fc.constantFrom(false, false, false, true),
    }),
    of(8, "callback", {
      session: pick,
      status: fc.constantFrom("running" as const, "completed" as const, "failed" as const),
      name: fc.boolean(),
      key: maybe(fc.constantFrom(...KEYS)),
      caller: maybe(pick),
      usage: maybe(
        fc.record(
          { inputTokens: fc.nat({ max: 9 }), costUsd: fc.constantFrom(0, 0.5) },
          { requiredKeys: [], noNullPrototype: true },
        ),
      ),
    }),
    of(4, "run started", { session: pick }),
    of(4, "run ended", {
      session: pick,
      status: fc.constantFrom("completed" as const, "failed" as const, "timed_out" as const, "lost" as const),
      code: fc.constantFrom("EXIT", "NOT_INSTALLED"),
      verified: maybe(fc.boolean()),
      usd: fc.constantFrom(null, 0.25),
    }),
    of(2, "cancel", { session: pick }),
    of(3, "expire", { silentMs: fc.constantFrom(0, MINUTE, HOUR) }),
    of(5, "lock", {
      session: pick,
      files: fc.constantFrom(...FILES.slice(2)),
      shared: fc.boolean(),
      ttlMs: maybe(fc.constantFrom(SECOND, MINUTE)),
    }),
    of(3, "renew", { lock: pick, caller: maybe(pick) }),
    of(1, "unlock", { lock: pick, caller: maybe(pick) }),
    of(1, "pause", { agent: fc.constantFrom("copilot", "claude", "nobody") }),
    of(4, "resume", { agent: fc.constantFrom("copilot", "claude") }),
    of(1, "unavailable", {
      agent: fc.constantFrom("copilot", "gemini"),
      is: fc.constantFrom(true, false, false, false),
    }),
    of(2, "archive", { tasks: fc.array(task(ids), { maxLength: 3 }), sessions: fc.array(pick, { maxLength: 3 }) }),
    of(1, "answered", { key: fc.nat({ max: 3 }), size: fc.nat({ max: 20 }) }),
    of(10, "time passes", { ms: fc.constantFrom(1, SECOND, 10 * SECOND, MINUTE, 11 * MINUTE, 11 * MINUTE, HOUR) }),
  );
}

export type Step = ReturnType<typeof anyStep> extends fc.Arbitrary<infer T> ? T : never;

/** A board to begin with, then anything; with few tasks, so that much happens to each. */
export function steps(maxLength: number): fc.Arbitrary<Step[]> {
  const life = (ids: number) => {
    const beginning = fc.array(aCreation(ids), { maxLength: ids + 2, size: "max" });
    return fc.tuple(beginning, fc.array(anyStep(ids), { maxLength, size: "max" })).map((parts) => parts.flat());
  };
  return fc.oneof(life(1), life(3), life(6));
}

export interface Simulation extends World {
  /** What the archive has of each task that was ever put there. */
  readonly shelf: Map<string, Task>;
}

export function aSimulation(seed = 1): Simulation {
  const world = aWorld({
    agents: new Map(
      [...AGENTS, anAgent({ name: "local", maxConcurrent: 1, adapter: "spawn", method: "spawn" })].map((one) => [
        one.name,
        one,
      ]),
    ),
    maxConcurrent: 4,
    random: seededRandom(seed),
  });
  return { ...world, shelf: new Map() };
}

/** Of work that nobody has verified: it does not count as completed, whoever says that it is done. */
function expectUnverified(session: Session, done: Done<unknown>): void {
  if (session.verify === undefined || !done.ok) return;
  const completed = done.events.some(
    (event) =>
      event.type === "session.settled" && event.sessionId === session.id && event.outcome.status === "completed",
  );
  if (completed) throw new Error(`${session.id} counts as completed, and nobody has verified it`);
}

export const idOf = (task: number) => `t${task}`;

/** Carries a step out; returns the refusal or the answer with its events, `null` where there was nothing to do it with. */
export function take(sim: Simulation, step: Step): Done<unknown> | null {
  const { state } = sim;
  // Those that live come first, so that most steps do something.
  const sessions = [...activeSessions(sim), ...state.sessions.ended.values()];
  const sessionAt = (at: number): Session | undefined => sessions[at % Math.max(1, sessions.length)];
  const archived = (id: string) => ({ archived: state.tasks.byId.has(id) ? undefined : sim.shelf.get(id) });
  switch (step.kind) {
    case "create": {
      const { kind: _, task: at, dependsOn, ...rest } = step;
      return sim.execute(
        createTask({ id: idOf(at), title: `the task ${at}`, ...rest, dependsOn: dependsOn.map(idOf) }),
      );
    }
    case "change": {
      const taskId = idOf(step.task);
      const { dependsOn, ...rest } = step.changes;
      const changes = { ...rest, ...(dependsOn === undefined ? {} : { dependsOn: dependsOn.map(idOf) }) };
      const ifVersion = step.stale ? 1 : undefined;
      return sim.execute(changeTask({ taskId, changes, ifVersion, ...archived(taskId) }));
    }
    case "by hand": {
      const { task: at, kind: _, ...changes } = step;
      return sim.execute(changeTask({ taskId: idOf(at), changes, ...archived(idOf(at)) }));
    }
    case "release hold": {
      const taskId = idOf(step.task);
      const hold = step.held ? { code: "MANUAL", message: "wait for Diego" } : null;
      return sim.execute(changeTask({ taskId, changes: { hold }, ...archived(taskId) }));
    }
    case "delete":
      return sim.execute(deleteTask(idOf(step.task)));
    case "comment": {
      const taskId = idOf(step.task);
      return sim.execute(addComment({ taskId, author: "diego", content: "a word", ...archived(taskId) }));
    }
    case "dispatch": {
      const { kind: _, taskIds, ...options } = step;
      return sim.execute(dispatch({ ...options, taskIds: taskIds?.map(idOf) }));
    }
    case "callback": {
      const session = sessionAt(step.session);
      if (session === undefined) return null;
      const done = sim.execute(
        callback({
          taskId: session.taskId,
          status: step.status,
          sessionId: step.name ? session.id : undefined,
          sessionKey: step.key,
          usage: step.usage,
          callerSessionId: step.caller === undefined ? undefined : sessionAt(step.caller)?.id,
          ...(step.status === "completed" ? { result: "the result" } : {}),
          ...(step.status === "failed" ? { error: "it went wrong" } : {}),
        }),
      );
      for (const one of sessions) expectUnverified(one, done);
      return done;
    }
    case "run started": {
      const session = sessionAt(step.session);
      if (session === undefined || !hasRun(session)) return null;
      return sim.execute(runStarted(session.id, { host: "here", pid: 100 + step.session }));
    }
    case "run ended": {
      const session = sessionAt(step.session);
      if (session === undefined || !hasRun(session)) return null;
      const { status, code, usd, verified } = step;
      const outcome =
        status === "completed"
          ? { status, result: "its output" }
          : { status, error: { code, message: "it ended badly" } };
      const usage = usd === null ? undefined : { costUsd: usd };
      const error = { code: "VERIFICATION_FAILED", message: "the tests say no" };
      const verification: Verification | undefined = verified ? { ok: true } : { ok: false, error };
      const done = sim.execute(
        runEnded({
          sessionId: session.id,
          exit: { exitCode: status === "completed" ? 0 : 1 },
          outcome,
          usage,
          verification: verified === undefined ? undefined : verification,
        }),
      );
      if (verified !== true) expectUnverified(session, done);
      return done;
    }
    case "cancel": {
      const session = sessionAt(step.session);
      return session === undefined ? null : sim.execute(cancelSession(session.id, "diego"));
    }
    case "expire":
      return sim.execute(expire(() => sim.context.now - step.silentMs));
    case "lock": {
      const session = sessionAt(step.session);
      if (session === undefined || step.files.length === 0) return null;
      const mode = step.shared ? "shared" : "exclusive";
      return sim.execute(acquireLock({ sessionId: session.id, paths: step.files, mode, ttlMs: step.ttlMs }));
    }
    case "renew":
    case "unlock": {
      const ids = [...state.locks.byId.keys()];
      const lockId = ids[step.lock % Math.max(1, ids.length)];
      const callerSessionId = step.caller === undefined ? undefined : sessionAt(step.caller)?.id;
      if (lockId === undefined) return null;
      if (step.kind === "renew") return sim.execute(renewLock({ lockId, callerSessionId }));
      // A task's own lock lives as long as its run.
      return lockId.startsWith("lock_ses") ? null : sim.execute(releaseLock(lockId, callerSessionId));
    }
    case "pause":
      return sim.execute(pauseAgent(step.agent, "it costs too much"));
    case "resume":
      return sim.execute(resumeAgent(step.agent));
    case "unavailable":
      if (step.is) sim.unavailable.set(step.agent, { reason: "not reached", noticedAt: sim.context.now });
      else sim.unavailable.delete(step.agent);
      return null;
    case "archive":
      return putAway(
        sim,
        step.tasks.map(idOf),
        step.sessions.flatMap((at) => sessionAt(at)?.id ?? []),
      );
    case "answered": {
      const event: Event = {
        type: "request.answered",
        at: sim.context.now,
        answer: answer(`k${step.key}`, "x".repeat(step.size)),
      };
      sim.happen(event);
      return { ok: true, answer: null, events: [event] };
    }
    case "time passes":
      sim.pass(step.ms);
      return null;
  }
}

/** As the archiver does: first on the shelf, then out of the hot state. */
function putAway(sim: Simulation, taskIds: readonly string[], sessionIds: readonly string[]): Done<null> {
  const before = taskIds.flatMap((id) => sim.state.tasks.byId.get(id) ?? []);
  const done = sim.execute(archive(taskIds, sessionIds));
  for (const task of before) {
    if (sim.state.tasks.byId.has(task.id)) continue;
    sim.archived.add(task.id);
    sim.shelf.set(task.id, task);
  }
  return done;
}

export function answer(key: string, body: string) {
  return { key, bodyHash: "hash", status: 200, headers: {}, body, secrets: [] };
}

export function activeSessions(world: World): readonly Session[] {
  return [...world.state.sessions.byId.values()].filter(isActive);
}

/** mulberry32: small, and the same everywhere. */
export function seededRandom(seed: number): () => number {
  let a = seed >>> 0;
  return () => {
    a = (a + 0x6d2b79f5) >>> 0;
    let t = a;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}
