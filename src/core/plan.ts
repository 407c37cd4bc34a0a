/**
 * What ought to be started now, and why everything else waits. Reads the state, changes nothing: the dispatch, the dry
 * run and "why is this not running?" are all this one function.
 */
import type { Agent, Unavailability } from "./agent.ts";
import { PatternSet, stepsFor } from "./glob.ts";
import { conflicts, isHeld, type Lock, type LockClaim, meet, realWorkspace, wayDown } from "./lock.ts";
import { holders } from "./lock-manager.ts";
import { compareTasks } from "./policy/order.ts";
import { candidates } from "./policy/placement.ts";
import { position, type Queue } from "./queue.ts";
import type { Reason, ReasonCode } from "./reason.ts";
import type { StartingSession } from "./session.ts";
import type { State } from "./state.ts";
import { AUTO_ASSIGNEE, type Task } from "./task.ts";

/** What the rules know besides the state: the settings, what the registry found out, the time. */
export interface Circumstances {
  readonly now: number;
  readonly agents: ReadonlyMap<string, Agent>;
  readonly humans: ReadonlySet<string>;
  readonly maxConcurrent: number;
  readonly unavailability: (agent: string) => Unavailability | null;
  /** Archived tasks are done: a dependency on one is met. */
  readonly isArchived: (taskId: string) => boolean;
  /** What `~` in a workspace stands for on this machine. */
  readonly home: string;
}

export interface PlanOptions {
  /** Look at these tasks only. */
  readonly taskIds?: readonly string[] | undefined;
  /** Nobody is there to take a heartbeat spawn: leave those to the next heartbeat. */
  readonly unattended?: boolean | undefined;
  /** Start at most so many. */
  readonly limit?: number | undefined;
  /** How many waiting tasks are named; the totals count all. */
  readonly waitingMax?: number | undefined;
}

export interface Start {
  readonly task: Task;
  readonly agent: Agent;
}

export interface Waiting {
  readonly taskId: string;
  readonly title: string;
  readonly agent: string;
  readonly reasons: readonly Reason[];
}

export interface Plan {
  /** Spawns that nobody claimed in time, to be handed out again. */
  readonly again: readonly StartingSession[];
  /** In the order of starting. */
  readonly starts: readonly Start[];
  /** In the order of the queue. */
  readonly waiting: readonly Waiting[];
  readonly waitingTotal: number;
  readonly byReason: Readonly<Partial<Record<ReasonCode, number>>>;
  /** When the same question can have another answer though nothing happened; `Infinity` = never. */
  readonly validUntil: number;
}

export const WAITING_SHOWN = 20;
/** How much comparing of paths one plan is worth: the tasks in front are compared first, and those behind next time. */
const STEPS_PER_PLAN = 5_000_000;

export function plan(state: State, circumstances: Circumstances, options: PlanOptions = {}): Plan {
  const draft = new Draft(state, circumstances, options);
  draft.handOutAgain(options.taskIds);
  if (options.taskIds === undefined) draft.walkQueues();
  else draft.walkNamed(options.taskIds);
  return draft.finish();
}

/** The slots and locks that are taken already or by what was chosen so far. */
class Draft {
  readonly #state: State;
  readonly #circumstances: Circumstances;
  readonly #limit: number;
  readonly #waitingMax: number;
  readonly #unattended: boolean;
  readonly #agents: readonly Agent[];
  readonly #again: StartingSession[] = [];
  readonly #starts: Start[] = [];
  readonly #waiting: Waiting[] = [];
  readonly #byReason: Partial<Record<ReasonCode, number>> = {};
  readonly #used = new Map<string, number>();
  readonly #placements = new Map<string, Placement>();
  readonly #skills: ReadonlySet<string>;
  readonly #obstacles = new Map<string | null, Obstacles>();
  readonly #steps = stepsFor(STEPS_PER_PLAN);
  readonly #claims: { readonly claim: LockClaim; readonly taskId: string }[] = [];
  #waitingTotal = 0;
  #active = 0;
  #validUntil = Number.POSITIVE_INFINITY;

  constructor(state: State, circumstances: Circumstances, options: PlanOptions) {
    this.#state = state;
    this.#circumstances = circumstances;
    this.#limit = options.limit ?? Number.POSITIVE_INFINITY;
    // Who names tasks is told of every one of them.
    this.#waitingMax = options.waitingMax ?? (options.taskIds === undefined ? WAITING_SHOWN : Number.POSITIVE_INFINITY);
    this.#unattended = options.unattended ?? false;
    this.#agents = [...circumstances.agents.values()];
    this.#skills = new Set(this.#agents.flatMap(({ bestFor }) => bestFor));
    for (const [agent, sessions] of state.sessions.activeByAgent) {
      this.#used.set(agent, sessions.size);
      this.#active += sessions.size;
    }
  }

