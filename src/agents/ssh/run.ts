/** A run on an SSH host, followed over a connection that comes and goes: its local run directory is the mirror of the one there. */
import { join } from "node:path";
import type { SessionError } from "../../core/session.ts";
import type { Clock, Run, RunEnd, RunListener, RunSpec } from "../../dispatcher/ports.ts";
import { toSessionError } from "../agent-problem.ts";
import { ownSession } from "../command.ts";
import { lastAction } from "../output/progress.ts";
import {
  isThere,
  logSize,
  prepareRunDirectory,
  type RunLimits,
  type RunSettings,
  readRunRecord,
  readRunSettings,
  runDirectory,
  writeAtomically,
} from "../run-directory.ts";
import { endOfRun, failedRun, lateRun, lostRun, refusedRun } from "../run-end.ts";
import type { ExitRecord } from "../run-records.ts";
import { wholeSeconds } from "../wrapper.ts";
import { Mirror } from "./mirror.ts";
import type { SshPool } from "./pool.ts";
import type { RemoteShell, RemoteSizes, RemoteState } from "./remote-shell.ts";
import { type RemoteStart, startRemotely } from "./remote-start.ts";
import { type SshTarget, targetName } from "./target.ts";

/** What is decided only when a run has to be made. */
export interface RemotePlan extends Pick<RemoteStart, "argv" | "promptOnStdin" | "place" | "roots"> {
  /** The environment, with the run's mark in it. */
  env(mark: string): Readonly<Record<string, string>>;
}

export interface RemoteSettings extends RunLimits {
  readonly target: SshTarget;
}

export interface SshRunParts {
  readonly clock: Clock;
  readonly spec: RunSpec;
  readonly listener: RunListener;
  readonly dataDirectory: string;
  /** For a run that is new. Throws an `AgentProblem`. */
  readonly settings: () => RemoteSettings;
  /** `home`: the user's on the host. Throws an `AgentProblem`. */
  readonly plan: (target: SshTarget, home: string) => RemotePlan;
  /** It was given up while the host was away: whatever lives of it when the host is back is to be ended. */
  readonly onGivenUp: (left: GivenUp) => void;
  /** The run is followed no more. */
  readonly onDone: () => void;
}

export interface GivenUp {
  readonly graceSeconds: string;
  /** `null`: what left the program's group is to be left alone. */
  readonly mark: string | null;
}

/** Between two looks at which of its processes live. */
const STATE_LOOK_MS = 3000;
/** How long a wrapper may take to write its first records. */
const BEGIN_MS = 10_000;
/** What the wrapper gets on top of its own grace before this side sends KILL. */
const WRAPPER_SLACK_MS = 3000;
/** What a wrapper gets on top of its grace to write down how a run ended. */
const STUCK_MS = 10_000;
/** A host that is away is waited for until its wrapper must have ended the run, and this much longer. */
const LOST_SLACK_MS = 60_000;
const SIGN_MS = 1000;
const START_TRIES = 5;

export class SshRun implements Run {
  readonly #parts: SshRunParts;
  /** `unknown`: the host has to be asked; `wanted`: it has still to be started. */
  #phase: "unknown" | "wanted" | "starting" | "followed" | "settling" | "done" = "unknown";
  #settings: RunSettings | null = null;
  #mirror: Mirror | null = null;
  #state: RemoteState | null = null;
  #stateAt = 0;
  #begunSince: number | null = null;
  /** Since when nothing of the program is left while the wrapper still has to say how it ended. */
  #emptySince: number | null = null;
  /** Known, but the logs have still to be fetched to their end. */
  #ending: ExitRecord | "lost" | null = null;
  /** An exit record was there at the last look: what it says has been asked for. */
  #endSeen = false;
  #toldStarted = false;
  #signAt = 0;
  /** Output has grown since the last sign. */
  #hasNews = false;
  /** Up to where its output was told of by signs, bytes. */
  #toldTo = 0;
  #startTries = 0;
  #stopRequested: "stopped" | "timed-out" | null = null;
  #killAt: number | null = null;
  #following: Promise<unknown> = Promise.resolve();

