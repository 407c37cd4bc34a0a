/** What keeps an agent's program from being started, with a code that the retry rule knows and a sentence for the user. */
import type { SessionError } from "../core/session.ts";

export type AgentProblemCode =
  /** The config must be changed first. */
  | "BAD_CONFIG"
  /** The task's workspace is not one where agents may work. */
  | "BAD_WORKSPACE"
  | "WORKSPACE_NOT_FOUND"
  /** The task is to have a git worktree of its own, and cannot. */
  | "NO_WORKTREE"
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
  if (error instanceof AgentProblem) return { code: error.code, message: toSentence(error.message) };
  return { code: "START_FAILED", message: toSentence(error instanceof Error ? error.message : String(error)) };
}

/** Our longest sentences, about host keys, say at their end what to do. */
const SENTENCE_LENGTH_MAX = 1000;
/** What a host said, within one. */
const WORDS_LENGTH_MAX = 300;

/** A sentence that may hold what a host or a program said: one line, no control characters, and no longer than ours are. */
export function toSentence(text: string, lengthMax = SENTENCE_LENGTH_MAX): string {
  const line = text
    .slice(0, 4 * lengthMax)
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, " ")
    .trim();
  return line.length > lengthMax ? `${line.slice(0, lengthMax - 1).replace(/[\uD800-\uDBFF]$/, "")}…` : line;
}

/** What a host said, for a sentence of ours. */
export function hostWords(text: string): string {
  return toSentence(text, WORDS_LENGTH_MAX);
}
