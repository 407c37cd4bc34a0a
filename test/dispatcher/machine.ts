/**
 * What outlives the daemon in a simulation: time, a disk, an archive, and the programs of runs. Everything that happens is
 * decided by the caller, so the same decisions give the same life.
 */
import type { Event, StoredEvent } from "../../src/core/event.ts";
import type { EndedSession, Method, Usage } from "../../src/core/session.ts";
import type { State } from "../../src/core/state.ts";
import type { Task } from "../../src/core/task.ts";
import type {
  AgentAdapter,
  Archive,
  Clock,
  Journal,
  Run,
  RunEnd,
  RunListener,
  RunSpec,
} from "../../src/dispatcher/ports.ts";
import { StorageUnavailable } from "../../src/dispatcher/ports.ts";
import { replayed, StateFiles } from "./state-files.ts";

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** Time stands still until it is moved on. */
export class VirtualClock implements Clock {
  #wall: number;
  #monotonic = 0;
  #timers: Timer[] = [];

  constructor(startAt: number) {
    this.#wall = startAt;
  }

  now(): number {
    return this.#wall;
  }

  monotonic(): number {
    return this.#monotonic;
  }

  after(delayMs: number, callback: () => void): () => void {
    const timer = { at: this.#monotonic + delayMs, callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  /** Runs the next timer that is due within so many ms, and says whether there was one; without one all of them pass. */
  step(ms: number): { readonly ran: boolean; readonly passed: number } {
    let next: Timer | undefined;
    for (const timer of this.#timers) {
      if (timer.at <= this.#monotonic + ms && (next === undefined || timer.at < next.at)) next = timer;
    }
    const passed = next === undefined ? ms : Math.max(0, next.at - this.#monotonic);
    this.#monotonic += passed;
    this.#wall += passed;
    if (next === undefined) return { ran: false, passed };
    this.#timers = this.#timers.filter((other) => other !== next);
    next.callback();
    return { ran: true, passed };
  }

  /** Time goes by without its timers, as on a machine that was suspended. */
  leap(ms: number): void {
    this.#monotonic += ms;
    this.#wall += ms;
  }

  /** Somebody sets the clock. */
  jump(ms: number): void {
    this.#wall += ms;
  }

  /** The process with its timers is gone. */
  forgetTimers(): void {
    this.#timers = [];
  }
}

interface Waiting {
  readonly events: readonly Event[];
  readonly text: string;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** Whoever wants to know what becomes of the journal. */
export interface DiskWatcher {
  /** Handed over to be written. */
  appended(events: readonly Event[]): void;
  stored(event: StoredEvent): void;
  /** Nothing waits any more: `stored` is all there is. */
  dropped(stored: readonly StoredEvent[]): void;
}

/** The disk of the journal and the state files: what is `stored` is there after any crash. */
export class VirtualDisk {
  readonly stored: StoredEvent[] = [];
  readonly files = new StateFiles();
  /** Sessions whose start is on disk. */
  readonly started = new Set<string>();
  watcher: DiskWatcher = { appended() {}, stored() {}, dropped() {} };
  /** Takes nothing. */
  full = false;
  #waiting: Waiting[] = [];
  /** The event that was handed over last, stored or not. */
  #newest: Event | null = null;
  readonly #durable = new WeakSet<Event>();

  /** A journal for one life of the daemon. */
  open(): Journal & { reopen(state: State): Promise<void> } {
    let broken = false;
    let next = this.stored.length + 1;
    this.#waiting = [];
    this.#newest = null;
    const disk = this;
    return {
      get lastSeq() {
        return disk.stored.length;
      },
      append(expectedSeq, events) {
        if (broken) return Promise.reject(new StorageUnavailable("its disk failed"));
        if (expectedSeq !== next) return Promise.reject(new Error(`append at ${expectedSeq}, the next is ${next}`));
        next += events.length;
        const text = JSON.stringify(events);
        disk.#newest = events.at(-1) ?? disk.#newest;
        disk.watcher.appended(events);
        return new Promise((resolve, reject) => {
          const refuse = (error: Error) => {
            broken = true;
            reject(error);
          };
          disk.#waiting.push({ events, text, resolve, reject: refuse });
        });
      },
      async *read(fromSeq) {
        yield* disk.stored.slice(fromSeq - 1);
      },
      async reopen(state) {
        if (disk.full) throw new StorageUnavailable("still full");
        // The state files that take the failed segment's place.
        disk.files.writeAll(state);
        broken = false;
        next = disk.stored.length + 1;
      },
      async close() {},
    };
  }

  get isWaiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** One commit: of all that waits, or its failure, after which some of it may be there all the same. */
  commit(keptOfFailed: number): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    if (!this.full) {
      for (const one of waiting) this.#store(one);
      this.files.committed(this.stored.length);
      for (const one of waiting) one.resolve();
      return;
    }
    for (const one of waiting.slice(0, keptOfFailed)) this.#store(one);
    this.#drop();
    for (const one of waiting) one.reject(new StorageUnavailable("the disk is full"));
  }

  /** The process is gone, in the middle of a commit: the first so many appends are on disk, and nobody was told. */
  crash(kept: number): void {
    for (const one of this.#waiting.slice(0, kept)) this.#store(one);
    this.#waiting = [];
    this.#drop();
  }

  get waiting(): number {
    return this.#waiting.length;
  }

  /** Whether all that was handed over up to this moment is on disk, asked later. */
  mark(): () => boolean {
    const newest = this.#newest;
    return () => newest === null || this.#durable.has(newest);
  }

  /** The state as a start reads it. */
  replay(): State {
    return replayed(this.files.current(), this.stored);
  }

  #drop(): void {
    this.#newest = null;
    this.files.dropped();
    this.watcher.dropped(this.stored);
  }

  #store({ events, text }: Waiting): void {
    for (const event of events) this.#durable.add(event);
    // Through text, as on a real disk.
    for (const event of JSON.parse(text) as Event[]) {
      const stored = { seq: this.stored.length + 1, event };
      this.stored.push(stored);
      if (event.type === "session.started") this.started.add(event.session.id);
      this.watcher.stored(stored);
    }
  }
}

export class VirtualArchive implements Archive {
  readonly tasks = new Map<string, Task>();
  readonly sessions = new Map<string, EndedSession>();

  async appendTasks(tasks: readonly Task[]): Promise<void> {
    for (const task of tasks) this.tasks.set(task.id, task);
  }

  async appendSessions(sessions: readonly EndedSession[]): Promise<void> {
    for (const session of sessions) this.sessions.set(session.id, session);
  }

  hasTask(id: string): boolean {
    return this.tasks.has(id);
  }
}

/** What a program will do. */
export interface Behaviour {
  /** `refuses`: it cannot even be started. `idles`: its wrapper is there, and its program never begins. */
  readonly kind: "succeeds" | "fails" | "hangs" | "refuses" | "idles";
  readonly ms: number;
  /** Output comes so often; 0 = never. */
  readonly outputEveryMs: number;
  /** What its output says of its use at the end. */
  readonly usage?: Usage | undefined;
}

interface Program {
  readonly spec: RunSpec;
  readonly behaviour: Behaviour;
  /** By the monotonic clock. */
  readonly startedAt: number;
  readonly limitMs: number;
  stopAt: number | null;
  end: RunEnd | null;
  outputs: number;
}

interface Follower {
  readonly listener: RunListener;
  toldStarted: boolean;
  toldOutputs: number;
  toldEnd: boolean;
}

/** The programs, which neither know nor mind whether a daemon lives. */
export class Host {
  readonly programs = new Map<string, Program>();
  /** Every rule that was broken. */
  readonly wrong: string[] = [];
  readonly #clock: Clock;
  readonly #disk: VirtualDisk;
  readonly #choose: () => Behaviour;
  readonly #living = new Set<Program>();
  #followers = new Map<string, Follower>();

  constructor(clock: Clock, disk: VirtualDisk, choose: () => Behaviour) {
    this.#clock = clock;
    this.#disk = disk;
    this.#choose = choose;
  }

  get living(): readonly Program[] {
    return [...this.#living];
  }

  get followed(): number {
    return this.#followers.size;
  }

  /** The adapter of one life of the daemon. */
  adapter(method: Method): AgentAdapter {
    return {
      method,
      open: (spec, listener) => this.#open(spec, listener),
      inspect: async () => [],
      close: async () => {},
    };
  }

  /** What the programs do by themselves up to now, and what of it a daemon that lives is told. */
  move(): void {
    const now = this.#clock.monotonic();
    for (const program of this.#living) {
      const { behaviour, startedAt, stopAt, limitMs } = program;
      if (behaviour.outputEveryMs > 0) program.outputs = Math.floor((now - startedAt) / behaviour.outputEveryMs);
      if (stopAt !== null && now >= stopAt) program.end = ended("failed", "STOPPED", "SIGTERM");
      else if (now >= startedAt + limitMs) program.end = ended("timed_out", "TIMED_OUT", "SIGTERM");
      else if (behaviour.kind !== "hangs" && behaviour.kind !== "idles" && now >= startedAt + behaviour.ms) {
        program.end =
          behaviour.kind === "succeeds"
            ? { exit: { exitCode: 0 }, outcome: { status: "completed", result: "done" }, usage: behaviour.usage }
            : { ...ended("failed", "EXIT_STATUS"), usage: behaviour.usage };
      }
      if (program.end !== null) this.#living.delete(program);
    }
    for (const [id, follower] of this.#followers) this.#tell(id, follower);
  }

  /** The daemon is gone. */
  forgetFollowers(): void {
    this.#followers = new Map();
  }

  /** All programs are gone with the machine's memory, and their wrappers, which could have said how they ended. */
  reboot(): void {
    for (const program of this.#living) program.end = ended("lost", "RUN_LOST");
    this.#living.clear();
  }

  #open(spec: RunSpec, listener: RunListener): Run {
    if (this.#followers.has(spec.sessionId)) this.wrong.push(`${spec.sessionId} is followed twice`);
    if (!this.programs.has(spec.sessionId)) this.#start(spec);
    this.#followers.set(spec.sessionId, { listener, toldStarted: false, toldOutputs: 0, toldEnd: false });
    return {
      stop: () => {
        const program = this.programs.get(spec.sessionId);
        if (program !== undefined) program.stopAt ??= this.#clock.monotonic() + (program.behaviour.ms % GRACE_MS);
      },
      detach: async () => {
        this.#followers.delete(spec.sessionId);
      },
    };
  }

  #start(spec: RunSpec): void {
    const behaviour = this.#choose();
    const other = this.living.find((program) => program.spec.taskId === spec.taskId);
    if (other !== undefined)
      this.wrong.push(`${spec.taskId} runs twice at once: ${other.spec.sessionId} and ${spec.sessionId}`);
    if (!this.#disk.started.has(sessionOf(spec)))
      this.wrong.push(`${spec.sessionId} runs, and its start is not on disk`);
    const limitMs = spec.deadlineAt - this.#clock.now();
    let end: RunEnd | null = null;
    if (behaviour.kind === "refuses") end = ended("failed", "NOT_INSTALLED");
    else if (limitMs <= 0) end = ended("timed_out", "TIMED_OUT");
    const startedAt = this.#clock.monotonic();
    const program = { spec, behaviour, startedAt, limitMs, stopAt: null, end, outputs: 0 };
    this.programs.set(spec.sessionId, program);
    if (end === null) this.#living.add(program);
  }

  #tell(id: string, follower: Follower): void {
    const program = this.programs.get(id);
    if (program === undefined || follower.toldEnd) return;
    const { listener } = follower;
    if (!follower.toldStarted && program.behaviour.kind !== "refuses" && program.behaviour.kind !== "idles") {
      follower.toldStarted = true;
      listener.started({ host: "host", pid: 1000 + this.programs.size, pidStart: "1", bootId: "boot" });
    }
    if (program.outputs > follower.toldOutputs) {
      follower.toldOutputs = program.outputs;
      listener.sign();
    }
    if (program.end === null) return;
    follower.toldEnd = true;
    listener.ended(program.end);
  }
}

/** A verifier's run has its session's id and a word more. */
export function sessionOf({ sessionId }: Pick<RunSpec, "sessionId">): string {
  return sessionId.split(".", 1)[0] ?? "";
}

/** TERM is obeyed within this time. */
const GRACE_MS = 10_000;

function ended(status: "failed" | "timed_out" | "lost", code: string, signal?: string): RunEnd {
  return {
    exit: signal === undefined ? {} : { signal },
    outcome: { status, error: { code, message: `it ended: ${code}` } },
  };
}
