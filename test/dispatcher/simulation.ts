/**
 * Random lives of a whole daemon: clients, agents, clocks, a disk that fails, a process that dies at any moment. After every
 * step the rules are looked at that must hold whatever happens; in the end everything has to come to rest.
 */
import { deepStrictEqual } from "node:assert/strict";
import { pauseAgent, resumeAgent } from "../../src/core/decide/agents.ts";
import { dispatch } from "../../src/core/decide/dispatch.ts";
import { acquireLock, releaseLock, renewLock } from "../../src/core/decide/locks.ts";
import { callback } from "../../src/core/decide/report.ts";
import { cancelSession } from "../../src/core/decide/sessions.ts";
import { addComment, changeTask, createTask, deleteTask } from "../../src/core/decide/tasks.ts";
import type { Command } from "../../src/core/decision.ts";
import type { Event } from "../../src/core/event.ts";
import { conflicts } from "../../src/core/lock.ts";
import { isActive, type Session } from "../../src/core/session.ts";
import type { State } from "../../src/core/state.ts";
import { PRIORITIES, TASK_STATUSES } from "../../src/core/task.ts";
import { HOUR, MINUTE, SECOND, START } from "../core/world.ts";
import { Random } from "../support/random.ts";
import { type Daemon, killDaemon, MAX_CONCURRENT, type Machine, SIMULATED_AGENTS, startDaemon } from "./daemon.ts";
import { type Behaviour, Host, VirtualArchive, VirtualClock, VirtualDisk } from "./machine.ts";

const STEPS = {
  command: 60,
  commit: 40,
  time: 30,
  crash: 3,
  reboot: 0.5,
  clockJump: 1,
  diskFull: 1,
  diskFree: 4,
};

const COMMANDS = {
  create: 10,
  change: 3,
  move: 3,
  remove: 2,
  comment: 3,
  dispatch: 22,
  report: 14,
  cancel: 1,
  lock: 4,
  renew: 1,
  unlock: 2,
  pause: 0.3,
  resume: 3,
  releaseHold: 12,
};

const TASKS = 8;
const FILES = [[], [], ["src/**"], ["src/a.ts"], ["lib/*.ts"], ["app/src/a.ts"]];
const WORKSPACES = [null, null, "/w", "/w/app"];
const ASSIGNEES = ["copilot", "copilot", "gemini", "claude", "claude", "local", "auto", "diego", "nobody"];
const KEYS = ["agent:main:subagent:1", "agent:main:subagent:2"];
/** Longer than any clock of the agents and any number of retries needs. */
const REST_MS = 72 * HOUR;

export interface Told {
  readonly steps: number;
  readonly crashes: number;
  readonly failures: number;
  readonly acknowledged: number;
  readonly sessions: number;
  readonly outcomes: Readonly<Record<string, number>>;
}

