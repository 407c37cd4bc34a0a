/** Classes of errors: what kind of trouble it was, and so what happens next. */

export const ERROR_CLASSES = [
  "auth",
  "rate_limit",
  "quota",
  "overloaded",
  "network",
  "not_installed",
  "bad_config",
  "refused_permission",
  "context_overflow",
  "max_turns",
  "budget",
  "crashed",
  "killed",
  "timed_out",
  "empty_result",
  "unknown",
] as const;
export type ErrorClass = (typeof ERROR_CLASSES)[number];

/** Codes that are finer than their class, or older than it. Every other code is its class in capitals, or unknown. */
const CLASS_OF_CODE: Readonly<Record<string, ErrorClass>> = {
  AUTHENTICATION_FAILED: "auth",
  PROVIDER_AUTHENTICATION_FAILED: "auth",
  PROVIDER_RATE_LIMITED: "rate_limit",
  GATEWAY_RESTARTED: "killed",
  CANCELLED_THERE: "killed",
  HOST_UNREACHABLE: "network",
  HOST_KEY_UNKNOWN: "bad_config",
  HOST_KEY_CHANGED: "bad_config",
  BAD_WORKSPACE: "bad_config",
  WORKSPACE_NOT_FOUND: "bad_config",
  NO_WORKTREE: "bad_config",
  ARGUMENT_TOO_LONG: "bad_config",
  START_FAILED: "crashed",
  BROKEN_OFF: "crashed",
  EXIT_STATUS: "crashed",
  SIGNAL: "killed",
  STOPPED: "killed",
  CANCELLED: "killed",
  TASK_MOVED: "killed",
  TASK_DELETED: "killed",
  RUN_LOST: "killed",
  START_TIMED_OUT: "timed_out",
  STALLED: "timed_out",
};
const BY_NAME: ReadonlyMap<string, ErrorClass> = new Map(ERROR_CLASSES.map((name) => [name.toUpperCase(), name]));

export function classOf(code: string): ErrorClass {
  return (Object.hasOwn(CLASS_OF_CODE, code) ? CLASS_OF_CODE[code] : BY_NAME.get(code)) ?? "unknown";
}

/** The code of an error of which nothing finer than its class is known. */
export function codeOf(errorClass: ErrorClass): string {
  return errorClass.toUpperCase();
}

/** What only a person's change can mend: the next attempt would end like the last, or cost the same again. */
const NEEDS_A_PERSON: ReadonlySet<ErrorClass> = new Set([
  "auth",
  "not_installed",
  "bad_config",
  "refused_permission",
  "context_overflow",
  "max_turns",
  "budget",
]);

/** False when only a person's change can make the next attempt differ from the last: its task is held. */
export function canGetBetter(code: string): boolean {
  return !NEEDS_A_PERSON.has(classOf(code));
}

/** What came from outside and left the agent's own session as it was: it can be gone on with. */
const INTERRUPTIONS: ReadonlySet<ErrorClass> = new Set([
  "crashed",
  "killed",
  "timed_out",
  "network",
  "overloaded",
  "rate_limit",
]);

/** True when the work was interrupted from outside, so that the next attempt may go on in the agent's own session. */
export function isInterruption(code: string): boolean {
  return INTERRUPTIONS.has(classOf(code));
}
