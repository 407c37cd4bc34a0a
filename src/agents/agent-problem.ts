/** What keeps an agent's program from being started, with a code that the retry rule knows and a sentence for the user. */
import type { SessionError } from "../core/session.ts";

export type AgentProblemCode =
  /** The config must be changed first. */
  | "BAD_CONFIG"
  /** The task's workspace is not one where agents may work. */
  | "BAD_WORKSPACE"
  | "WORKSPACE_NOT_FOUND"
  | "ARGUMENT_TOO_LONG"
  | "NOT_INSTALLED"
  | "START_FAILED"
  /** SSH: no connection, or it is gone. */
  | "HOST_UNREACHABLE"
  | "HOST_KEY_UNKNOWN"
  | "HOST_KEY_CHANGED"
  | "AUTHENTICATION_FAILED";

export class AgentProblem extends Error {
  readonly code: AgentProblemCode;
  constructor(code: AgentProblemCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AgentProblem";
    this.code = code;
  }
}

/** For a session's record. An error that nobody foresaw keeps its message, so that it is not hidden. */
export function toSessionError(error: unknown): SessionError {
  if (error instanceof AgentProblem) return { code: error.code, message: error.message };
  return { code: "START_FAILED", message: error instanceof Error ? error.message : String(error) };
}