  constructor(parts: SshRunParts) {
    this.#parts = parts;
  }

  get id(): string {
    return this.#parts.spec.sessionId;
  }

  /**
   * Where the run is or will be: what its directory says, else the settings of now. `null` when no host needs to be asked: it ended
   * before, or cannot begin.
   */
  begin(): SshTarget | null {
    if (this.#phase !== "unknown") return null;
    try {
      const directory = this.#directory;
      const record = readRunRecord(directory);
      this.#settings = readRunSettings(directory);
      if (record.exit !== null) {
        this.#tellStarted();
        this.#settle(record.exit, record.program === null ? record.startError : null);
        return null;
      }
      if (!this.#wasSent && this.#isLate) {
        this.#end(lateRun());
        return null;
      }
      const { target, ...limits } = this.#settings === null ? this.#parts.settings() : recorded(this.#settings);
      const { agent, prompt } = this.#parts.spec;
      this.#settings = prepareRunDirectory(directory, prompt, { agent, ...limits, ssh: target });
      this.#mirror = new Mirror(directory, limits.maxOutputBytes);
      this.#toldTo = logSize(directory, "stdout");
      return target;
    } catch (error) {
      this.#end(failedRun(toSessionError(error)));
      return null;
    }
  }

  wantsState(now: number): boolean {
    if (this.#phase === "unknown") return true;
    return this.#phase === "followed" && this.#ending === null && now >= this.#stateAt;
  }

  get wantsStart(): boolean {
    return this.#phase === "wanted";
  }

  get isFollowed(): boolean {
    return this.#phase === "followed";
  }

  /** What the host says of it. `now` is monotonic. */
  onState(state: RemoteState, now: number): void {
    if (this.#phase !== "unknown" && this.#phase !== "followed") return;
    if (!state.record.begun) return this.#onNotBegun();
    this.#phase = "followed";
    this.#begunSince ??= now;
    this.#keep(state);
    this.#tellStarted();
    const { exit, processes, program } = state.record;
    // Until the first records are there, what happens is asked for with every look.
    this.#stateAt = processes === null || program === null ? now : now + STATE_LOOK_MS;

    // The wrapper's last act: one that is there before the wrapper is gone may have been put there by the program.
    if (exit !== null && !state.isWrapperAlive) this.#ending = exit;
    else if (exit !== null && !state.isGroupAlive) this.#stateAt = now;
    else if (!state.isWrapperAlive && (processes !== null || now - this.#begunSince > BEGIN_MS)) {
      // The wrapper can tell nothing any more: the run is over when its group is.
      if (!state.isGroupAlive) this.#ending = "lost";
      else if (this.#isLate) this.#stopRequested ??= "timed-out";
    } else {
      if (this.#isLate && processes !== null && (!state.isGuardAlive || this.#isOverdue))
        this.#stopRequested ??= "timed-out";
      const isEmpty = program !== null && !state.isGroupAlive;
      this.#emptySince = isEmpty ? (this.#emptySince ?? now) : null;
      // It cannot write down how the run ended, or is frozen.
      if (this.#emptySince !== null && now - this.#emptySince > this.#prepared.killGraceMs + STUCK_MS)
        this.#ending = "lost";
    }
  }

  /** Starts it; what comes of that, the next look tells. */
  async start(pool: SshPool, home: string): Promise<void> {
    this.#phase = "starting";
    try {
      const { spec, clock, plan } = this.#parts;
      const { ssh: target, killGraceMs, leftovers, mark } = this.#prepared;
      const { env, ...planned } = plan(target, home);
      // From here on only the host knows whether there is a run.
      writeAtomically(join(this.#directory, "sent"), "");
      const refusal = await startRemotely(pool, target, {
        ...planned,
        sessionId: spec.sessionId,
        env: env(mark),
        prompt: spec.prompt,
        limitMs: spec.deadlineAt - clock.now(),
        graceMs: killGraceMs,
        leftovers,
      });
      if (refusal !== null) return this.#end(refusedRun(refusal));
    } catch (error) {
      this.#startTries += 1;
      if (!this.#wasSent || this.#startTries >= START_TRIES) return this.#end(failedRun(toSessionError(error)));
    }
    if (this.#phase === "starting") this.#phase = "unknown";
  }

  /** Fetches what is new; true when there may be more at once. `now` is monotonic. */
  follow(shell: RemoteShell, sizes: RemoteSizes, now: number): Promise<boolean> {
    const following = this.#follow(shell, sizes, now);
    this.#following = following.catch(() => {});
    return following;
  }

  /** The host cannot be reached: what that means for this run. */
  onUnreachable(error: SessionError): void {
    if (this.#phase !== "unknown" && this.#phase !== "wanted" && this.#phase !== "followed") return;
    if (!this.#wasSent) return this.#end(failedRun(this.#stopRequested === null ? error : STOPPED));
    const { deadlineAt } = this.#parts.spec;
    const { ssh, killGraceMs } = this.#prepared;
    if (this.#parts.clock.now() <= deadlineAt + killGraceMs + LOST_SLACK_MS) return;
    this.#parts.onGivenUp(this.#leftBehind);
    this.#end(
      lostRun(
        "HOST_UNREACHABLE",
        `${targetName(ssh)} stayed away until after the run's time was over: ${error.message}`,
      ),
    );
  }

  stop(): void {
    this.#stopRequested ??= "stopped";
  }

  async detach(): Promise<void> {
    const wasDone = this.#phase === "done";
    this.#phase = "done";
    await this.#following;
    await this.#mirror?.close();
    if (!wasDone) this.#parts.onDone();
  }

  #onNotBegun(): void {
    const { hasBegun = false } = this.#parts.spec;
    if (hasBegun || this.#state !== null || readRunRecord(this.#directory).program !== null) {
      return this.#end(lostRun("RUN_LOST", "how it ended is not known: its run directory is gone from the host"));
    }
    if (this.#stopRequested !== null) this.#end(failedRun(STOPPED));
    else if (this.#isLate) this.#end(lateRun());
    else this.#phase = "wanted";
  }

  async #follow(shell: RemoteShell, sizes: RemoteSizes, now: number): Promise<boolean> {
    const mirror = this.#mirror;
    if (mirror === null || this.#phase !== "followed") return false;
    const advanced = await mirror.advance(sizes, (stream, offset, bytes) => shell.read(this.id, stream, offset, bytes));
    if (this.#phase !== "followed") return false;
    const endSeen = sizes.hasExit && !this.#endSeen;
    this.#endSeen = sizes.hasExit;
    this.#hasNews ||= advanced;
    if (this.#hasNews && now >= this.#signAt) this.#tellSign(now);
    if (this.#ending !== null && mirror.isComplete(sizes)) await this.#finish(this.#ending, shell);
    else if (this.#ending === null && endSeen) this.#stateAt = now;
    // The sizes decide at the end what this was, so that nothing needs to be remembered.
    else if (this.#ending === null && mirror.isOverLimit) await shell.kill(this.id);
    else if (this.#stopRequested !== null) await this.#pressStop(shell, now);
    return advanced || (this.#ending === null && endSeen);
  }

  #tellSign(now: number): void {
    this.#hasNews = false;
    this.#signAt = now + SIGN_MS;
    const from = this.#toldTo;
    this.#toldTo = logSize(this.#directory, "stdout");
    this.#parts.listener.sign(lastAction(this.#directory, this.#settings?.output ?? "text", from, this.#toldTo));
  }

  async #pressStop(shell: RemoteShell, now: number): Promise<void> {
    if (this.#killAt === null) {
      const { killGraceMs } = this.#prepared;
      await shell.stop(this.id, wholeSeconds(killGraceMs), this.#stopRequested ?? "stopped");
      this.#killAt = now + killGraceMs + WRAPPER_SLACK_MS;
    } else if (now >= this.#killAt) {
      await shell.kill(this.id);
      this.#killAt = now + WRAPPER_SLACK_MS;
    }
  }

  /** The logs are here to their end; the exit record comes last, so that its presence says so. */
  async #finish(ending: ExitRecord | "lost", shell: RemoteShell): Promise<void> {
    await this.#mirror?.close();
    if (ending === "lost") {
      await shell.dismiss(this.id, this.#leftBehind);
      return this.#end(
        lostRun("RUN_LOST", "how it ended is not known: its wrapper was killed, or the host was restarted"),
      );
    }
    const { startError = null } = this.#toldStarted ? {} : (this.#state?.record ?? {});
    this.#keepFile("start-error");
    this.#keepFile("exit.json");
    this.#settle(ending, startError);
  }

  #settle(exit: ExitRecord, startError: string | null): void {
    this.#phase = "settling";
    const { maxOutputBytes = Number.POSITIVE_INFINITY, output = "text" } = this.#settings ?? {};
    const settings = { maxOutputBytes, output };
    const { clock, spec } = this.#parts;
    const facts = { agentSession: ownSession(spec), now: clock.now() };
    endOfRun({ sessionId: this.id, directory: this.#directory, settings, exit, startError, ...facts }).then(
      (end) => this.#end(end),
      (error: unknown) => this.#end(failedRun(toSessionError(error))),
    );
  }

  #keep(state: RemoteState): void {
    const known = this.#state?.record;
    this.#state = state;
    if (known?.processes === null || known === undefined) this.#keepFile("wrapper");
    if (known?.program === null || known === undefined) this.#keepFile("pid");
  }

  #keepFile(name: string): void {
    const content = this.#state?.files.get(name);
    if (content !== undefined) writeAtomically(join(this.#directory, name), content);
  }

  #tellStarted(): void {
    const program = this.#state?.record.program ?? readRunRecord(this.#directory).program;
    const host = this.#settings?.ssh?.host;
    if (this.#toldStarted || program === null || host === undefined) return;
    this.#toldStarted = true;
    this.#parts.listener.started({ host, pid: program.pid, pidStart: program.start, bootId: program.boot });
  }

  #end(end: RunEnd): void {
    if (this.#phase === "done") return;
    this.#phase = "done";
    this.#mirror?.close().catch(() => {});
    this.#parts.onDone();
    this.#parts.listener.ended(end);
  }

  get #directory(): string {
    return runDirectory(this.#parts.dataDirectory, this.id);
  }

  get #leftBehind(): GivenUp {
    const { killGraceMs, leftovers, mark } = this.#prepared;
    return { graceSeconds: wholeSeconds(killGraceMs), mark: leftovers === "kill" ? mark : null };
  }

  get #wasSent(): boolean {
    return isThere(join(this.#directory, "sent"));
  }

  get #isLate(): boolean {
    return this.#parts.clock.now() >= this.#parts.spec.deadlineAt;
  }

  /** The guard must have ended it by now. */
  get #isOverdue(): boolean {
    const { deadlineAt } = this.#parts.spec;
    return this.#parts.clock.now() > deadlineAt + this.#prepared.killGraceMs + WRAPPER_SLACK_MS;
  }

  get #prepared(): RunSettings & { readonly ssh: SshTarget } {
    const settings = this.#settings;
    if (settings?.ssh === undefined) throw new Error(`the run ${this.id} is not prepared`);
    return { ...settings, ssh: settings.ssh };
  }
}

const STOPPED: SessionError = { code: "STOPPED", message: "it was stopped before it began" };

function recorded({ ssh, killGraceMs, maxOutputBytes, leftovers, output }: RunSettings): RemoteSettings {
  if (ssh === undefined) throw new Error("the run was started on this machine, and its agent is an ssh agent by now");
  return { target: ssh, killGraceMs, maxOutputBytes, leftovers, output };
}
