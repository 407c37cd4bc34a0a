/**
 * Random lives of a whole daemon: clients, agents, clocks, a disk that fails, a process that dies at any moment. After every
 * step the rules are looked at that must hold whatever happens; in the end everything has to come to rest.
 *
 * Each step draws from a chance of its own, made of the life's seed and the step's number: with steps left out, the others do
 * what they did before, as far as what they meet is still there.
 */
import { deepStrictEqual } from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { pauseAgent, resumeAgent } from "../../src/core/decide/agents.ts";
import { dispatch } from "../../src/core/decide/dispatch.ts";
import { acquireLock, releaseLock, renewLock } from "../../src/core/decide/locks.ts";
import { type Callback, type CallbackAnswer, callback } from "../../src/core/decide/report.ts";
import { archive, cancelSession } from "../../src/core/decide/sessions.ts";
import { addComment, changeTask, createTask, deleteTask } from "../../src/core/decide/tasks.ts";
import type { Command } from "../../src/core/decision.ts";
import type { Event, RecordedAnswer } from "../../src/core/event.ts";
import { conflicts } from "../../src/core/lock.ts";
import { plan } from "../../src/core/plan.ts";
import { isActive, type Session } from "../../src/core/session.ts";
import { emptyState, type State } from "../../src/core/state.ts";
import { PRIORITIES, TASK_STATUSES } from "../../src/core/task.ts";
import { transition } from "../../src/core/transition.ts";
import { archiveSome } from "../../src/dispatcher/archiver.ts";
import { StorageUnavailable } from "../../src/dispatcher/ports.ts";
import { STATE_FILES } from "../../src/journal/stores.ts";
import { checkState } from "../core/invariants.ts";
import { HOUR, MINUTE, SECOND, START } from "../core/world.ts";
import { Random } from "../support/random.ts";
import { type Daemon, killDaemon, type Machine, SIMULATED_AGENTS, startDaemon } from "./daemon.ts";
import { type Behaviour, Host, sessionOf, VirtualArchive, VirtualClock, VirtualDisk } from "./machine.ts";
import { Recount } from "./recount.ts";
import { replayed } from "./state-files.ts";

const STEPS = {
  command: 60,
  commit: 40,
  time: 30,
  checkpoint: 8,
  crash: 3,
  reboot: 0.5,
  restart: 0.7,
  clockJump: 1.2,
  diskFull: 1,
  diskFree: 10,
};

const COMMANDS = {
  create: 16,
  change: 3,
  move: 3,
  remove: 2,
  comment: 3,
  dispatch: 26,
  report: 14,
  repeat: 5,
  cancel: 1,
  lock: 4,
  renew: 1,
  unlock: 2,
  pause: 0.3,
  resume: 3,
  releaseHold: 20,
  putAway: 1,
};

/** What becomes of a callback on its way. */
const FATES = { arrives: 10, arrivesTwice: 3, isLost: 2, isLate: 3 };

const TASKS = 12;
const FILES = [[], [], [], [], ["src/**"], ["src/a.ts"], ["lib/*.ts"], ["app/src/a.ts"]];
const WORKSPACES = [null, null, "/w", "/w/app"];
const ASSIGNEES = [
  "copilot",
  "copilot",
  "copilot",
  "gemini",
  "gemini",
  "claude",
  "claude",
  "claude",
  "local",
  "local",
  "auto",
  "diego",
  "nobody",
];
const KEYS = ["agent:main:subagent:1", "agent:main:subagent:2"];
const DAY = 24 * HOUR;
/** Of the steps: a look at everything there is costs as much as ten of them. */
const FULL_LOOK_SHARE = 0.02;
/** In the middle of what a step lets pass. */
const CRASH_IN_PASSING = 0.003;
/** Callbacks that may come again. */
const REPEATED_MAX = 20;
/** Longer than any clock of the agents and any number of retries needs. */
const REST_MS = 72 * HOUR;

/** A rule that did not hold. `rule` is the same for the same failure, whatever ids and numbers it is about. */
export class BrokenRule extends Error {
  readonly rule: string;
  /** What happened before, in order: a line for each. */
  readonly history: readonly string[];

  constructor(rule: string, by: string, history: readonly string[]) {
    super(by === "" ? rule : `${rule}: ${by}`);
    this.name = "BrokenRule";
    this.rule = rule;
    this.history = history;
  }
}

