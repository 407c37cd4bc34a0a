/** An agent: someone a session can be given to. Its settings come from the config, its availability from the registry. */
import type { Isolation, Method } from "./session.ts";

export const AVAILABILITIES = [
  "available",
  "busy",
  "cooldown",
  "unavailable",
  "over_budget",
  "paused",
  "not_dispatchable",
] as const;
export type Availability = (typeof AVAILABILITIES)[number];

/** What the rules need to know of an agent. */
export interface Agent {
  readonly name: string;
  readonly adapter: "ssh" | "spawn" | "cli" | "none";
  /** `null` for a human or Jarvis, who are never dispatched to. */
  readonly method: Method | null;
  readonly model: string | null;
  readonly costMultiplier: number;
  readonly maxConcurrent: number;
  readonly bestFor: readonly string[];
  readonly timeoutMs: number;
  readonly stallTimeoutMs: number;
  readonly startTimeoutMs: number;
  readonly claimTimeoutMs: number;
  readonly exitGraceMs: number;
  readonly isolation: Isolation;
  /** A worktree can be made for its program before that is started. */
  readonly canIsolate: boolean;
  /** An attempt after an interruption goes on in the agent's own session. */
  readonly resume: boolean;
  readonly account: string | null;
}

/** Why an agent cannot be reached just now, as its adapter last found out; absent = nothing is known against it. */
export interface Unavailability {
  readonly reason: string;
  readonly noticedAt: number;
}

/** A person stopped new dispatches to an agent. */
export interface Pause {
  readonly reason: string;
  readonly pausedAt: number;
}
