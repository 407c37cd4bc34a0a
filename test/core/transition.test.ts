import { deepStrictEqual } from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import { pauseAgent, resumeAgent } from "../../src/core/decide/agents.ts";
import { dispatch } from "../../src/core/decide/dispatch.ts";
import { acquireLock, releaseLock, renewLock } from "../../src/core/decide/locks.ts";
import { callback, runEnded } from "../../src/core/decide/report.ts";
import { archive } from "../../src/core/decide/sessions.ts";
import { addComment, changeTask, deleteTask } from "../../src/core/decide/tasks.ts";
import type { Event, StoredEvent } from "../../src/core/event.ts";
import { loadLockManager } from "../../src/core/lock-manager.ts";
import { loadSessionStore } from "../../src/core/session-store.ts";
import { emptyState, replayFrom, type State } from "../../src/core/state.ts";
import { loadTaskBoard } from "../../src/core/task-board.ts";
import { transition } from "../../src/core/transition.ts";
import { checkEvent, checkState } from "./invariants.ts";
import { answer, aSimulation, type Step, steps, take } from "./simulation.ts";
import { aRunningWorld, MINUTE } from "./world.ts";

type StoreName = keyof State;
const STORES = Object.keys(emptyState()) as StoreName[];

interface Life {
  readonly journal: readonly StoredEvent[];
  readonly final: State;
  /** Each store as it was at each seq. */
  readonly captured: readonly State[];
  readonly refusals: ReadonlyMap<string, number>;
}

/** Lives through the steps, checks every rule after each, and keeps a copy of all stores after every `everyNth`. */
function live(seed: number, taken: readonly Step[], everyNth = Number.POSITIVE_INFINITY): Life {
  const sim = aSimulation(seed);
  const captured: State[] = [structuredClone(sim.state)];
  const refusals = new Map<string, number>();
  const versions = new Map<string, number>();
  for (const [index, step] of taken.entries()) {
    const before = sim.journal.length;
    const done = take(sim, step);
    for (const { event } of sim.journal.slice(before)) {
      checkEvent(event);
      deepFreeze(event);
      if (event.type === "task.deleted") versions.delete(event.taskId);
    }
    checkState(sim.state, sim.context);
    for (const { id, version } of sim.state.tasks.byId.values()) {
      if (version < (versions.get(id) ?? 0)) throw new Error(`the version of ${id} went back`);
      versions.set(id, version);
    }
    if (done !== null && !done.ok) refusals.set(done.refusal.code, (refusals.get(done.refusal.code) ?? 0) + 1);
    if (index % everyNth === 0) captured.push(structuredClone(sim.state));
  }
  return { journal: sim.journal, final: sim.state, captured, refusals };
}

const seed = fc.nat({ max: 1_000_000 });

/** Which stores an event of a type can change; in all others it only moves `seq` on. */
const CHANGES: Readonly<Record<Event["type"], readonly StoreName[]>> = {
  "task.created": ["tasks"],
  "task.changed": ["tasks"],
  "task.deleted": ["tasks"],
  "task.archived": ["tasks"],
  "task.restored": ["tasks"],
  "comment.added": ["tasks"],
  "session.started": ["tasks", "sessions", "locks", "metrics", "ledger"],
  "session.handed_out": ["sessions"],
  "session.running": ["sessions"],
  "session.reported": ["sessions"],
  "session.settled": ["tasks", "sessions", "metrics"],
  "session.ended": ["sessions", "locks", "metrics"],
  "session.archived": ["sessions"],
  "lock.acquired": ["locks", "ledger"],
  "lock.renewed": ["locks"],
  "lock.released": ["locks"],
  "agent.paused": ["ledger"],
  "agent.resumed": ["ledger"],
  "request.answered": ["ledger"],
};
const EVENT_TYPES = Object.keys(CHANGES) as Event["type"][];

t.test("an event changes the stores whose slice it is, and moves every store's seq on", async (t) => {
  const state = emptyState();
  const seen = new Map<string, Set<StoreName>>();
  for (const stored of oneOfEach()) {
    const before = structuredClone(state);
    transition(state, stored);
    const changed = seen.get(stored.event.type) ?? new Set();
    seen.set(stored.event.type, changed);
    for (const name of STORES) {
      if (state[name].seq !== stored.seq) t.fail(`${name} is at ${state[name].seq}, not ${stored.seq}`);
      if (!isDeepStrictEqual({ ...state[name], seq: 0 }, { ...before[name], seq: 0 })) changed.add(name);
    }
  }
  for (const type of EVENT_TYPES) {
    t.strictSame([...(seen.get(type) ?? [])].sort(), [...CHANGES[type]].sort(), type);
  }
});

