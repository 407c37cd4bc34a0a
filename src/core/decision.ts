/** What comes of a command: events and an answer, or a refusal. Refusals are expected answers, so they are returned, not thrown. */
import type { Event } from "./event.ts";
import type { Circumstances } from "./plan.ts";
import type { RetrySettings } from "./policy/retry.ts";
import type { Cost, Usage } from "./session.ts";
import type { State } from "./state.ts";

export const REFUSAL_CODES = [
  "TASK_NOT_FOUND",
  "TASK_EXISTS",
  "STALE_VERSION",
  "DEPENDENCY_CYCLE",
  "STATUS_NOT_ALLOWED",
  "SESSION_NOT_FOUND",
  "SESSION_NOT_ACTIVE",
  "TOO_MANY_LOCKS",
  "TOO_MANY_COMMENTS",
  "SESSION_CLAIMED",
  "NOT_VERIFIED",
  "NOT_YOUR_SESSION",
  "LOCK_NOT_FOUND",
  "LOCKED",
  "LOCK_OF_RUN",
  "AGENT_NOT_FOUND",
  "NOT_DISPATCHABLE",
  "IDEMPOTENCY_KEY_REUSED",
  "DRAINING",
] as const;
export type RefusalCode = (typeof REFUSAL_CODES)[number];

/** A code, a sentence for the caller, and facts that the edge adds to the answer as they are. */
export interface Refusal {
  readonly code: RefusalCode;
  readonly message: string;
  readonly facts?: Readonly<Record<string, unknown>> | undefined;
}

export type Decision<A> =
  | { readonly ok: true; readonly events: readonly Event[]; readonly answer: (state: State) => A }
  | { readonly ok: false; readonly refusal: Refusal };

/** Everything that a rule may know besides the state. Time, ids and chance are handed in. */
export interface Context extends Circumstances {
  readonly newId: (prefix: string) => string;
  /** In [0, 1). */
  readonly random: () => number;
  readonly retry: RetrySettings;
  /** What an agent's session was worth that used so much. */
  readonly price: (agent: string, usage: Usage | undefined) => Cost;
}

/** A command: decides on the state as it is, changes nothing itself. */
export type Command<A> = (state: State, context: Context) => Decision<A>;

export function accept<A>(events: readonly Event[], answer: (state: State) => A): Decision<A> {
  return { ok: true, events, answer };
}

export function refuse(
  code: RefusalCode,
  message: string,
  facts?: Readonly<Record<string, unknown>>,
): { ok: false; refusal: Refusal } {
  return { ok: false, refusal: { code, message, facts } };
}
