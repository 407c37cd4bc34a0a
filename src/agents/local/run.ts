/** A run on this machine, followed through its run directory: made, or found again, stopped, told of. */
import { hostname } from "node:os";
import { join } from "node:path";
import type { Clock, Run, RunEnd, RunListener, RunSpec } from "../../dispatcher/ports.ts";
import { toSessionError } from "../agent-problem.ts";
import { ownSession } from "../command.ts";
import { lastAction } from "../output/progress.ts";
import {
  isThere,
  logSize,
  OUTPUT_STREAMS,
  prepareRunDirectory,
  type RunLimits,
  readRunRecord,
  readRunSettings,
  runDirectory,
  touch,
} from "../run-directory.ts";
import { endOfRun, failedRun, lateRun, lostRun } from "../run-end.ts";
import type { ExitRecord, RunRecord } from "../run-records.ts";
import { BEGUN_BEFORE } from "../wrapper.ts";
import { bootId } from "./processes.ts";
import { RunProcesses } from "./run-processes.ts";
import { EMPTY_SEAL, makeSeal, readSeal } from "./seal.ts";
import { startWrapper, sweepRun, type WrapperStart } from "./start-wrapper.ts";

/** What is decided only when a run has to be made. */
export interface LocalPlan extends Pick<WrapperStart, "argv" | "promptOnStdin" | "workdir">, RunLimits {
  /** The environment, with the run's mark in it. */
  env(mark: string): Readonly<Record<string, string>>;
}

export interface LocalRunParts {
  readonly clock: Clock;
  readonly spec: RunSpec;
  readonly listener: RunListener;
  readonly dataDirectory: string;
  /** Throws an `AgentProblem` where there is nothing to start. */
  readonly plan: (directory: string) => LocalPlan;
  /** The agent's of now, for a run whose own are not known. Throws where there is no such agent any more. */
  readonly limits: () => RunLimits;
  /** The run is followed no more. */
  readonly onDone: () => void;
}

/** While output keeps coming it is looked at with every tick, else after growing pauses up to this. */
const QUIET_LOOK_MS = 1000;
const FIRST_LOOK_MS = 100;
/** Between two looks at what a cheap look cannot tell: a pid that is another process's by now. */
const IDENTITY_LOOK_MS = 10_000;
/** The same for a program that is a zombie, since its wrapper does not wait for it. */
const EMPTY_LOOK_MS = 5000;
/** How long a wrapper may take to write its first records. */
const BEGIN_MS = 5000;
/** What the wrapper gets on top of its own grace before this side takes over. */
const WRAPPER_SLACK_MS = 3000;
/** What a wrapper gets on top of its grace to write down how a run ended: a machine with hundreds of ends at once is slow. */
const STUCK_MS = 10_000;
/** How long a run directory that cannot be read is tried again, once there is nothing else to wait for. */
const UNREADABLE_MS = 60_000;
/** How often the logs of an ended run are tried before it ends without them. */
const SETTLE_TRIES = 20;

export class LocalRun implements Run {
  readonly #parts: LocalRunParts;
  /** `unread`: whether it was made before could not be found out yet. */
  #phase: "waiting" | "unread" | "followed" | "settling" | "done" = "waiting";
  /** By the monotonic clock: the other one jumps. */
  readonly #dueAt: number;
  #limits: RunLimits | null = null;
  readonly #processes: RunProcesses;
  /** Started by this object, so that the wrapper's end is told and need not be looked for. */
  #isOwn = false;
  #wrapperGone = false;
  #record: Pick<RunRecord, "begun" | "startError" | "exit"> = { begun: false, startError: null, exit: null };
  #unreadableSince: number | null = null;
  #toldStarted = false;
  #followedSince = 0;
  #sizes = [0, 0];
  #lookDelayMs = FIRST_LOOK_MS;
  #lookAt = 0;
  #identityAt = 0;
  #signAt = 0;
  /** Output has grown since the last sign. */
  #hasNews = false;
  /** Up to where its output was told of by signs, bytes. */
  #toldTo = 0;
  #stopRequested = false;
  /** Since when nothing of the program is left while the wrapper still has to say how it ended. */
  #emptySince: number | null = null;
  #emptyLookAt = 0;
  /** Once it is being stopped: when this side sends KILL to what is left, monotonic ms. */
  #killAt: number | null = null;
  #settleTries = 0;