  handOutAgain(taskIds: readonly string[] | undefined): void {
    const { agents, now } = this.#circumstances;
    if (this.#unattended) return;
    for (const [name, sessions] of this.#state.sessions.activeByAgent) {
      if (agents.get(name)?.method !== "sessions_spawn") continue;
      for (const session of sessions.values()) {
        if (session.status !== "starting" || session.handout === undefined) continue;
        if (session.handout.times >= HANDOUTS_MAX) continue;
        if (taskIds !== undefined && !taskIds.includes(session.taskId)) continue;
        if (session.handout.expiresAt > now) this.#until(session.handout.expiresAt);
        else if (this.#again.length < this.#limit) this.#again.push(session);
      }
    }
  }

  /** Merges the queues of all agents in order, and stops looking one by one where one look answers for the rest. */
  walkQueues(): void {
    const streams: Stream[] = [];
    for (const [assignee, queue] of this.#state.tasks.queues) {
      if (this.#circumstances.humans.has(assignee)) continue;
      for (const kind of ["plain", "conditional"] as const) {
        if (queue[kind].length > 0) streams.push({ assignee, kind, tasks: queue[kind], next: 0, parked: null });
      }
    }
    for (let stream = firstOf(streams); stream !== null; stream = firstOf(streams)) {
      const task = stream.tasks[stream.next++] as Task;
      const codes = this.#consider(task);
      if (codes === null) {
        // The last slot of all is taken: what comes after this task has one more reason than what came before.
        if (this.#active === this.#circumstances.maxConcurrent) for (const other of streams) this.#unpark(other, task);
        continue;
      }
      this.#wait(task, codes);
      if (stream.kind === "plain" && this.#waiting.length >= this.#waitingMax) {
        // A slot once taken is not given back within a plan: what its agent has against one plain task stops all behind it.
        const shared = codes.filter((code) => code !== "ALREADY_RUNNING");
        if (shared.length > 0) stream.parked = shared;
      }
    }
    for (const stream of streams) this.#unpark(stream, null);
  }

  walkNamed(taskIds: readonly string[]): void {
    const tasks: Task[] = [];
    for (const id of new Set(taskIds)) {
      const task = this.#state.tasks.byId.get(id);
      if (task?.status === "todo") {
        tasks.push(task);
      } else if (task === undefined && !this.#circumstances.isArchived(id)) {
        this.#skip(id, "", "", { code: "TASK_NOT_FOUND", message: "there is no task of this id" });
      } else if (this.#again.some((session) => session.taskId === id)) {
        // it is among the dispatched
      } else if (task?.status === "in_progress" && this.#state.sessions.activeByTask.has(id)) {
        this.#skip(id, task.title, task.assignee, this.#alreadyRunning(task));
      } else {
        const status = task?.status ?? "done";
        this.#skip(id, task?.title ?? "", task?.assignee ?? "", {
          code: "NOT_TODO",
          message: `its status is ${status}; only todo is dispatched`,
        });
      }
    }
    for (const task of tasks.sort(compareTasks)) {
      const codes = this.#consider(task);
      if (codes !== null) this.#wait(task, codes);
    }
  }

  finish(): Plan {
    return {
      again: this.#again,
      starts: this.#starts,
      waiting: this.#waiting,
      waitingTotal: this.#waitingTotal,
      byReason: this.#byReason,
      validUntil: this.#validUntil,
    };
  }

  /**
   * Starts the task in this draft, or says everything that stands against it. Codes only: of thousands of waiting tasks a few
   * are shown, and only for those `#reason` finds the words.
   */
  #consider(task: Task): readonly ReasonCode[] | null {
    const codes = this.#taskCodes(task);
    const { agent, reasons } = this.#place(task);
    for (const { code } of reasons) codes.push(code);
    if (agent === null || codes.length > 0) return codes;
    if (this.#isLeftToHeartbeat(agent)) return ["LIMIT"];
    if (this.#starts.length + this.#again.length >= this.#limit) return ["LIMIT"];
    this.#starts.push({ task, agent });
    this.#used.set(agent.name, (this.#used.get(agent.name) ?? 0) + 1);
    this.#active++;
    this.#placements.clear();
    if (task.files.length > 0) {
      this.#claims.push({ claim: claimOf(task, this.#circumstances.home), taskId: task.id });
      this.#obstacles.clear();
    }
    return null;
  }

  #taskCodes(task: Task): ReasonCode[] {
    const codes: ReasonCode[] = [];
    if (task.hold !== null) codes.push(task.hold.code === "ATTEMPTS_EXHAUSTED" ? "ATTEMPTS_EXHAUSTED" : "HELD");
    if (task.retryAt !== null && task.retryAt > this.#circumstances.now) {
      this.#until(task.retryAt);
      codes.push("RETRY_LATER");
    }
    if (this.#state.sessions.activeByTask.has(task.id)) codes.push("ALREADY_RUNNING");
    if (!task.dependsOn.every((id) => this.#isDone(id))) codes.push("DEPENDENCY");
    if (task.files.length > 0 && this.#isLocked(task)) codes.push("LOCKED");
    return codes;
  }

  /** What `#consider` said of the task, in words. */
  #reason(task: Task, code: ReasonCode): Reason {
    switch (code) {
      case "HELD":
      case "ATTEMPTS_EXHAUSTED":
        return { code, message: task.hold?.message ?? "" };
      case "RETRY_LATER": {
        const message = `attempt ${task.attempts} failed; the next one waits`;
        return { code, message, until: task.retryAt ?? undefined };
      }
      case "ALREADY_RUNNING":
        return this.#alreadyRunning(task);
      case "DEPENDENCY": {
        const open = task.dependsOn.filter((id) => !this.#isDone(id));
        return { code, message: this.#dependencyMessage(open), heldBy: open };
      }
      case "LOCKED":
        return this.#lockReason(task);
    }
    const { agent, reasons } = this.#place(task);
    const reason = reasons.find((one) => one.code === code);
    if (reason !== undefined) return reason;
    return agent !== null && this.#isLeftToHeartbeat(agent)
      ? { code, message: `${agent.name} is started by a heartbeat only` }
      : { code, message: `the limit of ${this.#limit} for this dispatch is reached` };
  }

  #isLeftToHeartbeat(agent: Agent): boolean {
    return this.#unattended && agent.method === "sessions_spawn";
  }

  #alreadyRunning(task: Task): Reason {
    const session = this.#state.sessions.activeByTask.get(task.id);
    const message =
      session?.status === "stopping" ? "its last session is still stopping" : "a session is working on it";
    return { code: "ALREADY_RUNNING", message, heldBy: session === undefined ? [] : [session.id] };
  }

  #isDone(taskId: string): boolean {
    const task = this.#state.tasks.byId.get(taskId);
    return task === undefined ? this.#circumstances.isArchived(taskId) : task.status === "done";
  }

  #dependencyMessage(open: readonly string[]): string {
    const words = open.map((id) => `${id} (${this.#state.tasks.byId.get(id)?.status ?? "does not exist"})`);
    return `waits for ${words.slice(0, 5).join(", ")}${words.length > 5 ? ` and ${words.length - 5} more` : ""} to be done`;
  }

  #isLocked(task: Task): boolean {
    const { sets, others } = this.#obstaclesIn(realWorkspace(task.workspace, this.#circumstances.home));
    let locked = sets.some(({ way, patterns }) =>
      task.files.some((file) => patterns.overlaps(way + file, this.#steps)),
    );
    for (const other of others) {
      // One that runs out says how long the plan is good, even where the task is locked anyway.
      if (locked && (other.expiresAt ?? Number.POSITIVE_INFINITY) >= this.#validUntil) continue;
      if (!conflicts(other, claimOf(task, this.#circumstances.home), this.#steps)) continue;
      locked = true;
      if (other.expiresAt !== undefined) this.#until(other.expiresAt);
    }
    return locked;
  }

  #obstaclesIn(workspace: string | null): Obstacles {
    const known = this.#obstacles.get(workspace);
    if (known !== undefined) return known;
    const sets = new Map<string, PatternSet>();
    const others: (LockClaim & Pick<Lock, "expiresAt">)[] = [];
    const add = (claim: LockClaim & Pick<Lock, "expiresAt">) => {
      if (claim.expiresAt !== undefined) {
        others.push(claim);
        return;
      }
      // Of a workspace inside this one or around it: one of the two ways is nothing.
      const inside = wayDown(workspace, claim.workspace) ?? "";
      const outside = wayDown(claim.workspace, workspace) ?? "";
      const patterns = sets.get(outside) ?? new PatternSet();
      sets.set(outside, patterns);
      for (const path of claim.paths) patterns.add(inside + path);
    };
    for (const [other, locks] of this.#state.locks.byWorkspace) {
      if (!mayMeet(other, workspace) || !meet(other, workspace)) continue;
      for (const lock of locks) if (isHeld(lock, this.#circumstances.now)) add(lock);
    }
    for (const { claim } of this.#claims) if (meet(claim.workspace, workspace)) add(claim);
    const found = Array.from(sets, ([way, patterns]) => ({ way, patterns }));
    const obstacles = found.length === 0 && others.length === 0 ? NO_OBSTACLES : { sets: found, others };
    this.#obstacles.set(workspace, obstacles);
    return obstacles;
  }

  #lockReason(task: Task): Reason {
    const claim = claimOf(task, this.#circumstances.home);
    const held = holders(this.#state.locks, claim, this.#circumstances.now, undefined, this.#steps);
    const planned = this.#claims.filter((other) => conflicts(other.claim, claim, this.#steps));
    const until =
      held.length > 0 && planned.length === 0
        ? Math.max(...held.map((lock) => lock.expiresAt ?? Number.POSITIVE_INFINITY))
        : Number.POSITIVE_INFINITY;
    const names = [
      ...held.map((lock) => `${lock.agent} on task ${lock.taskId}`),
      ...planned.map((other) => `task ${other.taskId}, which goes first`),
    ];
    return {
      code: "LOCKED",
      message: `its files are locked by ${names.slice(0, 5).join(", ")}`,
      heldBy: [...held.map((lock) => lock.sessionId), ...planned.map((other) => other.taskId)],
      ...(Number.isFinite(until) ? { until } : {}),
    };
  }

  /** The agent that the task goes to, and what stands against that: the same for all tasks alike, until one is started. */
  #place(task: Task): Placement {
    const skills = task.assignee === AUTO_ASSIGNEE ? task.labels.filter((label) => this.#skills.has(label)) : [];
    const isolated = task.isolation === "worktree";
    const key = skills.length === 0 && !isolated ? task.assignee : JSON.stringify([task.assignee, isolated, ...skills]);
    const known = this.#placements.get(key);
    if (known !== undefined) return known;
    const placement = this.#findPlace(task);
    this.#placements.set(key, placement);
    return placement;
  }

  #findPlace(task: Task): Placement {
    const { agents, humans } = this.#circumstances;
    if (humans.has(task.assignee)) {
      return { agent: null, reasons: [{ code: "HUMAN_ASSIGNEE", message: `${task.assignee} is not dispatched to` }] };
    }
    if (task.assignee !== AUTO_ASSIGNEE) {
      const agent = agents.get(task.assignee);
      if (agent === undefined || agent.method === null) {
        return { agent: null, reasons: [{ code: "UNKNOWN_AGENT", message: `no agent is called ${task.assignee}` }] };
      }
      const against = isIsolatable(task, agent) ? [] : [NO_ISOLATION];
      return { agent, reasons: [...this.#agentReasons(agent), ...against] };
    }
    const isolating = this.#agents.filter((agent) => isIsolatable(task, agent));
    const able = candidates(task, isolating);
    if (able.length === 0) {
      if (isolating.length < this.#agents.length && candidates(task, this.#agents).length > 0)
        return { agent: null, reasons: [NO_ISOLATION] };
      return { agent: null, reasons: [{ code: "UNKNOWN_AGENT", message: "no agent is configured" }] };
    }
    const attended = able.filter((agent) => !this.#isLeftToHeartbeat(agent));
    const against: Reason[] = [];
    // Where only a heartbeat can start any of them, the task is left to it.
    for (const agent of attended.length > 0 ? attended : able) {
      const reasons = this.#agentReasons(agent);
      if (reasons.length === 0) return { agent, reasons };
      for (const reason of reasons) if (!against.some((other) => other.code === reason.code)) against.push(reason);
    }
    return { agent: null, reasons: against };
  }

  #agentReasons(agent: Agent): Reason[] {
    const reasons: Reason[] = [];
    const pause = this.#state.ledger.pauses.get(agent.name);
    if (pause !== undefined)
      reasons.push({ code: "AGENT_PAUSED", message: `${agent.name} is paused: ${pause.reason}` });
    const unavailable = this.#circumstances.unavailability(agent.name);
    if (unavailable !== null)
      reasons.push({ code: "AGENT_UNAVAILABLE", message: `${agent.name}: ${unavailable.reason}` });
    const used = this.#used.get(agent.name) ?? 0;
    if (used >= agent.maxConcurrent) {
      reasons.push({ code: "NO_SLOT", message: `${agent.name} has ${used} of ${agent.maxConcurrent} slots in use` });
    }
    if (this.#active >= this.#circumstances.maxConcurrent) {
      reasons.push({
        code: "GLOBAL_LIMIT",
        message: `${this.#active} of ${this.#circumstances.maxConcurrent} sessions are active in all`,
      });
    }
    return reasons;
  }

  #wait(task: Task, codes: readonly ReasonCode[]): void {
    this.#count(codes, 1);
    if (this.#waiting.length < this.#waitingMax) {
      const reasons = codes.map((code) => this.#reason(task, code));
      this.#waiting.push({ taskId: task.id, title: task.title, agent: task.assignee, reasons });
    }
  }

  /** Counts a parked stream's tasks up to `before` (`null`: to its end) and lets the walk go on from there. */
  #unpark(stream: Stream, before: Task | null): void {
    const { parked, tasks, next } = stream;
    if (parked === null) return;
    const end = before === null ? tasks.length : position(tasks, before);
    stream.parked = null;
    stream.next = end;
    let alike = end - next;
    for (const session of this.#state.sessions.activeByTask.values()) {
      const task = this.#state.tasks.byId.get(session.taskId);
      if (task?.status !== "todo") continue;
      const at = position(tasks, task);
      if (at < next || at >= end || tasks[at] !== task) continue;
      alike--;
      this.#count(["ALREADY_RUNNING", ...parked.filter((code) => code !== "LIMIT")], 1);
    }
    this.#count(parked, alike);
  }

  #skip(taskId: string, title: string, agent: string, reason: Reason): void {
    this.#count([reason.code], 1);
    this.#waiting.push({ taskId, title, agent, reasons: [reason] });
  }

  #count(codes: readonly ReasonCode[], tasks: number): void {
    if (tasks <= 0) return;
    this.#waitingTotal += tasks;
    for (const code of codes) this.#byReason[code] = (this.#byReason[code] ?? 0) + tasks;
  }

  #until(at: number): void {
    this.#validUntil = Math.min(this.#validUntil, at);
  }
}

/** An agent's own `isolation` is checked with the config; a task may ask for what its agent cannot have. */
function isIsolatable(task: Task, agent: Agent): boolean {
  return task.isolation !== "worktree" || agent.canIsolate;
}

const NO_ISOLATION: Reason = {
  code: "NO_ISOLATION",
  message:
    'no worktree can be made for this agent, whose program is not started on this machine: set the task\'s isolation to none, or give it to a "cli" agent',
};

/** A spawn that nobody claims is handed out so often, then fails. */
export const HANDOUTS_MAX = 3;

/** What a task's session locks. */
export function claimOf(task: Pick<Task, "workspace" | "files">, home: string): LockClaim {
  return { workspace: realWorkspace(task.workspace, home), paths: task.files, mode: "exclusive" };
}

interface Stream {
  readonly assignee: string;
  readonly kind: keyof Queue;
  readonly tasks: readonly Task[];
  next: number;
  /** Once enough waiting tasks are named: the reasons that hold for all that is left, which is only counted. */
  parked: readonly ReasonCode[] | null;
}

interface Placement {
  readonly agent: Agent | null;
  readonly reasons: readonly Reason[];
}

/** What can stand in the way of files in one workspace. */
interface Obstacles {
  /** What does not run out, by the way that leads down from where its paths begin: nothing, unless that is a workspace around this one. */
  readonly sets: readonly { readonly way: string; readonly patterns: PatternSet }[];
  /** What runs out: has to be looked at one by one. */
  readonly others: readonly (LockClaim & Pick<Lock, "expiresAt">)[];
}

/** A quick look at two workspaces, since most have nothing to do with each other: only one that begins like the other can lie in it. */
function mayMeet(a: string | null, b: string | null): boolean {
  if (a === null || b === null) return a === b;
  return a.length < b.length ? b.startsWith(a) : a.startsWith(b);
}

const NO_OBSTACLES: Obstacles = { sets: [], others: [] };

/** The stream whose next task goes first; there are a few per agent, so a look at each is the quickest way. */
function firstOf(streams: readonly Stream[]): Stream | null {
  let first: Stream | null = null;
  for (const stream of streams) {
    const task = stream.tasks[stream.next];
    if (task === undefined || stream.parked !== null) continue;
    const best = first?.tasks[first.next];
    if (best === undefined || compareTasks(task, best) < 0) first = stream;
  }
  return first;
}
