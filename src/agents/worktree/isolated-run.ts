/** A run that works in its task's worktree: that is made first, however long it takes, and then the run itself. */
import type { Worktree } from "../../core/session.ts";
import type { Clock, Run, RunListener, RunSpec } from "../../dispatcher/ports.ts";
import { toSessionError } from "../agent-problem.ts";
import { failedRun } from "../run-end.ts";
import type { WorktreePlace } from "./worktrees.ts";

export interface IsolatedRunParts {
  readonly clock: Clock;
  readonly spec: RunSpec;
  readonly listener: RunListener;
  /** It was made before: it is only found again, whatever has become of the workspace. Throws where that cannot be told now. */
  readonly wasMade: () => boolean;
  /** Rejects with an `AgentProblem`. */
  readonly prepare: (signal: AbortSignal) => Promise<WorktreePlace>;
  /** The worktree of a run that was made before; `null` = not known. */
  readonly known: () => Worktree | null;
  /** Opens the run itself. `place`: `null` for one that was made before. */
  readonly open: (place: WorktreePlace | null, listener: RunListener) => Run;
}

/** A session whose worktree is made must not pass for one whose program does not begin. */
const SIGN_MS = 5000;
const ASK_AGAIN_MS = 1000;

export class IsolatedRun implements Run {
  readonly #parts: IsolatedRunParts;
  readonly #aborter = new AbortController();
  /** Resolves once there is the run itself, or will be none. */
  readonly #preparing: Promise<void>;
  #run: Run | null = null;
  #isStopped = false;
  #isDetached = false;

  constructor(parts: IsolatedRunParts) {
    this.#parts = parts;
    this.#preparing = this.#begin();
  }

  stop(): void {
    this.#isStopped = true;
    this.#aborter.abort();
    this.#run?.stop();
  }

  async detach(): Promise<void> {
    this.#isDetached = true;
    this.#aborter.abort();
    await this.#preparing;
    await this.#run?.detach();
  }

  async #begin(): Promise<void> {
    // Never an end before `open` returned.
    await this.#pause(0);
    try {
      const place = (await this.#wasMade()) ? null : await this.#prepare();
      if (!this.#isDetached) this.#open(place);
    } catch (error) {
      if (this.#isDetached) return;
      const stopped = { code: "STOPPED", message: "it was stopped before it began" };
      this.#parts.listener.ended(failedRun(this.#isStopped ? stopped : toSessionError(error)));
    }
  }

  /** Too many open files, a disk in trouble: it may run, so nothing is made until that is known. At the end of its time the run itself says. */
  async #wasMade(): Promise<boolean> {
    const { wasMade, spec, clock } = this.#parts;
    if (spec.hasBegun === true) return true;
    while (!this.#isDetached) {
      try {
        return wasMade();
      } catch {
        if (clock.now() > spec.deadlineAt) return true;
        await this.#pause(ASK_AGAIN_MS);
      }
    }
    return true;
  }

  async #prepare(): Promise<WorktreePlace> {
    const { clock, listener, prepare } = this.#parts;
    let cancel = () => {};
    const tell = () => {
      if (this.#isDetached) return;
      listener.sign("making its worktree");
      cancel = clock.after(SIGN_MS, tell);
    };
    tell();
    try {
      return await prepare(this.#aborter.signal);
    } finally {
      cancel();
    }
  }

  #open(place: WorktreePlace | null): void {
    const { listener, open, known } = this.#parts;
    this.#run = open(place, {
      ...listener,
      started: (facts) => {
        const worktree = place?.worktree ?? knownOf(known);
        listener.started(worktree === null ? facts : { ...facts, worktree });
      },
    });
    if (this.#isStopped) this.#run.stop();
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.#parts.clock.after(ms, () => resolve()));
  }
}

/** For the session's view alone: a run is followed without it too. */
function knownOf(known: () => Worktree | null): Worktree | null {
  try {
    return known();
  } catch {
    return null;
  }
}
