/**
 * A run that is a child session of an OpenClaw gateway.
 *
 * It is started by the tool `sessions_spawn` over `POST /tools/invoke`, not by `POST /hooks/agent`. Both were tried on a gateway 2026.9.6:
 *
 * - A hook honours an `Idempotency-Key`, but forgets it with a restart, and five minutes after the end. What it starts is a session
 *   `agent:main:cron:<uuid>` that has no label and stands in no list of children: its answer, a `runId`, leads nowhere over HTTP, so
 *   after a lost answer nobody can tell whether it runs, it cannot be cancelled, and its text cannot be found. It also wraps the task
 *   as foreign content that the model is told not to trust.
 * - A spawn is not idempotent (the `idempotencyKey` of `/tools/invoke` and a `taskName` were both taken twice: two children). But its
 *   label stands in `subagents {action: "list"}` and `sessions_list {label}`, on disk, through a restart of the gateway and a kill -9,
 *   together with the key for its text and the id for its cancellation.
 *
 * So a child starts at most once because it is looked for: with a label that holds the session's id, before every ask, and an ask is on
 * our disk before it goes out (`record.ts`). One that may have been heard is not repeated before the gateway, asked `settleMs` later, has
 * no child of that label. What remains: a gateway that holds a request for longer than that after its connection is gone, and then still
 * does it. Then there are two children of one label, and the next look cancels one of them; where the second ask was refused, there is one
 * that nobody follows, and its callback is refused.
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { OpenClawSettings } from "../../config/schema.ts";
import type { SessionError } from "../../core/session.ts";
import type { Clock, Run, RunEnd, RunListener, RunSpec } from "../../dispatcher/ports.ts";
import { hostWords, toSessionError } from "../agent-problem.ts";
import { runDirectory, writeAtomically } from "../run-directory.ts";
import { failedRun, lateRun, lostRun } from "../run-end.ts";
import { childOf, type Family, parseSessions } from "./children.ts";
import { endOfChild, type StopReason } from "./end.ts";
import { type Answer, type Gateway, get } from "./gateway.ts";
import { type Message, type Page, parsePage } from "./messages.ts";
import { type ChildRecord, readChildRecord, writeChildRecord } from "./record.ts";
import { Transcript } from "./transcript.ts";

/** What is decided only when a child has to be made. */
export interface ChildPlan {
  readonly agentId?: string | undefined;
  readonly model?: string | undefined;
  /** Only where the gateway takes it. */
  readonly cwd?: string | undefined;
}

export interface OpenClawRunParts {
  readonly clock: Clock;
  readonly spec: RunSpec;
  readonly listener: RunListener;
  readonly dataDirectory: string;
  readonly pace: Pace;
  /** For a run that is new. Throws an `AgentProblem`. */
  readonly settings: () => Pick<ChildRecord, "target" | "killGraceMs" | "maxOutputBytes">;
  /** Throws an `AgentProblem`. */
  readonly plan: () => ChildPlan;
  /** It was given up while the gateway was away: what lives of it when the gateway is back is to be cancelled. */
  readonly onGivenUp: (label: string) => void;
  /** Something is to be done before the next look is due. */
  readonly onHurry: () => void;
  /** The run is followed no more. */
  readonly onDone: () => void;
}

/** How patient a run is, in ms. */
export interface Pace {
  /** After an ask that may have been heard, until a list without its child means that there is none. */
  readonly settleMs: number;
  /** How long a child may be in no list before it counts as lost. */
  readonly absentMs: number;
  /** A gateway that is away is waited for until the run's time is over, and this much longer. */
  readonly lostSlackMs: number;
  /** A child that has ended may still be writing its last words, or why it failed. */
  readonly lastWordsMs: number;
  /** Between two looks at a transcript of which nothing says that it has grown. */
  readonly historyMs: number;
}

export const PACE: Pace = {
  settleMs: 15_000,
  absentMs: 60_000,
  lostSlackMs: 60_000,
  lastWordsMs: 10_000,
  historyMs: 10_000,
};

const ASKS_MAX = 3;
/** Messages of one answer: of 8,000 characters each, twice, they stay below what an answer may have; else fewer are asked for. */
const PAGE_SIZES = [20, 5, 1] as const;
/** Of a child that was busy while nobody looked. */
const PAGES_MAX = 40;
/** The gateway ends a child by itself so much after we would have, should no daemon be there. */
const BACKSTOP_MS = 60_000;