export class Simulation {
  readonly #random: Random;
  readonly #machine: Machine;
  #daemon: Daemon;
  /** This life of the daemon dispatches by itself. */
  #auto: boolean;
  #steps = 0;
  #crashes = 0;
  #failures = 0;
  /** What a client was told is done: how to find it in the journal. */
  readonly #acknowledged: { readonly what: string; readonly isIn: (event: Event) => boolean }[] = [];
  /** So much of the acknowledged was found already. */
  #found = 0;
  #history: string[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed);
    const random = this.#random;
    const clock = new VirtualClock(START);
    const disk = new VirtualDisk();
    this.#machine = {
      clock,
      disk,
      archive: new VirtualArchive(),
      host: new Host(clock, disk, () => behaviour(random)),
      random: () => random.next(),
      ids: 0,
    };
    this.#auto = random.chance(0.5);
    this.#daemon = startDaemon(this.#machine, { auto: this.#auto });
  }

  /** So many steps; `dieAfter`: the process also dies right after these. @throws AssertionError with what happened before */
  async live(steps: number, dieAfter: ReadonlySet<number> = new Set()): Promise<void> {
    for (let step = 0; step < steps; step++) {
      await this.#guarded(async () => {
        await this.#step(this.#random.weighted(STEPS));
        if (dieAfter.has(step)) await this.#crash(this.#machine.disk.waiting);
        await this.#look();
      });
    }
  }

  /** No more clients, no more faults: with time alone, everything ends. */
  async rest(): Promise<Told> {
    await this.#guarded(async () => {
      this.#machine.disk.full = false;
      for (let restMs = REST_MS; restMs > 0; ) {
        // In great strides only where nothing is under way.
        const stride = this.#machine.host.living.length > 0 ? 30 * SECOND : 5 * MINUTE;
        restMs -= stride;
        await this.#pass(stride);
        await this.#commitAll();
        if (this.#isAtRest()) break;
      }
      await this.#look();
      const { state } = this.#daemon.dispatcher;
      deepStrictEqual([...state.sessions.activeByTask.keys()], [], "every session has ended");
      deepStrictEqual([...state.locks.byId.keys()], [], "every lock is free");
      deepStrictEqual(
        this.#machine.host.living.map(({ spec }) => spec.sessionId),
        [],
        "no program is left",
      );
    });
    const outcomes: Record<string, number> = {};
    for (const { event } of this.#machine.disk.stored) {
      if (event.type === "session.settled") outcomes[event.outcome.status] = (outcomes[event.outcome.status] ?? 0) + 1;
    }
    return {
      steps: this.#steps,
      crashes: this.#crashes,
      failures: this.#failures,
      acknowledged: this.#acknowledged.length,
      sessions: [...Object.values(outcomes)].reduce((sum, count) => sum + count, 0),
      outcomes,
    };
  }

  #isAtRest(): boolean {
    const { state } = this.#daemon.dispatcher;
    const now = this.#machine.clock.now();
    const isRetried = [...state.tasks.byId.values()].some(
      ({ status, retryAt }) => status === "todo" && (retryAt ?? 0) > now,
    );
    return state.sessions.activeByTask.size === 0 && state.locks.byId.size === 0 && !(isRetried && this.#auto);
  }

  async #guarded(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      (error as Error).message += `\n\nthe last of ${this.#steps} steps:\n${this.#history.slice(-25).join("\n")}`;
      throw error;
    }
  }

  async #step(kind: keyof typeof STEPS): Promise<void> {
    this.#steps++;
    const { disk, clock, host } = this.#machine;
    const random = this.#random;
    switch (kind) {
      case "command":
        return this.#command(random.weighted(COMMANDS));
      case "commit":
        this.#say("commit", disk.waiting);
        if (disk.full && disk.isWaiting) this.#failures++;
        disk.commit(random.below(disk.waiting + 1));
        return turns();
      case "time":
        return this.#pass(random.of([1, 200, SECOND, 10 * SECOND, MINUTE, 11 * MINUTE, 31 * MINUTE]) ?? 1);
      case "crash":
        return this.#crash(random.below(disk.waiting + 1));
      case "reboot":
        host.reboot();
        return this.#crash(random.below(disk.waiting + 1));
      case "clockJump": {
        const ms = random.of([-HOUR, -SECOND, SECOND, HOUR, 3 * HOUR]) ?? 0;
        this.#say("the clock is set", ms);
        return clock.jump(ms);
      }
      case "diskFull":
        this.#say("the disk is full");
        disk.full = true;
        return;
      case "diskFree":
        disk.full = false;
    }
  }

  async #crash(kept: number): Promise<void> {
    this.#crashes++;
    this.#say("crash", `${kept} of ${this.#machine.disk.waiting} appends are on disk`);
    killDaemon(this.#machine, kept);
    await turns();
    this.#machine.disk.full = false;
    this.#auto = this.#random.chance(0.5);
    this.#daemon = startDaemon(this.#machine, { auto: this.#auto });
    await turns();
  }

  /** Time goes from one timer to the next; what they write is committed on the way, or waits, as chance will have it. */
  async #pass(ms: number): Promise<void> {
    const { clock, disk, host } = this.#machine;
    this.#say("time", ms);
    let left = ms;
    // The daemon's tick is one of thousands in an hour: most of them are let pass in one go.
    for (let ticks = 0; left > 0 && ticks < 12; ticks++) {
      const { ran, passed } = clock.step(left);
      left -= passed;
      host.move();
      await turns();
      if (disk.isWaiting && this.#random.chance(0.7)) disk.commit(disk.waiting);
      await turns();
      if (!ran) break;
      if (ticks === 5 && left > MINUTE) left -= this.#leap(left - SECOND);
    }
    host.move();
    await turns();
  }

  /** Lets time go by without its timers, as a machine that sleeps does. */
  #leap(ms: number): number {
    const { clock } = this.#machine;
    clock.leap(ms);
    return ms;
  }

  async #commitAll(): Promise<void> {
    for (let round = 0; round < 20 && this.#machine.disk.isWaiting; round++) {
      this.#machine.disk.commit(0);
      await turns();
    }
  }

  async #command(kind: keyof typeof COMMANDS): Promise<void> {
    const random = this.#random;
    const { state } = this.#daemon.dispatcher;
    const taskId = `t${random.below(TASKS)}`;
    const sessions = [...state.sessions.byId.values()];
    const active = sessions.filter(isActive);
    const session = random.chance(0.85) ? random.of(active) : random.of(sessions);
    switch (kind) {
      case "create": {
        const task = { id: taskId, title: taskId, ...this.#fields(), status: "todo" as const };
        return this.#send(`create ${taskId} for ${task.assignee}`, createTask(task), (event) =>
          event.type === "task.created" && event.task.id === taskId ? `task ${taskId}` : null,
        );
      }
      case "change":
        return this.#send(`change ${taskId}`, changeTask({ taskId, changes: this.#fields() }));
      case "move": {
        const status = random.of(TASK_STATUSES) ?? "todo";
        return this.#send(`move ${taskId} to ${status}`, changeTask({ taskId, changes: { status } }));
      }
      case "releaseHold":
        return this.#send(`release ${taskId}`, changeTask({ taskId, changes: { hold: null, status: "todo" } }));
      case "remove":
        return this.#send(`delete ${taskId}`, deleteTask(taskId));
      case "comment": {
        const content = `word ${this.#steps}`;
        return this.#send(`comment on ${taskId}`, addComment({ taskId, author: "diego", content }), (event) =>
          event.type === "comment.added" && event.comment.content === content ? `comment ${content}` : null,
        );
      }
      case "dispatch":
        return this.#send("dispatch", dispatch({ limit: random.chance(0.2) ? random.below(3) : undefined }));
      case "report": {
        if (session === undefined) return;
        const status = random.of(["running", "completed", "completed", "failed"] as const) ?? "running";
        const report = {
          taskId: session.taskId,
          status,
          sessionId: random.chance(0.8) ? session.id : undefined,
          sessionKey: random.chance(0.6) ? random.of(KEYS) : undefined,
          result: "the result",
        };
        this.#send(`${session.id} reports ${status}`, callback(report), (event) =>
          event.type === "session.settled" && event.sessionId === session.id ? `the end of ${session.id}` : null,
        );
        // Agents repeat themselves.
        if (random.chance(0.2)) this.#send(`${session.id} reports ${status} again`, callback(report));
        return;
      }
      case "cancel":
        if (session !== undefined) this.#send(`cancel ${session.id}`, cancelSession(session.id, "diego"));
        return;
      case "lock": {
        if (session === undefined) return;
        const paths = random.of(FILES.slice(2)) ?? ["x"];
        const mode = random.chance(0.5) ? "shared" : "exclusive";
        const ttlMs = random.chance(0.5) ? MINUTE : undefined;
        return this.#send(`lock for ${session.id}`, acquireLock({ sessionId: session.id, paths, mode, ttlMs }));
      }
      case "renew":
      case "unlock": {
        const lockId = random.of([...state.locks.byId.keys()]);
        if (lockId === undefined) return;
        return this.#send(`${kind} ${lockId}`, kind === "renew" ? renewLock({ lockId }) : releaseLock(lockId));
      }
      case "pause":
        return this.#send("pause", pauseAgent(random.of(["copilot", "claude"]) ?? "copilot", "no"));
      case "resume":
        return this.#send("resume", resumeAgent(random.of(["copilot", "claude"]) ?? "copilot"));
    }
  }

  #fields() {
    const random = this.#random;
    return {
      assignee: random.of(ASSIGNEES) ?? "copilot",
      priority: random.of(PRIORITIES) ?? "medium",
      files: random.of(FILES) ?? [],
      workspace: random.of(WORKSPACES) ?? null,
      requiresReview: random.chance(0.2),
      dependsOn: random.chance(0.1) ? [`t${random.below(TASKS)}`] : [],
      maxAttempts: random.of([null, 1, 2]) ?? null,
    };
  }

  /** Nobody waits for the answer; what it acknowledges has to be on disk from then on. */
  #send<A>(what: string, command: Command<A>, effect: (event: Event) => string | null = () => null): void {
    this.#say(what);
    const decided: Event[] = [];
    const seen: Command<A> = (state, context) => {
      const decision = command(state, context);
      if (decision.ok) decided.push(...decision.events);
      return decision;
    };
    this.#daemon.dispatcher.execute(seen).then(
      ({ ok }) => {
        if (!ok) return;
        for (const event of decided) {
          const effected = effect(event);
          if (effected !== null) this.#acknowledged.push({ what: effected, isIn: (one) => effect(one) === effected });
        }
      },
      // The disk failed: whether it happened is unknown.
      () => {},
    );
  }

  /** The rules that hold after every step. */
  async #look(): Promise<void> {
    const { host, disk } = this.#machine;
    const { dispatcher } = this.#daemon;
    const { state } = dispatcher;
    deepStrictEqual(host.wrong, []);
    deepStrictEqual(brokenRules(state), []);
    for (const { what, isIn } of this.#acknowledged.slice(this.#found)) {
      deepStrictEqual(disk.stored.some(({ event }) => isIn(event)) ? "on disk" : "lost", "on disk", what);
    }
    this.#found = this.#acknowledged.length;
    for (const { spec } of host.living) {
      const session = state.sessions.byId.get(spec.sessionId);
      const isKnown = session !== undefined && isActive(session);
      // While the disk fails, the head may be about to be dropped.
      deepStrictEqual(isKnown || !dispatcher.healthy ? "known" : "unknown", "known", `the run ${spec.sessionId}`);
    }
    if (this.#steps % 10 === 0 && dispatcher.isSettled) {
      deepStrictEqual(plain(disk.replay()), plain(state), "the disk says what the daemon says");
      deepStrictEqual(metricsOf(disk.stored.map(({ event }) => event)), countsOf(state), "the counts add up");
    }
  }

  #say(...words: readonly (string | number)[]): void {
    this.#history.push(`${this.#steps}: ${words.join(" ")}`);
  }
}

