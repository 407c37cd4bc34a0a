/** A run on this machine, followed through its run directory: made, or found again, stopped, told of. */
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Clock, Run, RunEnd, RunListener, RunSpec } from "../../dispatcher/ports.ts";
import { toSessionError } from "../agent-problem.ts";
import {
  isThere,
  logSize,
  OUTPUT_STREAMS,
  prepareRunDirectory,
  type RunSettings,
  readRunRecord,
  readRunSettings,
  runDirectory,
} from "../run-directory.ts";
import { endOfRun, failedRun, lateRun, lostRun } from "../run-end.ts";
import type { ExitRecord, RunRecord } from "../run-records.ts";
import { BEGUN_BEFORE } from "../wrapper.ts";
import { bootId, isAlive, isGroupAlive, isPidTaken, signal } from "./processes.ts";
import { startWrapper, type WrapperStart } from "./start-wrapper.ts";

/** What is decided only when a run has to be made. */
export interface LocalPlan extends Pick<WrapperStart, "argv" | "promptOnStdin" | "workdir"> {
  readonly killGraceMs: number;
  readonly maxOutputBytes: number;
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
  /** The run is followed no more. */
  readonly onDone: () => void;
}

/** While output keeps coming it is looked at with every tick, else after growing pauses up to this. */
const QUIET_LOOK_MS = 1000;
const FIRST_LOOK_MS = 100;
/** Between two looks at what a cheap look cannot tell: a pid that is another process's by now. */
const IDENTITY_LOOK_MS = 10_000;
/** How long a wrapper may take to write its first records. */
const BEGIN_MS = 5000;
/** What the wrapper gets on top of its own grace before this side takes over. */
const WRAPPER_SLACK_MS = 3000;
/** How often the logs of an ended run are tried before it ends without them. */
const SETTLE_TRIES = 20;

export class LocalRun implements Run {
  readonly #parts: LocalRunParts;
  #phase: "waiting" | "followed" | "settling" | "done" = "waiting";
  #settings: RunSettings | null = null;
  /** Started by this object, so that the wrapper's end is told and need not be looked for. */
  #isOwn = false;
  #wrapperGone = false;
  #record: RunRecord = { begun: false, processes: null, program: null, startError: null, exit: null };
  #toldStarted = false;
  #followedSince = 0;
  #sizes = [0, 0];
  #lookDelayMs = FIRST_LOOK_MS;
  #lookAt = 0;
  #identityAt = 0;
  #signAt = 0;
  #stopRequested = false;
  /** Once it is being stopped: when this side sends KILL to what is left, monotonic ms. */
  #killAt: number | null = null;
  #settleTries = 0;

  constructor(parts: LocalRunParts) {
    this.#parts = parts;
  }

