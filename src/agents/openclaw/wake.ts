/** Tells Jarvis that results are in: one call of the gateway's wake hook for all that came since the last. */
import type { WakeSettings } from "../../config/schema.ts";
import type { StoredEvent } from "../../core/event.ts";
import type { Clock } from "../../dispatcher/ports.ts";
import { hostWords } from "../agent-problem.ts";
import { send } from "./request.ts";
import { readGatewayToken } from "./target.ts";

export interface WakeParts {
  readonly subscribe: (listener: (events: readonly StoredEvent[]) => void) => () => void;
  /** As they are now; `undefined` = nobody is to be told. */
  readonly settings: () => WakeSettings | undefined;
  readonly clock: Clock;
  readonly environment: NodeJS.ProcessEnv;
  readonly log: { warn(facts: object, message: string): void; info(facts: object, message: string): void };
}

export interface Wake {
  /** Tells nothing more; what is under way is broken off. */
  stop(): void;
}

/** Sessions that end together are told of together. */
const GATHER_MS = 500;
const TIMEOUT_MS = 10_000;
const BYTES_MAX = 64 * 1024;
/** After a call that failed, at least. */
const RETRY_MS = 10_000;

/** A call that fails is made again, with all that came meanwhile, and is logged once until one succeeds. */
export function startWake({ subscribe, settings, clock, environment, log }: WakeParts): Wake {
  /** How many sessions ended, by agent and status, that nobody was told of. */
  const waiting = new Map<string, number>();
  const stopping = new AbortController();
  let cancelTimer: (() => void) | null = null;
  let isCalling = false;
  let calledAt = Number.NEGATIVE_INFINITY;
  let isFailing = false;

  const unsubscribe = subscribe((events) => {
    if (settings() === undefined) return;
    for (const { event } of events) {
      if (event.type !== "session.settled") continue;
      const what = `${event.agent} ${event.outcome.status}`;
      waiting.set(what, (waiting.get(what) ?? 0) + 1);
    }
    plan();
  });
  return {
    stop() {
      unsubscribe();
      stopping.abort();
      cancelTimer?.();
      cancelTimer = null;
    },
  };

  function plan(): void {
    const wake = settings();
    if (wake === undefined || waiting.size === 0 || isCalling || cancelTimer !== null || stopping.signal.aborted)
      return;
    const pauseMs = isFailing ? Math.max(wake.minIntervalMs, RETRY_MS) : wake.minIntervalMs;
    const delayMs = Math.max(GATHER_MS, calledAt + pauseMs - clock.monotonic());
    cancelTimer = clock.after(delayMs, () => {
      cancelTimer = null;
      call().catch((error: unknown) => {
        isCalling = false;
        log.warn({ err: error }, "Jarvis cannot be told of results");
      });
    });
  }

  async function call(): Promise<void> {
    const wake = settings();
    if (wake === undefined) return waiting.clear();
    const told = new Map(waiting);
    waiting.clear();
    isCalling = true;
    calledAt = clock.monotonic();
    const problem = await post(wake, wakeText(told));
    isCalling = false;
    if (stopping.signal.aborted) return;
    if (problem === null) {
      if (isFailing) log.info({}, "Jarvis can be told of results again");
      isFailing = false;
    } else {
      for (const [what, count] of told) waiting.set(what, (waiting.get(what) ?? 0) + count);
      if (!isFailing) log.warn({ problem }, "Jarvis cannot be told of results; trying again");
      isFailing = true;
    }
    plan();
  }

  /** What went wrong; `null` = it was taken. */
  async function post(wake: WakeSettings, text: string): Promise<string | null> {
    let token: string;
    try {
      token = readGatewayToken(wake, environment, "wake");
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
    const reply = await send({
      url: new URL(wake.url),
      method: "POST",
      token,
      body: { text, mode: wake.mode },
      timeoutMs: TIMEOUT_MS,
      bytesMax: BYTES_MAX,
      signal: stopping.signal,
    });
    if (reply.kind !== "answered") return `${wake.url} cannot be reached: ${hostWords(reply.why)}`;
    if (reply.status === 200) return null;
    if (reply.status === 401) return `${wake.url} does not take our token: it must be hooks.token of openclaw.json`;
    if (reply.status === 404) return `${wake.url} is not there: set hooks.enabled in openclaw.json`;
    return `${wake.url} answered ${reply.status}: ${hostWords(reply.text)}`;
  }
}

const AGENTS_NAMED = 5;

/** Counts and configured names only: what agents and tasks say would speak to Jarvis in our name. */
export function wakeText(ended: ReadonlyMap<string, number>): string {
  const total = [...ended.values()].reduce((sum, count) => sum + count, 0);
  const named = [...ended].slice(0, AGENTS_NAMED).map(([what, count]) => `${what} ${count}`);
  const more = ended.size > AGENTS_NAMED ? ", and more" : "";
  const sessions = total === 1 ? "1 session has" : `${total} sessions have`;
  return `Jarvis Orchestrator: ${sessions} ended (${named.join(", ")}${more}). GET /api/orchestrate tells which.`;
}