function behaviour(random: Random): Behaviour {
  return {
    kind: random.weighted({ succeeds: 6, fails: 3, hangs: 1, refuses: 0.5 }),
    ms: random.of([10, SECOND, 20 * SECOND, 3 * MINUTE, 20 * MINUTE]) ?? SECOND,
    outputEveryMs: random.of([0, 5 * SECOND, MINUTE]) ?? 0,
  };
}

/** Lets everything happen that waits for nothing but its turn. */
async function turns(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
}

function brokenRules(state: State): string[] {
  const broken: string[] = [];
  const active = [...state.sessions.byId.values()].filter(isActive);
  const byTask = new Map<string, Session>();
  const used = new Map<string, number>();
  for (const session of active) {
    const other = byTask.get(session.taskId);
    if (other !== undefined) broken.push(`${session.taskId} has two sessions: ${other.id} and ${session.id}`);
    byTask.set(session.taskId, session);
    used.set(session.agent, (used.get(session.agent) ?? 0) + 1);
  }
  for (const [agent, count] of used) {
    const { maxConcurrent = 0 } = SIMULATED_AGENTS.get(agent) ?? {};
    if (count > maxConcurrent) broken.push(`${agent} has ${count} sessions and ${maxConcurrent} slots`);
  }
  if (active.length > MAX_CONCURRENT) broken.push(`${active.length} sessions in all, the limit is ${MAX_CONCURRENT}`);
  const locks = [...state.locks.byId.values()];
  for (const lock of locks) {
    const holder = state.sessions.byId.get(lock.sessionId);
    if (holder === undefined || !isActive(holder))
      broken.push(`${lock.id} is held by ${lock.sessionId}, which is over`);
    for (const other of locks) {
      if (other.sessionId <= lock.sessionId || lock.expiresAt !== undefined || other.expiresAt !== undefined) continue;
      if (conflicts(lock, other)) broken.push(`${lock.id} and ${other.id} hold the same files`);
    }
  }
  for (const task of state.tasks.byId.values()) {
    if (task.status !== "in_progress" || SIMULATED_AGENTS.get(task.assignee)?.method == null) continue;
    if (!state.sessions.activeByTask.has(task.id) && task.assignee !== "auto")
      broken.push(`${task.id} is in progress, and nobody works on it`);
  }
  return broken;
}

