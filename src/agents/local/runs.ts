/** The runs on this machine that the daemon follows: one timer for all of them, and their starts one after the other. */
import type { Clock, Run, RunListener, RunSpec } from "../../dispatcher/ports.ts";
import { LocalRun, type LocalRunParts } from "./run.ts";

const TICK_MS = 100;

export class LocalRuns {
  readonly #clock: Clock;
  readonly #dataDirectory: () => string;
  readonly #runs = new Set<LocalRun>();
  readonly #waiting: LocalRun[] = [];
  #isStarting = false;
  #cancelTick: (() => void) | null = null;

  constructor(clock: Clock, dataDirectory: () => string) {
    this.#clock = clock;
    this.#dataDirectory = dataDirectory;
  }

  /** See `AgentAdapter.open`. */
  open(spec: RunSpec, listener: RunListener, decisions: Pick<LocalRunParts, "plan" | "limits">): Run {
    const run: LocalRun = new LocalRun({
      clock: this.#clock,
      spec,
      listener,
      dataDirectory: this.#dataDirectory(),
      ...decisions,
      onDone: () => this.#runs.delete(run),
    });
    this.#runs.add(run);
    this.#waiting.push(run);
    if (!this.#isStarting) {
      this.#isStarting = true;
      setImmediate(() => this.#startNext());
    }
    this.#cancelTick ??= this.#clock.after(TICK_MS, () => this.#tick());
    return run;
  }

  /** Lets go of all runs, which go on. */
  async close(): Promise<void> {
    await Promise.all([...this.#runs].map((run) => run.detach()));
    this.#cancelTick?.();
    this.#cancelTick = null;
  }

  /** Making a process takes milliseconds in which nothing else happens: others come in between two starts. */
  #startNext(): void {
    const run = this.#waiting.shift();
    if (run === undefined) {
      this.#isStarting = false;
      return;
    }
    run.begin();
    setImmediate(() => this.#startNext());
  }

  #tick(): void {
    const now = this.#clock.monotonic();
    for (const run of this.#runs) run.look(now);
    this.#cancelTick = this.#runs.size === 0 ? null : this.#clock.after(TICK_MS, () => this.#tick());
  }
}