export interface Told {
  readonly steps: number;
  readonly crashes: number;
  readonly restarts: number;
  /** Commits that failed. */
  readonly failures: number;
  readonly acknowledged: number;
  /** Callbacks that came again after one like it was taken. */
  readonly doubled: number;
  readonly lostCallbacks: number;
  readonly archivedSessions: number;
  readonly archivedTasks: number;
  readonly sessions: number;
  /** Times that the state was rebuilt from a mix of files and compared. */
  readonly rebuilt: number;
  /** Sessions by how they ended. */
  readonly [outcome: string]: number;
}

export class Simulation {
  readonly #seed: number;
  #random: Random;
  readonly #machine: Machine;
  #daemon: Daemon;
  /** This life of the daemon dispatches by itself. */
  #auto = false;
  #step = 0;
  readonly #told = {
    steps: 0,
    crashes: 0,
    restarts: 0,
    failures: 0,
    acknowledged: 0,
    doubled: 0,
    lostCallbacks: 0,
    archivedSessions: 0,
    rebuilt: 0,
  };
  /** Of what the head holds, committed or not. */
  #recount: Recount;
  /** The journal alone, folded from its beginning as it grows: what every rebuilding has to come to. */
  readonly #shadow = emptyState();
  readonly #pairs = new Pairs();
  /** Commands of this life of the daemon that have no answer yet. */
  #unanswered = new Set<object>();
  #callbacks: Callback[] = [];
  /** What agents were told of their session's end, by session. */
  readonly #ends = new Map<string, string>();
  /** Rules that were broken, found where nobody can throw. */
  #broken: { readonly rule: string; readonly by: string }[] = [];
  #history: string[] = [];

  constructor(seed: number) {
    this.#seed = seed;
    this.#random = chanceOf(seed, -1);
    this.#recount = this.#newRecount();
    const clock = new VirtualClock(START);
    const disk = new VirtualDisk();
    disk.watcher = {
      appended: (events) => this.#appended(events),
      stored: (stored) => {
        freeze(stored.event);
        transition(this.#shadow, stored);
      },
      dropped: (stored) => {
        this.#recount = this.#newRecount();
        for (const { event } of stored) this.#recount.take(event);
      },
    };
    this.#machine = {
      clock,
      disk,
      archive: new VirtualArchive(),
      host: new Host(clock, disk, () => behaviour(this.#random)),
      random: () => this.#random.next(),
      ids: 0,
    };
    this.#auto = this.#random.chance(0.5);
    this.#daemon = startDaemon(this.#machine, { auto: this.#auto });
  }

  get told(): Readonly<Record<string, number>> {
    return this.#told;
  }

  /** A rejection that nobody handles. */
  unheard(error: unknown): void {
    this.#break("nothing fails but the disk", `nobody heard of ${error}`);
  }

  /** The step of this number. @throws BrokenRule */
  async take(step: number): Promise<void> {
    this.#step = step;
    this.#random = chanceOf(this.#seed, step);
    this.#told.steps++;
    await this.#guarded(async () => {
      await this.#act(this.#random.weighted(STEPS));
      this.#look();
    });
  }

  /** The process dies after the step of this number, with all that it wrote on disk. @throws BrokenRule */
  async die(step: number): Promise<void> {
    this.#step = step;
    this.#random = chanceOf(this.#seed, step + 0.5);
    await this.#guarded(async () => {
      await this.#crash(this.#machine.disk.waiting);
      this.#look();
    });
  }

  /** No more clients, no more faults: with time alone, everything ends. @throws BrokenRule */
  async rest(): Promise<Told> {
    this.#random = chanceOf(this.#seed, -2);
    const { disk, host } = this.#machine;
    await this.#guarded(async () => {
      this.#say("from here on time alone");
      disk.full = false;
      for (let restMs = REST_MS; restMs > 0; ) {
        // In great strides only where nothing is under way.
        const stride = host.living.length > 0 ? 30 * SECOND : 5 * MINUTE;
        restMs -= stride;
        await this.#pass(stride, { quiet: true });
        await this.#commitAll();
        if (this.#isAtRest()) break;
      }
      this.#look(true);
      const { state } = this.#daemon.dispatcher;
      this.#same("every session ends", [...state.sessions.activeByTask.keys()], []);
      this.#same("every lock comes free", [...state.locks.byId.keys()], []);
      this.#same(
        "every program ends",
        host.living.map(({ spec }) => spec.sessionId),
        [],
      );
      this.#same("every command is answered", this.#unanswered.size, 0);
      if (this.#auto) this.#same("what can run is started", this.#startable(), []);
    });
    const outcomes: Record<string, number> = {};
    for (const { event } of disk.stored) {
      if (event.type === "session.settled") outcomes[event.outcome.status] = (outcomes[event.outcome.status] ?? 0) + 1;
    }
    const sessions = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
    return { ...this.#told, archivedTasks: this.#machine.archive.tasks.size, sessions, ...outcomes };
  }

  #isAtRest(): boolean {
    const { state } = this.#daemon.dispatcher;
    const now = this.#machine.clock.now();
    const isRetried = [...state.tasks.byId.values()].some(
      ({ status, retryAt }) => status === "todo" && (retryAt ?? 0) > now,
    );
    if (state.sessions.activeByTask.size > 0 || state.locks.byId.size > 0) return false;
    return !this.#auto || !(isRetried || this.#startable().length > 0);
  }

  #startable(): readonly string[] {
    const { dispatcher, context } = this.#daemon;
    return plan(dispatcher.state, context(), { unattended: true }).starts.map(({ task }) => task.id);
  }

  /** Whatever goes wrong is a broken rule, a wrong call in the code itself among them. */
  async #guarded(act: () => Promise<void>): Promise<void> {
    try {
      await act();
    } catch (error) {
      if (error instanceof BrokenRule) throw error;
      const { name, message, stack = "" } = error as Error;
      const rule = (message.split("\n", 1)[0] ?? name).replace(/\d+/g, "N");
      throw new BrokenRule(rule, stack, this.#history);
    }
  }

  async #act(kind: keyof typeof STEPS): Promise<void> {
    const { disk, clock, host } = this.#machine;
    const random = this.#random;
    switch (kind) {
      case "command":
        this.#command(random.weighted(COMMANDS));
        return turns();
      case "commit":
        this.#say("commit", disk.waiting, disk.full ? "which fails" : "");
        if (disk.full && disk.isWaiting) this.#told.failures++;
        disk.commit(random.below(disk.waiting + 1));
        return turns();
      case "time":
        return this.#pass(
          random.of([1, 200, SECOND, SECOND, 10 * SECOND, 10 * SECOND, MINUTE, MINUTE, 11 * MINUTE, 31 * MINUTE]) ?? 1,
        );
      case "checkpoint": {
        if (disk.full) return;
        const names = STATE_FILES.filter(() => random.chance(0.4));
        this.#say("write", names.join(" "));
        disk.files.write(names, this.#daemon.dispatcher.state, disk.stored.length);
        return;
      }
      case "crash":
        return this.#crash(random.below(disk.waiting + 1));
      case "reboot":
        this.#say("reboot");
        host.reboot();
        return this.#crash(random.below(disk.waiting + 1));
      case "restart":
        return this.#restart();
      case "clockJump": {
        // Back by no more than the rest at the end lasts: what waits for an hour of the wall clock waits for that, too.
        const ms = random.of([-HOUR, -SECOND, SECOND, HOUR, 3 * HOUR, 31 * DAY]) ?? 0;
        this.#say("the clock is set by", ms);
        return clock.jump(ms);
      }
      case "diskFull":
        this.#say("the disk is full");
        disk.full = true;
        return;
      case "diskFree":
        if (disk.full) this.#say("the disk has room");
        disk.full = false;
    }
  }

  async #crash(kept: number): Promise<void> {
    this.#told.crashes++;
    this.#say("crash", `${kept} of ${this.#machine.disk.waiting} appends are on disk`);
    killDaemon(this.#machine, kept);
    await turns();
    this.#machine.disk.full = false;
    await this.#begin();
    this.#lookAtRebuilding();
  }

  /** A stop in good order, as of an upgrade. */
  async #restart(): Promise<void> {
    const { disk, clock, host } = this.#machine;
    const { dispatcher, supervisor, wakeUp } = this.#daemon;
    // One that stops while its disk fails leaves no more behind than one that crashes.
    if (disk.full || !dispatcher.healthy) return;
    this.#told.restarts++;
    this.#say("stop and start");
    const archived = wakeUp.stop();
    let isStopped = false;
    const stopped = Promise.all([supervisor.close(), archived])
      .then(() => dispatcher.close())
      .then(() => {
        isStopped = true;
        this.#same("a stop waits for what is under way", disk.isWaiting, false);
      });
    for (let round = 0; round < 20 && !isStopped; round++) {
      await turns();
      disk.commit(0);
    }
    await turns();
    this.#same("a stop comes to its end", isStopped, true);
    await stopped;
    this.#same("every command is answered", this.#unanswered.size, 0);
    this.#same("who stops lets go of all runs", host.followed, 0);
    disk.files.writeAll(dispatcher.state);
    clock.forgetTimers();
    await this.#begin();
  }

  async #begin(): Promise<void> {
    this.#unanswered = new Set();
    this.#auto = this.#random.chance(0.5);
    this.#daemon = startDaemon(this.#machine, { auto: this.#auto });
    await turns();
  }

  /**
   * Time goes from one timer to the next; what they write is committed on the way, or waits, as chance will have it.
   * `quiet`: nothing dies meanwhile.
   */
  async #pass(ms: number, { quiet = false } = {}): Promise<void> {
    const { clock, disk, host } = this.#machine;
    if (!quiet) this.#say("time", ms);
    let left = ms;
    // The daemon's tick is one of thousands in an hour: most of them are let pass in one go.
    const most = quiet ? 6 : 12;
    for (let ticks = 0; left > 0 && ticks < most; ticks++) {
      const { ran, passed } = clock.step(left);
      left -= passed;
      host.move();
      await turns();
      if (!quiet && this.#random.chance(CRASH_IN_PASSING)) await this.#crash(this.#random.below(disk.waiting + 1));
      if (disk.isWaiting && this.#random.chance(0.7)) {
        disk.commit(disk.waiting);
        await turns();
      }
      if (!ran) break;
      if (ticks === most / 2 - 1 && left > 2 * SECOND) left -= this.#leap(left - SECOND);
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

  #command(kind: keyof typeof COMMANDS): void {
    const random = this.#random;
    const { state } = this.#daemon.dispatcher;
    const shelf = this.#machine.archive;
    const taskId = `t${random.below(TASKS)}`;
    const archived = state.tasks.byId.has(taskId) ? undefined : shelf.tasks.get(taskId);
    const sessions = [...state.sessions.byId.values()];
    const active = sessions.filter(isActive);
    const session = random.chance(0.85) ? random.of(active) : random.of(sessions);
    switch (kind) {
      case "create": {
        const task = { id: taskId, title: taskId, ...this.#fields(), status: "todo" as const };
        return this.#send(`create ${taskId} for ${task.assignee}`, createTask(task));
      }
      case "change":
        return this.#send(`change ${taskId}`, changeTask({ taskId, changes: this.#fields(), archived }));
      case "move": {
        const status = random.of(TASK_STATUSES) ?? "todo";
        return this.#send(`move ${taskId} to ${status}`, changeTask({ taskId, changes: { status }, archived }));
      }
      case "releaseHold": {
        const changes = { hold: null, status: "todo" as const };
        return this.#send(`release ${taskId}`, changeTask({ taskId, changes, archived }));
      }
      case "remove":
        this.#send(`delete ${taskId}`, deleteTask(taskId));
        shelf.tasks.delete(taskId);
        return;
      case "comment": {
        const content = `word ${this.#step}`;
        return this.#send(`comment on ${taskId}`, addComment({ taskId, author: "diego", content, archived }));
      }
      case "dispatch":
        return this.#send("dispatch", dispatch({ limit: random.chance(0.2) ? random.below(3) : undefined }));
      case "report":
        if (session !== undefined) this.#callback(session);
        return;
      case "repeat": {
        // Agents that were told nothing try again, and agents repeat what was taken long ago.
        const report = random.of(this.#callbacks);
        if (report !== undefined) this.#report(report, "once more");
        return;
      }
      case "cancel":
        if (session !== undefined) this.#send(`cancel ${session.id}`, cancelSession(session.id, "diego"));
        return;
      case "lock": {
        if (session === undefined) return;
        const paths = random.of(FILES.slice(4)) ?? ["x"];
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
      case "putAway": {
        // The archiver waits for 550 of them, which no life has; tasks it takes as soon as a month is over.
        this.#archive();
        const ended = [...state.sessions.ended.values()].slice(0, random.below(4));
        if (ended.length === 0 || !this.#daemon.dispatcher.isSettled) return;
        for (const one of ended) shelf.sessions.set(one.id, one);
        this.#told.archivedSessions += ended.length;
        const ids = ended.map(({ id }) => id);
        return this.#send(`put away ${ids.join(" ")}`, archive([], ids));
      }
    }
  }

  /** As it will be in a month. */
  #archive(): void {
    const { archive, clock } = this.#machine;
    this.#say("archive what is done");
    archiveSome({ dispatcher: this.#daemon.dispatcher, archive, now: () => clock.now() + 31 * DAY }).catch(
      (error: unknown) => {
        if (!(error instanceof StorageUnavailable)) this.#break("nothing fails but the disk", `archiving: ${error}`);
      },
    );
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
      startTimeoutMs: random.of([null, null, 30 * SECOND]) ?? null,
      verify: random.chance(0.2) ? ["tests"] : [],
    };
  }

  /** An agent reports, and its callback meets its fate. */
  #callback(session: Session): void {
    const random = this.#random;
    const report: Callback = {
      taskId: session.taskId,
      status: random.of(["running", "completed", "completed", "failed"] as const) ?? "running",
      sessionId: random.chance(0.8) ? session.id : undefined,
      sessionKey: random.chance(0.6) ? random.of(KEYS) : undefined,
      callerSessionId: random.chance(0.3) ? session.id : undefined,
      result: "the result",
      ...(random.chance(0.3) ? { usage: { inputTokens: 3, outputTokens: 2, costUsd: 0.25 } } : {}),
    };
    const fate = random.weighted(FATES);
    if (fate === "isLost") {
      this.#told.lostCallbacks++;
      this.#say(`${session.id} reports ${report.status}, and nobody hears it`);
      return;
    }
    this.#keep(report);
    if (fate === "isLate") return;
    this.#report(report, "");
    if (fate === "arrivesTwice") this.#report(report, "again");
  }

  #mustVerify(sessionId: string): boolean {
    return this.#daemon.dispatcher.state.sessions.byId.get(sessionId)?.verify !== undefined;
  }

  #report(report: Callback, how: string): void {
    const isEnd = report.status !== "running";
    const name = report.sessionId ?? report.callerSessionId ?? report.taskId;
    const checked: Command<CallbackAnswer> = (state, context) => {
      const decision = callback(report)(state, context);
      if (!decision.ok) return decision;
      const answer = (after: State) => {
        const given = decision.answer(after);
        if (isEnd && given.duplicate) {
          this.#told.doubled++;
          if (decision.events.length > 0) this.#break("a doubled callback changes nothing", name);
        }
        return given;
      };
      return { ...decision, answer };
    };
    this.#send(`${name} reports ${report.status} ${how}`, checked, {
      done: ({ sessionId, duplicate }) => {
        if (!isEnd || duplicate) return;
        // What has still to be verified is no end yet.
        if (report.status === "completed" && this.#mustVerify(sessionId)) return;
        if (this.#ends.has(sessionId)) this.#break("the first report of an end counts", sessionId);
        this.#ends.set(sessionId, report.status);
        const outcome = this.#recount.sessions.get(sessionId)?.outcome ?? report.status;
        if (outcome !== report.status) this.#break("the first report of an end counts", `${sessionId}: ${outcome}`);
      },
      failed: () => this.#keep(report),
    });
  }

  #keep(report: Callback): void {
    this.#callbacks.push(report);
    if (this.#callbacks.length > REPEATED_MAX) this.#callbacks.shift();
  }

  /** Nobody waits for the answer; what was decided on has to be on disk once it comes. */
  #send<A>(
    what: string,
    command: Command<A>,
    { done, failed }: { done?: (answer: A) => void; failed?: () => void } = {},
  ) {
    let said = "";
    const seen: Command<A> = (state, context) => {
      const decision = command(state, context);
      said = decision.ok ? decision.events.map(({ type }) => type).join(" ") || "nothing" : decision.refusal.code;
      return decision;
    };
    const record = this.#random.chance(0.1) ? () => answerOf(what) : undefined;
    const call = {};
    const unanswered = this.#unanswered.add(call);
    const answered = this.#daemon.dispatcher.execute(seen, record);
    this.#say(what, "→", said || "the disk failed");
    const isOnDisk = this.#machine.disk.mark();
    answered
      .finally(() => unanswered.delete(call))
      .then(
        (executed) => {
          this.#told.acknowledged++;
          // Refusals and repeated answers, too, were decided on what has to last.
          if (!isOnDisk()) this.#break("what is acknowledged is on disk", what);
          if (executed.ok) done?.(executed.answer);
        },
        (error: unknown) => {
          // The disk failed: whether it happened is unknown.
          if (!(error instanceof StorageUnavailable)) this.#break("nothing fails but the disk", `${what}: ${error}`);
          failed?.();
        },
      )
      .catch((error: unknown) => this.#break("nothing fails but the disk", `${what}: ${error}`));
  }

  #appended(events: readonly Event[]): void {
    const { archive } = this.#machine;
    for (const event of events) {
      if (event.type === "task.archived") this.#onShelf(event.taskIds, archive.tasks);
      if (event.type === "session.archived") this.#onShelf(event.sessionIds, archive.sessions);
      freeze(event, (by) => this.#break("an event is the same after it was written and read", `${event.type}: ${by}`));
      this.#recount.take(event);
    }
  }

  #onShelf(ids: readonly string[], shelf: ReadonlyMap<string, unknown>): void {
    for (const id of ids) if (!shelf.has(id)) this.#break("what leaves the state is in the archive before", id);
  }

  #newRecount(): Recount {
    return new Recount((rule, by) => this.#break(rule, by));
  }

  /** The rules that hold after every step. */
  #look(full = false): void {
    const { host, disk } = this.#machine;
    const { dispatcher, unexpected, context } = this.#daemon;
    const { state } = dispatcher;
    this.#recount.compare(state);
    brokenRules(state, (rule, by) => this.#break(rule, by));
    for (const { spec } of host.living) {
      const session = state.sessions.byId.get(sessionOf(spec));
      const isKnown = session !== undefined && isActive(session);
      // While the disk fails, the head may be about to be dropped.
      if (!isKnown && dispatcher.healthy) this.#break("every run belongs to a live session", spec.sessionId);
    }
    for (const by of host.wrong)
      this.#break("a task has one run, which starts once and after its start is on disk", by);
    for (const by of unexpected) this.#break("nothing fails but the disk", by);
    const [first] = this.#broken;
    if (first !== undefined) throw new BrokenRule(first.rule, first.by, this.#history);
    if (state.tasks.seq === disk.stored.length) this.#lookAtRecords(state);
    if (!full && !this.#random.chance(FULL_LOOK_SHARE)) return;
    this.#lookAtRebuilding();
    // Locks that have run out are left to the plan: a clock that is set back brings them to life again.
    checkState(state, { ...context(), now: Number.POSITIVE_INFINITY });
  }

  /** The records of every store are what the journal says. Those that were found equal once are not compared again. */
  #lookAtRecords(state: State): void {
    const { tasks, sessions, locks, metrics, ledger } = this.#shadow;
    const pairs = this.#pairs;
    const isSame =
      pairs.same(state.tasks.byId, tasks.byId) &&
      pairs.same(state.sessions.byId, sessions.byId) &&
      pairs.same(state.locks.byId, locks.byId) &&
      pairs.same(state.metrics.byAgent, metrics.byAgent) &&
      pairs.same(state.ledger.pauses, ledger.pauses) &&
      pairs.same(state.ledger.answers, ledger.answers);
    if (!isSame) this.#same("the journal says what the daemon says", recordsOf(state), recordsOf(this.#shadow));
  }

  /**
   * Everything there is, derived or not, is what the journal says, and so is what any mix of the state files and the journal give.
   * Too dear for every step: at every crash, and at some steps.
   */
  #lookAtRebuilding(): void {
    const { disk } = this.#machine;
    const { state } = this.#daemon.dispatcher;
    const rule = "files at any mix of seq and the journal give the state";
    this.#told.rebuilt++;
    const files = disk.files.mix(this.#random);
    const seen = this.#random.of(disk.stored);
    const rebuilt = replayed(files, disk.stored);
    if (seen !== undefined) transition(rebuilt, seen);
    if (!isDeepStrictEqual(rebuilt, this.#shadow)) {
      this.#same(rule, replayed(files, disk.stored), this.#shadow);
      this.#same("what was folded in already changes nothing", rebuilt, this.#shadow);
    }
    this.#same(rule, orderOf(rebuilt), orderOf(this.#shadow));
    if (state.tasks.seq === disk.stored.length)
      this.#same("the journal says what the daemon says", state, this.#shadow);
  }

  #break(rule: string, by: string): void {
    this.#broken.push({ rule, by });
  }

  #same(rule: string, actual: unknown, expected: unknown): void {
    try {
      deepStrictEqual(actual, expected);
    } catch (error) {
      throw new BrokenRule(rule, (error as Error).message, this.#history);
    }
  }

  #say(...words: readonly (string | number)[]): void {
    this.#history.push(`${this.#step}: ${words.join(" ")}`);
  }
}