export class OpenClawRun implements Run {
  readonly #parts: OpenClawRunParts;
  readonly label: string;
  /** `unknown`: the gateway has to be asked whether there is a child. */
  #phase: "unknown" | "followed" | "done" = "unknown";
  #record: ChildRecord | null = null;
  /** What was written down is gone: its child is looked for at the gateway of now, and it is not started again. */
  #isGuess = false;
  #transcript: Transcript | null = null;
  #toldStarted = false;
  #stopReason: StopReason | null = null;
  #activeAt = 0;
  #historyAt = 0;
  #absentSince: number | null = null;
  /** Monotonic, as `#absentSince` and `#historyAt` are. */
  #endedSince: number | null = null;
  #isBusy = false;
  #stepping: Promise<void> = Promise.resolve();

  constructor(parts: OpenClawRunParts) {
    this.#parts = parts;
    this.label = labelOf(parts.spec.sessionId);
  }

  /** Which gateway has it, or is to have it: what its record says, else the settings of now. `null`: it cannot begin. */
  begin(): OpenClawSettings | null {
    if (this.#phase === "done") return null;
    try {
      const { spec, clock, settings } = this.#parts;
      const found = readChildRecord(this.#directory);
      if (found === "damaged" || (found === null && spec.hasBegun === true)) {
        this.#isGuess = true;
        this.#record = { version: 1, ...settings(), asks: 1, askedAt: clock.now(), childKey: null };
      } else if (found === null && this.#isLate) {
        this.#end(lateRun());
        return null;
      } else if (found === null) {
        this.#keep({ version: 1, ...settings(), asks: 0, askedAt: 0, childKey: null });
      } else {
        this.#record = found;
      }
      const now = clock.now();
      // The clock was set back.
      if (this.#known.askedAt > now) this.#keep({ ...this.#known, askedAt: now });
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      this.#transcript = new Transcript(this.#directory, this.#secret);
      return this.#known.target;
    } catch (error) {
      this.#end(failedRun(toSessionError(error)));
      return null;
    }
  }

  /**
   * Goes one step on, by what the gateway's list says of the label. One step at a time: a slow one misses some lists.
   * `takesMore`: the gateway takes more than the arguments that all versions take.
   */
  onList(family: Family | undefined, gateway: Gateway, takesMore: boolean): void {
    if (this.#isBusy || this.#phase === "done") return;
    this.#isBusy = true;
    this.#stepping = this.#step(family, gateway, takesMore)
      // A full disk, most likely: the next list finds all as it is now.
      .catch((error: unknown) => this.onUnreachable(toSessionError(error), false))
      .finally(() => {
        this.#isBusy = false;
      });
  }

  /** The gateway cannot be asked: what that means for this run. `isFinal`: it will not be otherwise, however long one waits. */
  onUnreachable(problem: SessionError, isFinal: boolean): void {
    if (this.#phase === "done" || this.#record === null) return;
    const { asks, childKey, killGraceMs, target } = this.#record;
    const { clock, spec, pace, onGivenUp } = this.#parts;
    if (asks === 0 && childKey === null) {
      if (this.#stopReason !== null) return this.#end(failedRun(STOPPED));
      if (isFinal || this.#isLate) this.#end(this.#isLate ? lateRun() : failedRun(problem));
      return;
    }
    if (clock.now() <= spec.deadlineAt + killGraceMs + pace.lostSlackMs) return;
    onGivenUp(this.label);
    const message = `the gateway at ${target.url} did not answer until after the run's time was over: ${problem.message}`;
    this.#end(lostRun("HOST_UNREACHABLE", message));
  }

  stop(): void {
    this.#stopReason ??= "stopped";
    this.#parts.onHurry();
  }

  async detach(): Promise<void> {
    const wasDone = this.#phase === "done";
    this.#phase = "done";
    if (!wasDone) this.#parts.onDone();
    await this.#stepping;
  }

  async #step(listed: Family | undefined, gateway: Gateway, takesMore: boolean): Promise<void> {
    const { childKey, asks, askedAt } = this.#known;
    let family = listed;
    if (family === undefined && (childKey !== null || asks > 0)) {
      // The list forgets a child half an hour after its end.
      const answer = await gateway.invoke("sessions_list", { label: this.label, limit: 10 });
      const found = answer.kind === "ok" ? parseSessions(answer.details, this.label) : null;
      if (found === null) return this.onUnreachable(problemOf(answer), false);
      if (found.children.length > 0) family = found;
    }
    const child = family === undefined ? null : childOf(family, childKey);
    if (this.#isDone) return;
    if (family !== undefined && child !== null) {
      this.#absentSince = null;
      if (child.sessionKey !== childKey) this.#keep({ ...this.#known, childKey: child.sessionKey });
      this.#tellStarted(gateway.name);
      return this.#follow(family, child.state, gateway);
    }
    if (childKey !== null) return this.#onAbsent();
    if (asks > 0 && this.#parts.clock.now() - askedAt < this.#parts.pace.settleMs) return;
    if (this.#isGuess) {
      const message =
        "what this daemon knew of it is gone from the data directory, and the gateway has no child of its label";
      return this.#end(lostRun("RUN_LOST", message));
    }
    if (this.#stopReason !== null) return this.#end(failedRun(STOPPED));
    if (this.#isLate) return this.#end(lateRun());
    if (asks >= ASKS_MAX) {
      const message = `the OpenClaw gateway ${gateway.name} was asked ${asks} times, gave no answer, and has no such child`;
      return this.#end(failedRun({ code: "START_FAILED", message }));
    }
    await this.#ask(gateway, takesMore);
  }

  async #ask(gateway: Gateway, takesMore: boolean): Promise<void> {
    const { clock, spec } = this.#parts;
    const before = this.#known;
    let plan: ChildPlan;
    try {
      plan = this.#parts.plan();
    } catch (error) {
      return this.#end(failedRun(toSessionError(error)));
    }
    const { agentId, model, cwd } = plan;
    const args = {
      task: spec.prompt,
      label: this.label,
      mode: "run",
      cleanup: "keep",
      ...(agentId === undefined ? {} : { agentId }),
      ...(model === undefined ? {} : { model }),
      ...(takesMore
        ? {
            // Else each end costs a turn of the requester's model: we look ourselves.
            expectsCompletionMessage: false,
            runTimeoutSeconds: Math.ceil((spec.deadlineAt - clock.now() + BACKSTOP_MS) / 1000),
            ...(cwd === undefined ? {} : { cwd }),
          }
        : {}),
    };
    writeAtomically(join(this.#directory, "prompt.md"), this.#withoutSecret(spec.prompt));
    this.#keep({ ...before, asks: before.asks + 1, askedAt: clock.now() });
    const answer = await gateway.invoke("sessions_spawn", args);
    if (this.#isDone) return;

    if (answer.kind === "away") this.#keep(before);
    if (answer.kind === "away") return this.onUnreachable(answer.problem, answer.retryAfterMs === null);
    if (answer.kind === "refused") return this.#end(failedRun(answer.problem));
    const details = answer.kind === "ok" ? answer.details : undefined;
    const childKey = get(details, "childSessionKey");
    const status = get(details, "status");
    if (status === "accepted" && typeof childKey === "string") {
      this.#keep({ ...this.#known, childKey });
      return this.#tellStarted(gateway.name);
    }
    // An error with a key is a child that was made, and may be at work.
    if ((status === "forbidden" || status === "error") && childKey === undefined) {
      const words = hostWords(String(get(details, "error") ?? "without a reason"));
      const message = `the OpenClaw gateway ${gateway.name} did not start it (${status}): ${words}`;
      return this.#end(failedRun({ code: "SPAWN_REFUSED", message }));
    }
    // Whether there is a child is not known: lists tell, from now on.
    this.#keep({ ...this.#known, askedAt: clock.now() });
  }

  async #follow(family: Family, state: Family["children"][number]["state"], gateway: Gateway): Promise<void> {
    const { clock, pace } = this.#parts;
    if (family.activeAt > this.#activeAt) {
      this.#activeAt = family.activeAt;
      this.#historyAt = 0;
      this.#parts.listener.sign();
    }
    const now = clock.monotonic();
    let isRead = true;
    if (state !== "running" || now >= this.#historyAt) {
      isRead = await this.#read(gateway);
      this.#historyAt = now + pace.historyMs;
    }
    if (this.#isDone) return;
    if (state !== "running") return this.#settle(state, family, isRead);

    if (this.#isLate) this.#stopReason ??= "timed-out";
    if ((this.#transcript?.size ?? 0) > this.#known.maxOutputBytes) this.#stopReason ??= "too-long";
    const doubles = family.children.filter((child) => child.state === "running").length > 1;
    // Of doubles any one goes; the next list shows which stayed.
    const doomed = this.#stopReason !== null ? family.runningTasks : doubles ? family.runningTasks.slice(0, 1) : [];
    for (const taskId of doomed) await gateway.invoke("subagents", { action: "cancel", taskId });
    const { killGraceMs } = this.#known;
    if (this.#isLate && clock.now() > this.#parts.spec.deadlineAt + killGraceMs + pace.lostSlackMs) {
      const message = "its time was over, but the gateway did not cancel it: it may still be at work";
      this.#end(lostRun("NOT_CANCELLED", message));
    }
  }

  /** Of what is done, the last message is the result, and of what failed, the reason: both are worth another look. */
  #settle(state: Exclude<Family["children"][number]["state"], "running">, family: Family, isRead: boolean): void {
    const transcript = this.#transcript;
    if (transcript === null) return;
    const words = state === "failed" ? (family.error ?? transcript.lastError) : (transcript.lastText?.text ?? null);
    const isComplete = isRead && (words !== null || (state !== "done" && state !== "failed"));
    const now = this.#parts.clock.monotonic();
    this.#endedSince ??= now;
    if (!isComplete && now - this.#endedSince < this.#parts.pace.lastWordsMs) return;
    const stopReason = this.#stopReason ?? (this.#isLate ? "timed-out" : null);
    const sessionKey = this.#known.childKey ?? "";
    const error = family.error === null ? null : this.#withoutSecret(family.error);
    this.#end(endOfChild({ state, error, sessionKey, stopReason, transcript }));
  }

  /** Fetches what the child wrote since; false where it could not be read. */
  async #read(gateway: Gateway): Promise<boolean> {
    const { childKey } = this.#known;
    const transcript = this.#transcript;
    if (childKey === null || transcript === null) return false;
    const messages = await messagesSince(gateway, childKey, transcript.seq);
    if (messages === null || this.#isDone) return false;
    if (transcript.add(messages)) this.#parts.listener.sign();
    return true;
  }

  #onAbsent(): void {
    const now = this.#parts.clock.monotonic();
    this.#absentSince ??= now;
    if (now - this.#absentSince < this.#parts.pace.absentMs) return;
    this.#end(lostRun("RUN_LOST", "the gateway knows its session no more: how it ended is not known"));
  }

  #tellStarted(host: string): void {
    this.#phase = "followed";
    if (this.#toldStarted) return;
    this.#toldStarted = true;
    this.#parts.listener.started({ host, sessionKey: this.#known.childKey ?? undefined });
  }

  #keep(record: ChildRecord): void {
    writeChildRecord(this.#directory, record);
    this.#record = record;
  }

  #withoutSecret(text: string): string {
    return this.#secret === undefined ? text : text.replaceAll(this.#secret, "<callback token>");
  }

  get #secret(): string | undefined {
    return this.#parts.spec.env["JARVIS_CALLBACK_TOKEN"] || undefined;
  }

  get #directory(): string {
    return runDirectory(this.#parts.dataDirectory, this.#parts.spec.sessionId);
  }

  get #isLate(): boolean {
    return this.#parts.clock.now() >= this.#parts.spec.deadlineAt;
  }

  get #isDone(): boolean {
    return this.#phase === "done";
  }

  get #known(): ChildRecord {
    if (this.#record === null) throw new Error(`the run ${this.#parts.spec.sessionId} has not begun`);
    return this.#record;
  }

  #end(end: RunEnd): void {
    if (this.#phase === "done") return;
    this.#phase = "done";
    this.#parts.onDone();
    this.#parts.listener.ended(end);
  }
}

const STOPPED: SessionError = { code: "STOPPED", message: "it was stopped before it began" };

/** The gateway cuts labels after 45 characters in its lists. */
export function labelOf(sessionId: string): string {
  return `jarvis ${sessionId}`;
}

function problemOf(answer: Answer): SessionError {
  if (answer.kind !== "ok") return answer.problem;
  return { code: "GATEWAY_FAILED", message: "the OpenClaw gateway answered something that is no list" };
}

/** All messages that are newer, and the newest that is not; `null` where they cannot be read. Oldest first. */
async function messagesSince(gateway: Gateway, childKey: string, seq: number): Promise<readonly Message[] | null> {
  let messages: readonly Message[] = [];
  let cursor: string | null = null;
  for (let pages = 0; pages < PAGES_MAX; pages++) {
    const page: Page | null = await readPage(gateway, childKey, cursor);
    if (page === null) return null;
    messages = [...page.messages, ...messages];
    const [oldest] = page.messages;
    if (oldest === undefined || oldest.seq <= seq || page.cursor === null) break;
    cursor = page.cursor;
  }
  return messages;
}

async function readPage(gateway: Gateway, childKey: string, cursor: string | null): Promise<Page | null> {
  for (const limit of PAGE_SIZES) {
    const answer = await gateway.history(childKey, limit, cursor);
    if (answer.kind === "ok") return parsePage(answer.details);
    if (answer.kind === "refused" && answer.status === 404 && cursor === null) {
      // A gateway without that path has a tool, which cuts texts at half of the length and tells no tokens.
      const older = await gateway.invoke("sessions_history", { sessionKey: childKey, limit, includeTools: true });
      return older.kind === "ok" ? parsePage(older.details) : null;
    }
    if (answer.kind !== "unknown" || !answer.isTooLong) return null;
  }
  return null;
}