  constructor(parts: LocalRunParts) {
    this.#parts = parts;
    const { clock, spec } = parts;
    this.#dueAt = clock.monotonic() + spec.deadlineAt - clock.now();
    this.#processes = new RunProcesses(this.#directory);
  }

  /** Makes the run, or finds it. */
  begin(): void {
    if (this.#phase !== "waiting") return;
    let wasMade: boolean;
    try {
      wasMade = this.#wasMade();
    } catch {
      // It may run: what cannot be read now is read later.
      this.#phase = "unread";
      return;
    }
    if (wasMade) return this.#follow();
    if (this.#parts.spec.hasBegun === true)
      return this.#end(lostRun("RUN_LOST", "how it ended is not known: its run directory is gone"));
    try {
      this.#make();
    } catch (error) {
      this.#end(failedRun(toSessionError(error)));
    }
  }

  /** Looks at what has become of it, as far as it is time to. `now` is monotonic. */
  look(now: number): void {
    if (this.#phase === "unread") this.#beginAgain(now);
    if (this.#phase !== "followed") return;
    // Too many open files, a disk in trouble: nothing is known now, and nothing is concluded. The next look tries again.
    attempt(() => {
      if (!this.#isOwn && !this.#wrapperGone) this.#watchWrapper(now);
      if (now >= this.#lookAt || this.#wrapperGone) this.#lookAtFiles(now);
    });
    if (this.#phase === "followed" && this.#stopRequested) attempt(() => this.#pressStop(now));
  }

  stop(): void {
    this.#stopRequested = true;
    if (this.#phase === "followed") attempt(() => this.#pressStop(this.#parts.clock.monotonic()));
  }

  async detach(): Promise<void> {
    this.#phase = "done";
    this.#parts.onDone();
  }

  #wasMade(): boolean {
    const seal = readSeal(this.#directory);
    if (seal !== null) {
      this.#processes.take(seal);
      this.#limits = seal.limits ?? null;
      // One that names no process is of a daemon that died before it knew of any: then `begun` decides, as it does for wrappers.
      if (seal.wrapper !== null || seal.program !== null || this.#processes.isOfAnotherBoot) return true;
    }
    const { begun, exit } = readRunRecord(this.#directory);
    return begun || exit !== null;
  }

  #beginAgain(now: number): void {
    if (now > this.#dueAt + this.#graceMs + UNREADABLE_MS)
      return this.#end(lostRun("RUN_LOST", "how it ended is not known: its run directory cannot be read"));
    this.#phase = "waiting";
    this.begin();
  }

  #make(): void {
    const { clock, spec, plan } = this.#parts;
    const directory = this.#directory;
    if (this.#stopRequested)
      return this.#end(failedRun({ code: "STOPPED", message: "it was stopped before it began" }));
    const limitMs = spec.deadlineAt - clock.now();
    if (limitMs <= 0) return this.#end(lateRun());

    const { killGraceMs, maxOutputBytes, leftovers, output, env, ...start } = plan(directory);
    const limits = { killGraceMs, maxOutputBytes, leftovers, output };
    this.#limits = limits;
    const { mark } = prepareRunDirectory(directory, spec.prompt, { agent: spec.agent, ...limits });
    const seal = { ...EMPTY_SEAL, limits, mark, boot: bootId() };
    this.#processes.take(seal);
    // Whoever makes it starts the run: what comes after it is never done twice.
    if (!makeSeal(directory, seal) && this.#wasMade()) return this.#follow();
    const wrapped = { ...start, directory, env: env(mark), limitMs, graceMs: killGraceMs, leftovers };
    const { pid, ended } = startWrapper(wrapped);
    this.#isOwn = true;
    ended.then(
      (status) => this.#onWrapperEnd(status),
      (error: unknown) => this.#end(failedRun(toSessionError(error))),
    );
    if (pid !== undefined) attempt(() => this.#processes.started(pid));
    this.#follow();
  }

  #follow(): void {
    if (this.#phase !== "waiting") return;
    this.#phase = "followed";
    attempt(() => {
      this.#limits ??= readRunSettings(this.#directory) ?? this.#parts.limits();
    });
    this.#followedSince = this.#parts.clock.monotonic();
    // What was written before is no sign of life now.
    if (!this.#isOwn) this.#sizes = this.#readSizes();
    this.#toldTo = this.#sizes[0] ?? 0;
    this.look(this.#followedSince);
  }

  #onWrapperEnd(status: number | undefined): void {
    this.#isOwn = false;
    // Somebody else's wrapper runs it: a daemon started it that died before it could write down which.
    if (status === BEGUN_BEFORE) this.#processes.wasSecond();
    else this.#wrapperGone = true;
    this.look(this.#parts.clock.monotonic());
  }

  /** For a wrapper that is no child of this process. */
  #watchWrapper(now: number): void {
    if (this.#processes.seal.wrapper === null) {
      // Until its first records are there, only time can tell that nobody will write them.
      if (now - this.#followedSince > BEGIN_MS) this.#wrapperGone = true;
      return;
    }
    const thoroughly = now >= this.#identityAt;
    if (thoroughly) this.#identityAt = now + IDENTITY_LOOK_MS;
    this.#wrapperGone = !this.#processes.isWrapperAlive(thoroughly);
  }

  #lookAtFiles(now: number): void {
    const { guard, program } = this.#processes.seal;
    const isComplete = guard !== null && program !== null;
    const isRead = attempt(() => {
      if (!isComplete || this.#wrapperGone || (!this.#isOwn && isThere(join(this.#directory, "exit.json"))))
        this.#readRecord();
    });
    this.#unreadableSince = isRead ? null : (this.#unreadableSince ?? now);
    this.#tellStarted();

    // The wrapper's last act: one that is there before the wrapper is gone may have been put there by the program.
    const { exit } = this.#record;
    if (exit !== null && this.#wrapperGone) return this.#settle(exit);
    const grown = this.#lookAtOutput(now);
    // Starts and bursts are followed closely, silence is not.
    this.#lookDelayMs = grown || !isComplete ? FIRST_LOOK_MS : Math.min(this.#lookDelayMs * 2, QUIET_LOOK_MS);
    this.#lookAt = now + this.#lookDelayMs;

    if (this.#wrapperGone) return this.#lookForSurvivors(now);
    this.#enforceDeadline(now);
    this.#waitForExit(now);
  }

  #readRecord(): void {
    const { begun, startError, exit, ...found } = readRunRecord(this.#directory);
    this.#record = { begun: begun || this.#record.begun, startError, exit };
    this.#processes.read(found);
  }

  #tellStarted(): void {
    const { program } = this.#processes.seal;
    if (this.#toldStarted || program === null) return;
    this.#toldStarted = true;
    this.#parts.listener.started({ host: hostname(), pid: program.pid, pidStart: program.start, bootId: program.boot });
  }

  /** True when there is more than at the last look. */
  #lookAtOutput(now: number): boolean {
    const sizes = this.#readSizes();
    const grown = sizes.some((size, index) => size > (this.#sizes[index] ?? 0));
    this.#sizes = sizes;
    this.#hasNews ||= grown;
    if (this.#hasNews && now >= this.#signAt) {
      this.#hasNews = false;
      this.#signAt = now + QUIET_LOOK_MS;
      const [to = 0] = sizes;
      this.#parts.listener.sign(lastAction(this.#directory, this.#limits?.output ?? "text", this.#toldTo, to));
      this.#toldTo = to;
    }
    // The sizes decide at the end what this was, so that nothing needs to be remembered.
    if (sizes.some((size) => size > this.#bytesMax)) this.#processes.signalGroup("SIGKILL");
    return grown;
  }

  /** The wrapper can tell nothing any more: the run is over when its group is. */
  #lookForSurvivors(now: number): void {
    if (this.#processes.isGroupAlive()) {
      if (now > this.#dueAt) this.#stopGroup("timed-out");
      return;
    }
    if (this.#unreadableSince !== null && now - this.#unreadableSince < UNREADABLE_MS) return;
    this.#processes.dismissGuard();
    const restarted = this.#processes.isOfAnotherBoot;
    if (!restarted && !this.#record.begun && this.#processes.seal.program === null)
      return this.#end(failedRun({ code: "START_FAILED", message: "the wrapper ended before it began the run" }));
    const why = restarted ? "the machine was restarted" : "its wrapper was killed, and nothing of it runs any more";
    void this.#sweep().then(() => this.#end(lostRun("RUN_LOST", `how it ended is not known: ${why}`)));
  }

  /** Ends what the program started outside its group, in the wrapper's place. Never rejects. */
  async #sweep(): Promise<void> {
    this.#phase = "settling";
    const mark = this.#processes.seal.mark ?? readRunSettings(this.#directory)?.mark;
    if (mark === undefined || this.#limits?.leftovers === "report") return;
    await sweepRun(this.#directory, mark, this.#graceMs).catch(() => {});
  }

  /** The guard ends the run in time. This side does where somebody killed it, or keeps it from its work. */
  #enforceDeadline(now: number): void {
    const lateMs = now - this.#dueAt - WRAPPER_SLACK_MS;
    if (this.#killAt !== null || lateMs <= 0) return;
    const { guard } = this.#processes.seal;
    if (lateMs <= this.#graceMs && (guard === null || this.#processes.isGuardAlive())) return;
    // The wrapper waits for it, and it may be frozen.
    this.#processes.killGuard();
    this.#stopGroup("timed-out");
  }

  /** A wrapper that cannot write down how the run ended, or is frozen, is waited for no longer than a stop takes. */
  #waitForExit(now: number): void {
    const { wrapper, program } = this.#processes.seal;
    if (wrapper === null || program === null) return;
    if (this.#processes.isProgramThere() && now < this.#emptyLookAt) return;
    this.#emptyLookAt = now + EMPTY_LOOK_MS;
    this.#emptySince = this.#processes.isGroupAlive() ? null : (this.#emptySince ?? now);
    if (this.#emptySince === null) return;
    if (now - this.#emptySince > this.#graceMs + STUCK_MS) this.#processes.killWrapper();
  }

  #pressStop(now: number): void {
    const { guard, program } = this.#processes.seal;
    if (this.#killAt !== null) {
      if (now >= this.#killAt) this.#processes.signalGroup("SIGKILL");
    } else if (this.#processes.stopByGuard()) {
      this.#killAt = now + this.#graceMs + WRAPPER_SLACK_MS;
    } else if (guard !== null && program !== null) {
      this.#stopGroup("stopped");
    }
  }

  /** TERM now and KILL after the grace, in the guard's place. */
  #stopGroup(why: "stopped" | "timed-out"): void {
    if (this.#killAt !== null) return;
    touch(join(this.#directory, why));
    this.#processes.signalGroup("SIGTERM");
    this.#stopRequested = true;
    this.#killAt = this.#parts.clock.monotonic() + this.#graceMs;
  }

  #settle(exit: ExitRecord): void {
    if (this.#phase !== "followed") return;
    this.#phase = "settling";
    const { spec } = this.#parts;
    const settings = { maxOutputBytes: this.#bytesMax, output: this.#limits?.output ?? "text" };
    endOfRun({
      sessionId: spec.sessionId,
      agentSession: ownSession(spec),
      now: this.#parts.clock.now(),
      directory: this.#directory,
      settings,
      exit,
      startError: this.#processes.seal.program === null ? this.#record.startError : null,
    }).then(
      (end) => this.#end(end),
      (error: unknown) => {
        this.#settleTries += 1;
        if (this.#settleTries >= SETTLE_TRIES) this.#end(failedRun(toSessionError(error)));
        else if (this.#phase === "settling") this.#phase = "followed";
      },
    );
  }

  #end(end: RunEnd): void {
    if (this.#phase === "done") return;
    this.#phase = "done";
    this.#parts.onDone();
    this.#parts.listener.ended(end);
  }

  #readSizes(): number[] {
    let sizes = this.#sizes;
    attempt(() => {
      sizes = OUTPUT_STREAMS.map((stream) => logSize(this.#directory, stream));
    });
    return sizes;
  }

  get #directory(): string {
    return runDirectory(this.#parts.dataDirectory, this.#parts.spec.sessionId);
  }

  get #bytesMax(): number {
    return this.#limits?.maxOutputBytes ?? Number.POSITIVE_INFINITY;
  }

  get #graceMs(): number {
    return this.#limits?.killGraceMs ?? 10_000;
  }
}

/** True where there is a run already that is only to be followed: one that is planned again would be none. */
export function wasMade(directory: string): boolean {
  const seal = readSeal(directory);
  if (seal !== null && (seal.wrapper !== null || seal.program !== null)) return true;
  if (seal?.boot !== undefined && seal.boot !== bootId()) return true;
  const { begun, exit } = readRunRecord(directory);
  return begun || exit !== null;
}

/** False where it threw. */
function attempt(action: () => void): boolean {
  try {
    action();
    return true;
  } catch {
    return false;
  }
}