/** Two states' records, of which those that were once found to be the same are known. */
class Pairs {
  readonly #known = new WeakMap<object, object>();

  /** The same keys in the same order, and the same records under them. */
  same(a: ReadonlyMap<string, object>, b: ReadonlyMap<string, object>): boolean {
    if (a.size !== b.size) return false;
    const others = b.entries();
    for (const [key, record] of a) {
      const [otherKey, other] = others.next().value as [string, object];
      if (key !== otherKey) return false;
      if (record === other || this.#known.get(record) === other) continue;
      if (!isDeepStrictEqual(record, other)) return false;
      this.#known.set(record, other);
    }
    return true;
  }
}

/** What deepStrictEqual does not look at in a Map. The order of what is derived may be another after a restart. */
function orderOf({ tasks, sessions, locks, ledger }: State) {
  return [tasks.byId, sessions.byId, locks.byId, ledger.answers].map((records) => [...records.keys()]);
}

/** What is written down of a state, in its order. */
function recordsOf({ tasks, sessions, locks, metrics, ledger }: State) {
  return {
    tasks: [...tasks.byId],
    sessions: [...sessions.byId],
    locks: [...locks.byId],
    metrics: [...metrics.byAgent],
    pauses: [...ledger.pauses],
    answers: [...ledger.answers],
  };
}

function behaviour(random: Random): Behaviour {
  return {
    kind: random.weighted({ succeeds: 6, fails: 3, hangs: 1, idles: 0.5, refuses: 0.5 }),
    ms: random.of([10, SECOND, 20 * SECOND, 3 * MINUTE, 20 * MINUTE]) ?? SECOND,
    outputEveryMs: random.of([0, 5 * SECOND, MINUTE]) ?? 0,
    usage: random.of([undefined, { inputTokens: 7, outputTokens: 5 }, { inputTokens: 1, costUsd: 0.5 }]),
  };
}

function answerOf(what: string): RecordedAnswer {
  return { key: what, bodyHash: "hash", status: 200, headers: {}, body: what, secrets: [] };
}

/** Of one step alone: neighbouring numbers and seeds have nothing in common. */
function chanceOf(seed: number, step: number): Random {
  let mixed = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(Math.round(step * 2) + 0x165667b1, 0xc2b2ae35);
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x2c1b3c6d);
  mixed = Math.imul(mixed ^ (mixed >>> 12), 0x297a2d39);
  return new Random(mixed ^ (mixed >>> 15));
}

