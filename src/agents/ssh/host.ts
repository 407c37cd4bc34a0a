/** The runs on one SSH host: one loop asks the host about all of them, and comes back when the connection does. */
import type { Clock } from "../../dispatcher/ports.ts";
import { toSessionError } from "../agent-problem.ts";
import { SshPool } from "./pool.ts";
import { type HostFacts, type HostQuestion, RemoteShell } from "./remote-shell.ts";
import type { GivenUp, SshRun } from "./run.ts";
import type { SshTarget } from "./target.ts";

const LOOK_MS = 250;
const RECONNECT_MS = 500;
const RECONNECT_MAX_MS = 30_000;
/** A host without runs is let go after this. */
const IDLE_MS = 60_000;

export class SshHost {
  readonly #clock: Clock;
  readonly #target: SshTarget;
  readonly #pool: SshPool;
  readonly #runs = new Set<SshRun>();
  /** Runs that were given up while the host was away. */
  readonly #givenUp = new Map<string, GivenUp>();
  #shell: RemoteShell | null = null;
  #opening: Promise<RemoteShell> | null = null;
  #failures = 0;
  #isLooking = false;
  #isClosed = false;
  #cancelTimer: (() => void) | null = null;

  constructor(target: SshTarget, agentSocket: string | undefined, clock: Clock) {
    this.#clock = clock;
    this.#target = target;
    this.#pool = new SshPool(target, agentSocket);
  }

  add(run: SshRun): void {
    this.#runs.add(run);
    this.#lookIn(0);
  }

  remove(run: SshRun): void {
    this.#runs.delete(run);
  }

  /** What lives of the run is ended when the host is back. Only this daemon knows of it; the run's own deadline does not need it. */
  giveUp(id: string, left: GivenUp): void {
    this.#givenUp.set(id, left);
  }

  /** Throws an `AgentProblem` where the host cannot be asked. */
  async inspect(question: HostQuestion): Promise<HostFacts> {
    const shell = await this.#connected();
    if (this.#runs.size === 0) this.#lookIn(IDLE_MS);
    return shell.inspect(question);
  }

  /** Lets go of the connections and of all runs, which go on. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    this.#shell?.close();
    this.#pool.close();
    await Promise.all([...this.#runs].map((run) => run.detach()));
  }

  #lookIn(delayMs: number): void {
    if (this.#isClosed || this.#isLooking) return;
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.after(delayMs, () => {
      this.#cancelTimer = null;
      void this.#look();
    });
  }

  async #look(): Promise<void> {
    if (!this.#isNeeded) {
      this.#shell?.close();
      this.#shell = null;
      this.#pool.disconnect();
      return;
    }
    this.#isLooking = true;
    let delayMs = LOOK_MS;
    try {
      const shell = await this.#connected();
      await this.#endGivenUp(shell);
      const hasMore = await this.#lookAtAll(shell);
      this.#failures = 0;
      if (hasMore) delayMs = 0;
    } catch (error) {
      // Not even a look that failed in the middle of an answer: what comes next starts on a fresh channel.
      this.#shell?.close();
      this.#shell = null;
      delayMs = Math.min(RECONNECT_MS * 2 ** this.#failures, RECONNECT_MAX_MS);
      this.#failures += 1;
      if (!this.#isClosed) for (const run of this.#runs) run.onUnreachable(toSessionError(error));
    }
    this.#isLooking = false;
    this.#lookIn(this.#isNeeded ? delayMs : IDLE_MS);
  }

  get #isNeeded(): boolean {
    return this.#runs.size > 0 || this.#givenUp.size > 0;
  }

  async #endGivenUp(shell: RemoteShell): Promise<void> {
    if (this.#givenUp.size === 0) return;
    const states = await shell.states([...this.#givenUp.keys()]);
    for (const [id, left] of this.#givenUp) {
      if (states.get(id)?.isWrapperAlive === true) await shell.stop(id, left.graceSeconds, "timed-out");
      else await shell.dismiss(id, left);
      this.#givenUp.delete(id);
    }
  }

  /** True when some run has more to fetch at once. */
  async #lookAtAll(shell: RemoteShell): Promise<boolean> {
    const now = this.#clock.monotonic();
    const asked = [...this.#runs].filter((run) => run.wantsState(now));
    const states = await shell.states(asked.map(({ id }) => id));
    for (const run of asked) {
      const state = states.get(run.id);
      if (state !== undefined) run.onState(state, now);
    }
    for (const run of this.#runs) {
      if (run.wantsStart) void run.start(this.#pool, shell.home).then(() => this.#lookIn(0));
    }

    const followed = [...this.#runs].filter((run) => run.isFollowed);
    const sizes = await shell.sizes(followed.map(({ id }) => id));
    let hasMore = false;
    for (const run of followed) {
      const size = sizes.get(run.id);
      if (size !== undefined && (await run.follow(shell, size, now))) hasMore = true;
    }
    return hasMore;
  }

  async #connected(): Promise<RemoteShell> {
    if (this.#shell?.isOpen === true) return this.#shell;
    this.#opening ??= RemoteShell.open(this.#pool, this.#target, this.#clock).finally(() => {
      this.#opening = null;
    });
    this.#shell = await this.#opening;
    return this.#shell;
  }
}