type Counts = Record<string, { dispatched: number; completed: number; failed: number; cancelled: number }>;

/** Counted anew from everything that ever happened. */
function metricsOf(events: readonly Event[]): Counts {
  const counts: Counts = {};
  const of = (agent: string) => {
    counts[agent] ??= { dispatched: 0, completed: 0, failed: 0, cancelled: 0 };
    return counts[agent];
  };
  for (const event of events) {
    if (event.type === "session.started") of(event.session.agent).dispatched++;
    else if (event.type === "session.settled") {
      const { status } = event.outcome;
      of(event.agent)[status === "completed" || status === "cancelled" ? status : "failed"]++;
    }
  }
  return counts;
}

function countsOf(state: State): Counts {
  const counts: Counts = {};
  for (const [agent, { dispatched, completed, failed, cancelled }] of state.metrics.byAgent) {
    const unsettled = [...(state.sessions.activeByAgent.get(agent)?.values() ?? [])].filter(
      ({ status }) => status !== "stopping",
    );
    deepStrictEqual(dispatched, completed + failed + cancelled + unsettled.length, `the sessions of ${agent}`);
    counts[agent] = { dispatched, completed, failed, cancelled };
  }
  return counts;
}

/** Without what is derived in another order after a restart. */
function plain(state: State) {
  return JSON.parse(
    JSON.stringify({
      tasks: [...state.tasks.byId.values()].sort(byId),
      sessions: [...state.sessions.byId.values()].sort(byId),
      locks: [...state.locks.byId.values()].sort(byId),
      pauses: [...state.ledger.pauses],
      fence: state.ledger.fence,
    }),
  );
}

function byId(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? -1 : 1;
}