/** Lets everything happen that waits for nothing but its turn: nothing here waits for a timer or a file. */
function turns(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** A fold that changed a record in place would throw. On the way it tells of what JSON has no word for. */
function freeze(value: unknown, report: (by: string) => void = () => {}, path = ""): void {
  if (typeof value === "object" && value !== null) {
    if (Object.isFrozen(value)) return;
    if (!Array.isArray(value) && Object.getPrototypeOf(value) !== Object.prototype) report(path);
    Object.freeze(value);
    for (const key in value) freeze((value as Record<string, unknown>)[key], report, key);
  } else if (value === undefined || (typeof value === "number" && !Number.isFinite(value))) {
    report(`${path} is ${value}`);
  }
}

function brokenRules(state: State, report: (rule: string, by: string) => void): void {
  const locks = [...state.locks.byId.values()].filter(({ expiresAt }) => expiresAt === undefined);
  for (const [index, lock] of locks.entries()) {
    for (const other of locks.slice(index + 1)) {
      if (other.sessionId !== lock.sessionId && conflicts(lock, other))
        report("no two sessions hold the same files", `${lock.id} and ${other.id}`);
    }
  }
  for (const task of state.tasks.byId.values()) {
    if (task.status !== "in_progress" || SIMULATED_AGENTS.get(task.assignee)?.method == null) continue;
    if (!state.sessions.activeByTask.has(task.id)) report("whatever is in progress is worked on", task.id);
  }
}