/** A short history with an event of every type in it. */
function oneOfEach(): readonly StoredEvent[] {
  const world = aRunningWorld({ assignee: "claude", files: ["src"], verify: ["tests"] });
  world.pass(10 * MINUTE);
  world.must(dispatch({}));
  world.must(callback({ taskId: "t1", status: "running", sessionKey: "k" }));
  const lock = world.must(acquireLock({ sessionId: world.sessionId, paths: ["x"], mode: "shared", ttlMs: MINUTE }));
  world.pass(1);
  world.must(renewLock({ lockId: lock.id }));
  world.must(releaseLock(lock.id));
  world.must(pauseAgent("claude", "no"));
  world.must(resumeAgent("claude"));
  world.must(callback({ taskId: "t1", status: "completed", usage: { inputTokens: 1 } }));
  world.must(
    runEnded({ sessionId: world.sessionId, exit: {}, outcome: { status: "completed" }, verification: { ok: true } }),
  );
  const archived = world.task("t1");
  world.must(archive(["t1"], [world.sessionId]));
  world.must(addComment({ taskId: "t1", author: "diego", content: "back", archived }));
  world.must(changeTask({ taskId: "t1", changes: { title: "better" } }));
  world.must(deleteTask("t1"));
  world.happen({ type: "request.answered", at: world.context.now, answer: answer("k", "body") });
  return world.journal;
}

t.test("whatever happens in whatever order, no rule is ever broken", async (t) => {
  let taken = 0;
  const seen = new Map<string, number>();
  fc.assert(
    fc.property(seed, steps(150), (seed, list) => {
      const { journal, refusals } = live(seed, list);
      taken += list.length;
      for (const { event } of journal) seen.set(event.type, (seen.get(event.type) ?? 0) + 1);
      for (const [code, times] of refusals) seen.set(code, (seen.get(code) ?? 0) + times);
    }),
    { numRuns: 500 },
  );
  t.comment(`${taken} steps: ${[...seen].map(([what, times]) => `${what} ${times}`).join(", ")}`);
  t.ok(taken > 20_000, `${taken} steps`);
  for (const type of EVENT_TYPES) t.ok((seen.get(type) ?? 0) > 0, `${type} happened`);
});

t.test("stores captured at different times replay to one state", async (t) => {
  let replays = 0;
  fc.assert(
    fc.property(seed, steps(120), fc.array(fc.nat(), { minLength: 5, maxLength: 5 }), (seed, list, picks) => {
      const { journal, final, captured } = live(seed, list, 7);
      const mix = Object.fromEntries(
        STORES.map((name, at) => {
          const state = captured[(picks[at] ?? 0) % captured.length] as State;
          return [name, structuredClone(state[name])];
        }),
      ) as unknown as State;
      replay(mix, journal);
      replays++;
      deepStrictEqual(ordered(mix), ordered(final));
    }),
    { numRuns: 150 },
  );
  t.pass(`${replays} mixes`);
});

t.test("stores loaded from their records replay to the same state", async (t) => {
  fc.assert(
    fc.property(seed, steps(120), fc.nat(), (seed, list, pick) => {
      const { journal, final, captured } = live(seed, list, 7);
      const from = structuredClone(captured[pick % captured.length] as State);
      const records = <T>(store: { readonly byId: ReadonlyMap<string, T> }) =>
        JSON.parse(JSON.stringify([...store.byId.values()])) as T[];
      const loaded: State = {
        ...from,
        tasks: loadTaskBoard(from.tasks.seq, records(from.tasks)),
        sessions: loadSessionStore(from.sessions.seq, records(from.sessions)),
        locks: loadLockManager(from.locks.seq, records(from.locks)),
      };
      replay(loaded, journal);
      deepStrictEqual(loaded, final);
      deepStrictEqual([...loaded.tasks.byId.keys()], [...final.tasks.byId.keys()]);
      deepStrictEqual([...loaded.sessions.byId.keys()], [...final.sessions.byId.keys()]);
    }),
    { numRuns: 150 },
  );
  t.pass();
});

t.test("an event that a store has seen already changes nothing", async (t) => {
  fc.assert(
    fc.property(seed, steps(80), (seed, list) => {
      const { journal, final } = live(seed, list);
      const before = structuredClone(final);
      for (const stored of journal) transition(final, stored);
      deepStrictEqual(ordered(final), ordered(before));
    }),
    { numRuns: 20 },
  );
  t.pass();
});

/** As at a start: from the oldest seq that some store lacks on, with events as the journal gives them back. */
function replay(state: State, journal: readonly StoredEvent[]): void {
  const from = replayFrom(state);
  for (const stored of journal)
    if (stored.seq >= from) transition(state, JSON.parse(JSON.stringify(stored)) as StoredEvent);
}

/** deepStrictEqual does not look at the order of a Map; here it counts. */
function ordered(value: unknown): unknown {
  if (value instanceof Map) return [...value].map(([key, inner]) => [key, ordered(inner)]);
  if (value instanceof Set) return [...value].map(ordered);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, ordered(inner)]));
}

/** A fold that changed a record in place would throw. */
function deepFreeze(value: unknown): void {
  if (typeof value !== "object" || value === null || Object.isFrozen(value)) return;
  Object.freeze(value);
  for (const inner of Object.values(value)) deepFreeze(inner);
}
