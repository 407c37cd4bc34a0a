/** Why a task cannot start now: codes for programs, facts for the sentence that a person reads. */

export const REASON_CODES = [
  "NO_SLOT",
  "GLOBAL_LIMIT",
  "LOCKED",
  "RETRY_LATER",
  "ATTEMPTS_EXHAUSTED",
  "DEPENDENCY",
  "COOLDOWN",
  "OVER_BUDGET",
  "AGENT_UNAVAILABLE",
  "AGENT_PAUSED",
  "UNKNOWN_AGENT",
  "HUMAN_ASSIGNEE",
  "HELD",
  "NO_ISOLATION",
  "TASK_NOT_FOUND",
  "NOT_TODO",
  "ALREADY_RUNNING",
  "LIMIT",
] as const;
export type ReasonCode = (typeof REASON_CODES)[number];

export interface Reason {
  readonly code: ReasonCode;
  readonly message: string;
  /** When it ends by itself, ms since the epoch, where that is known. */
  readonly until?: number | undefined;
  /** Ids of the sessions or tasks that stand in the way. */
  readonly heldBy?: readonly string[] | undefined;
}