  /** Makes the run, or finds it. */
  async begin(): Promise<void> {
    if (this.#phase !== "waiting") return;
    try {
      const record = readRunRecord(this.#directory);
      if (record.begun || record.exit !== null) this.#follow();
      else await this.#make();
    } catch (error) {
      this.#end(failedRun(toSessionError(error)));
    }
  }

  /** Looks at what has become of it, as far as it is time to. `now` is monotonic. */
  look(now: number): void {
    if (this.#phase !== "followed") return;
    try {
      if (!this.#isOwn && !this.#wrapperGone) this.#watchWrapper(now);
      if (now >= this.#lookAt || this.#wrapperGone) this.#lookAtFiles(now);
      if (this.#phase === "followed" && this.#stopRequested) this.#pressStop(now);
    } catch {
      // Too many open files, a disk in trouble: nothing is known now, and nothing is concluded. The next look tries again.
    }
  }

  stop(): void {
    this.#stopRequested = true;
    if (this.#phase === "followed") this.#pressStop(this.#parts.clock.monotonic());
  }

  async detach(): Promise<void> {
    this.#phase = "done";
    this.#parts.onDone();
  }

  async #make(): Promise<void> {
    const { clock, spec, plan } = this.#parts;
    const directory = this.#directory;
    if (this.#stopRequested)
      return this.#end(failedRun({ code: "STOPPED", message: "it was stopped before it began" }));
    const limitMs = spec.deadlineAt - clock.now();
    if (limitMs <= 0) return this.#end(lateRun());

    const { killGraceMs, maxOutputBytes, env, ...start } = plan(directory);
    this.#settings = prepareRunDirectory(directory, spec.prompt, { agent: spec.agent, killGraceMs, maxOutputBytes });
    const { mark } = this.#settings;
    const { ended } = await startWrapper({ ...start, directory, env: env(mark), limitMs, graceMs: killGraceMs });
    this.#isOwn = true;
    ended.then(
      (status) => this.#onWrapperEnd(status),
      (error: unknown) => this.#end(failedRun(toSessionError(error))),
    );
    this.#follow();
  }

  #follow(): void {
    if (this.#phase !== "waiting") return;
    this.#phase = "followed";
    this.#settings ??= readRunSettings(this.#directory);
    this.#followedSince = this.#parts.clock.monotonic();
    // What was written before is no sign of life now.
    if (!this.#isOwn) this.#sizes = this.#readSizes();
    this.look(this.#followedSince);
  }

  #onWrapperEnd(status: number | undefined): void {
    this.#isOwn = false;
    if (status !== BEGUN_BEFORE) this.#wrapperGone = true;
    this.look(this.#parts.clock.monotonic());
  }

  /** For a wrapper that is no child of this process. */
  #watchWrapper(now: number): void {
    const { processes } = this.#record;
    if (processes === null) {
      // Until its first records are there, only time can tell that nobody will write them.
      if (now - this.#followedSince > BEGIN_MS) this.#wrapperGone = true;
      return;
    }
    if (now >= this.#identityAt) {
      this.#identityAt = now + IDENTITY_LOOK_MS;
      this.#wrapperGone = !isAlive(processes.wrapper);
    } else {
      this.#wrapperGone = !isPidTaken(processes.wrapper.pid);
    }
  }

  #lookAtFiles(now: number): void {
    const isComplete = this.#record.processes !== null && this.#record.program !== null;
    if (!isComplete || this.#wrapperGone || (!this.#isOwn && isThere(join(this.#directory, "exit.json"))))
      this.#readRecord();
    this.#tellStarted();

    // The wrapper writes it when the group is empty: one that is there before was put there by the program.
    if (this.#record.exit !== null && (this.#wrapperGone || !this.#hasGroup())) return this.#settle(this.#record.exit);
    const grown = this.#lookAtOutput(now);
    // Starts and bursts are followed closely, silence is not.
    this.#lookDelayMs = grown || !isComplete ? FIRST_LOOK_MS : Math.min(this.#lookDelayMs * 2, QUIET_LOOK_MS);
    this.#lookAt = now + this.#lookDelayMs;

    if (this.#wrapperGone) this.#lookForSurvivors();
    else this.#enforceDeadline();
  }

  /** What was known stays known, even if somebody removes the run directory. */
  #readRecord(): void {
    const fresh = readRunRecord(this.#directory);
    const { begun, processes, program } = this.#record;
    this.#record = {
      ...fresh,
      begun: fresh.begun || begun,
      processes: fresh.processes ?? processes,
      program: fresh.program ?? program,
    };
  }

  #tellStarted(): void {
    const { program } = this.#record;
    if (this.#toldStarted || program === null) return;
    this.#toldStarted = true;
    this.#parts.listener.started({ host: hostname(), pid: program.pid, pidStart: program.start, bootId: program.boot });
  }

  /** True when there is more than at the last look. */
  #lookAtOutput(now: number): boolean {
    const sizes = this.#readSizes();
    const grown = sizes.some((size, index) => size > (this.#sizes[index] ?? 0));
    this.#sizes = sizes;
    if (grown && now >= this.#signAt) {
      this.#signAt = now + QUIET_LOOK_MS;
      this.#parts.listener.sign();
    }
    // The sizes decide at the end what this was, so that nothing needs to be remembered.
    if (sizes.some((size) => size > this.#bytesMax)) this.#signalGroup("SIGKILL");
    return grown;
  }

  /** The wrapper can tell nothing any more: the run is over when its group is. */
  #lookForSurvivors(): void {
    const { begun, program } = this.#record;
    if (this.#hasGroup()) {
      if (this.#parts.clock.now() > this.#parts.spec.deadlineAt) this.#stopGroup("timed-out");
      return;
    }
    this.#dismissGuard();
    if (!begun)
      return this.#end(failedRun({ code: "START_FAILED", message: "the wrapper ended before it began the run" }));
    const restarted = program !== null && program.boot !== bootId();
    const why = restarted ? "the machine was restarted" : "its wrapper was killed, and nothing of it runs any more";
    this.#end(lostRun("RUN_LOST", `how it ended is not known: ${why}`));
  }

  /** The guard ends the run in time. Only where somebody killed the guard, this side does: wall clocks jump. */
  #enforceDeadline(): void {
    const { processes } = this.#record;
    if (processes === null || this.#killAt !== null) return;
    if (this.#parts.clock.now() <= this.#parts.spec.deadlineAt + WRAPPER_SLACK_MS) return;
    if (!isAlive(processes.guard)) this.#stopGroup("timed-out");
  }

  #pressStop(now: number): void {
    const { processes, program } = this.#record;
    if (this.#killAt !== null) {
      if (now >= this.#killAt) this.#signalGroup("SIGKILL");
    } else if (processes !== null && isAlive(processes.guard)) {
      signal(processes.guard.pid, "SIGTERM");
      this.#killAt = now + this.#graceMs + WRAPPER_SLACK_MS;
    } else if (processes !== null && program !== null) {
      this.#stopGroup("stopped");
    }
  }

  /** TERM now and KILL after the grace, in the guard's place. */
  #stopGroup(why: "stopped" | "timed-out"): void {
    if (this.#killAt !== null) return;
    writeFileSync(join(this.#directory, why), "", { mode: 0o600 });
    this.#signalGroup("SIGTERM");
    this.#stopRequested = true;
    this.#killAt = this.#parts.clock.monotonic() + this.#graceMs;
  }

  #dismissGuard(): void {
    const { processes } = this.#record;
    if (processes !== null && isAlive(processes.guard)) signal(processes.guard.pid, "SIGUSR1");
  }

  #signalGroup(name: NodeJS.Signals): void {
    const { program } = this.#record;
    if (program !== null && this.#hasGroup()) signal(-program.pid, name);
  }

  /** True when the group of that number lives and is this run's: a number is used again only when the whole group is gone. */
  #hasGroup(): boolean {
    const { program } = this.#record;
    if (program === null || program.boot !== bootId()) return false;
    if (isAlive(program)) return true;
    return !isPidTaken(program.pid) && isGroupAlive(program.pid);
  }

  #settle(exit: ExitRecord): void {
    if (this.#phase !== "followed") return;
    this.#phase = "settling";
    const { spec } = this.#parts;
    const settings = { maxOutputBytes: this.#bytesMax };
    endOfRun({
      sessionId: spec.sessionId,
      directory: this.#directory,
      settings,
      exit,
      startError: this.#record.startError,
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
    return OUTPUT_STREAMS.map((stream) => logSize(this.#directory, stream));
  }

  get #directory(): string {
    return runDirectory(this.#parts.dataDirectory, this.#parts.spec.sessionId);
  }

  get #bytesMax(): number {
    return this.#settings?.maxOutputBytes ?? Number.POSITIVE_INFINITY;
  }

  get #graceMs(): number {
    return this.#settings?.killGraceMs ?? 10_000;
  }
}
