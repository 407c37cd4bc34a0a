/** The runs at one gateway: one look at its list serves all of them, and a gateway that is away is asked less and less often. */
import type { OpenClawSettings } from "../../config/schema.ts";
import type { Clock } from "../../dispatcher/ports.ts";
import { toSessionError } from "../agent-problem.ts";
import { type Family, parseFamilies } from "./children.ts";
import { type Answer, createGateway, type Gateway, get } from "./gateway.ts";
import type { OpenClawRun } from "./run.ts";
import { parseVersion, takesMoreArguments } from "./version.ts";

const AWAY_MS = 500;
const AWAY_MAX_MS = 30_000;

export class OpenClawHost {
  readonly #target: OpenClawSettings;
  readonly #clock: Clock;
  readonly #gateway: Gateway;
  readonly #runs = new Set<OpenClawRun>();
  /** Labels of runs that were given up while the gateway was away. */
  readonly #givenUp = new Set<string>();
  readonly #closing = new AbortController();
  /** `null`: not known yet. */
  #version: { readonly text: string | null } | null = null;
  #failures = 0;
  #isLooking = false;
  /** A look is wanted as soon as the present one is over. */
  #isHurried = false;
  /** Monotonic: the gateway wants to be left alone until then. */
  #silentUntil = 0;
  #cancelTimer: (() => void) | null = null;

  constructor(target: OpenClawSettings, environment: NodeJS.ProcessEnv, clock: Clock) {
    this.#target = target;
    this.#clock = clock;
    this.#gateway = createGateway(target, environment, this.#closing.signal);
  }

  add(run: OpenClawRun): void {
    this.#runs.add(run);
    this.hurry();
  }

  remove(run: OpenClawRun): void {
    this.#runs.delete(run);
  }

  /** What lives of it is cancelled when the gateway is back. Only this daemon knows of it. */
  giveUp(label: string): void {
    this.#givenUp.add(label);
  }

  /** Looks now, whatever the time of the next look. */
  hurry(): void {
    if (this.#isLooking) this.#isHurried = true;
    else this.#lookIn(0);
  }

  /** Lets go of all runs, which go on. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#cancelTimer?.();
    this.#cancelTimer = null;
    await Promise.all([...this.#runs].map((run) => run.detach()));
  }

  #lookIn(delayMs: number): void {
    if (this.#closing.signal.aborted) return;
    this.#cancelTimer?.();
    const silentMs = this.#silentUntil - this.#clock.monotonic();
    this.#cancelTimer = this.#clock.after(Math.max(delayMs, silentMs, 0), () => {
      this.#cancelTimer = null;
      // Whatever an answer holds that nobody foresaw: the runs are not left alone for it.
      this.#look().catch((error: unknown) => {
        this.#isLooking = false;
        for (const run of this.#runs) run.onUnreachable(toSessionError(error), false);
        this.#lookIn(AWAY_MAX_MS);
      });
    });
  }

  async #look(): Promise<void> {
    if (this.#runs.size === 0 && this.#givenUp.size === 0) return;
    this.#isLooking = true;
    this.#isHurried = false;
    await this.#learnVersion();
    const answer = await this.#gateway.invoke("subagents", { action: "list" });
    if (this.#closing.signal.aborted) return;
    const families = answer.kind === "ok" ? parseFamilies(answer.details) : null;
    if (families === null) this.#onNoList(answer);
    else this.#onList(families);
    this.#isLooking = false;
    const awayMs = Math.min(AWAY_MS * 2 ** Math.min(this.#failures - 1, 10), AWAY_MAX_MS);
    this.#lookIn(this.#failures > 0 ? awayMs : this.#isHurried ? 0 : this.#target.pollMs);
  }

  #onList(families: ReadonlyMap<string, Family>): void {
    this.#failures = 0;
    const takesMore = takesMoreArguments(this.#version?.text ?? null);
    for (const run of this.#runs) run.onList(families.get(run.label), this.#gateway, takesMore);
    for (const label of this.#givenUp) {
      this.#givenUp.delete(label);
      for (const taskId of families.get(label)?.runningTasks ?? []) {
        void this.#gateway.invoke("subagents", { action: "cancel", taskId });
      }
    }
  }

  #onNoList(answer: Answer): void {
    this.#failures += 1;
    // It may come back as another version.
    this.#version = null;
    if (answer.kind === "away" && answer.retryAfterMs !== null)
      this.#silentUntil = this.#clock.monotonic() + answer.retryAfterMs;
    const problem =
      answer.kind === "ok"
        ? {
            code: "GATEWAY_FAILED",
            message: `the OpenClaw gateway ${this.#gateway.name} answered something that is no list of children`,
          }
        : answer.problem;
    const isFinal = answer.kind === "refused" || (answer.kind === "away" && answer.retryAfterMs === null);
    for (const run of this.#runs) run.onUnreachable(problem, isFinal);
  }

  /** One that does not say its version gets the arguments that all versions take. */
  async #learnVersion(): Promise<void> {
    if (this.#version !== null) return;
    if (this.#target.version !== undefined) {
      this.#version = { text: this.#target.version };
      return;
    }
    const answer = await askVersion(this.#gateway);
    if (answer.kind === "ok" || answer.kind === "refused") this.#version = { text: versionIn(answer) };
  }
}

export function askVersion(gateway: Gateway): Promise<Answer> {
  return gateway.invoke("session_status", {});
}

/** What `session_status` says; `null` = nothing that is known. */
export function versionIn(answer: Answer): string | null {
  const text = answer.kind === "ok" ? get(answer.details, "statusText") : null;
  return typeof text === "string" ? parseVersion(text.slice(0, 200)) : null;
}
