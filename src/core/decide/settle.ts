/** How a session's end is written down: the outcome, what it means for the task, and that nothing of it is left. */
import type { Context } from "../decision.ts";
import type { Event, TaskVerdict } from "../event.ts";
import { canGetBetter } from "../policy/error-class.ts";
import { afterFailure } from "../policy/retry.ts";
import {
  type ActiveSession,
  type AgentSession,
  hasRun,
  type Outcome,
  type RunExit,
  type Usage,
  type Warning,
} from "../session.ts";
import type { State } from "../state.ts";
import type { Task, TaskChanges } from "../task.ts";

/** Longer texts are cut before they become a comment; the run directory has the whole. */
export const COMMENT_LENGTH_MAX = 1024 * 1024;
const LEFTOVERS_SHOWN = 20;

export interface Settlement {
  readonly outcome: Outcome;
  readonly usage?: Usage | undefined;
  /** When a run that goes on is stopped. */
  readonly stopAt: number;
  /** A person moved or deleted the task: their word on its status stands. */
  readonly personDecided?: "moved" | "deleted" | undefined;
  /** Pids that its program left running. */
  readonly leftovers?: readonly number[] | undefined;
  readonly warnings?: readonly Warning[] | undefined;
}

/** The events that fix a session's outcome. A session without a run has ended with it. */
export function settle(state: State, context: Context, session: ActiveSession, settlement: Settlement): Event[] {
  const task = settlement.personDecided === "deleted" ? undefined : state.tasks.byId.get(session.taskId);
  const settled: Event = {
    type: "session.settled",
    at: context.now,
    sessionId: session.id,
    taskId: session.taskId,
    agent: session.agent,
    method: session.method,
    outcome: settlement.outcome,
    durationMs: Math.max(0, context.now - session.startedAt),
    stopAt: settlement.stopAt,
    ...(settlement.usage === undefined ? {} : { usage: settlement.usage }),
    ...(task === undefined ? {} : { verdict: verdict(context, task, session, settlement) }),
  };
  if (hasRun(session)) return [settled];
  const { usage = session.usage, warnings } = settlement;
  return [settled, ended(context, session, { exit: {}, usage, warnings })];
}

/** What is known of a session at its very end. */
export interface Ending {
  readonly exit: RunExit;
  readonly usage?: Usage | undefined;
  readonly agentSession?: AgentSession | undefined;
  readonly warnings?: readonly Warning[] | undefined;
}

/** The event that says that nothing of a session is left. */
export function ended(
  context: Context,
  session: ActiveSession,
  { exit, usage, agentSession, warnings = [] }: Ending,
): Event {
  return {
    type: "session.ended",
    at: context.now,
    sessionId: session.id,
    taskId: session.taskId,
    agent: session.agent,
    exit,
    ...(usage === undefined ? {} : { usage }),
    cost: context.price(session.agent, usage),
    ...(agentSession === undefined ? {} : { agentSession }),
    ...(warnings.length === 0 ? {} : { warnings }),
  };
}

function verdict(context: Context, task: Task, session: ActiveSession, settlement: Settlement): TaskVerdict {
  const stands = settlement.personDecided !== undefined || task.status !== "in_progress";
  const changes = stands ? {} : changesFor(context, task, settlement.outcome);
  return {
    changes,
    comment: {
      id: context.newId("com"),
      author: session.agent,
      content: cut(commentFor(session, settlement, changes)) + warningNote(settlement) + leftoverNote(settlement),
      createdAt: context.now,
      sessionId: session.id,
    },
  };
}

function changesFor(context: Context, task: Task, outcome: Outcome): TaskChanges {
  if (outcome.status === "completed") {
    return { status: task.requiresReview ? "review" : "done", retryAt: null, hold: null, lastError: null };
  }
  const error = outcome.error ?? { code: "FAILED", message: "no reason was given" };
  if (outcome.status === "cancelled") {
    return { status: "todo", retryAt: null, hold: { code: "CANCELLED", message: error.message }, lastError: error };
  }
  if (!canGetBetter(error.code)) {
    return { status: "todo", retryAt: null, hold: { code: error.code, message: error.message }, lastError: error };
  }
  const next = afterFailure(
    task.attempts,
    task.maxAttempts ?? context.retry.maxAttempts,
    context.retry,
    context.now,
    context.random(),
    error.resetAt,
  );
  return "hold" in next
    ? { status: "todo", retryAt: null, hold: next.hold, lastError: error }
    : { status: "todo", retryAt: next.retryAt, hold: null, lastError: error };
}

function commentFor(session: ActiveSession, settlement: Settlement, changes: TaskChanges): string {
  const { outcome } = settlement;
  if (outcome.status === "completed") return outcome.result || "(completed without a result)";
  const said = outcome.error?.message ?? "no reason was given";
  const head = `Attempt ${session.attempt} ${outcome.status.replace("_", " ")}: ${said}`;
  const partial =
    outcome.result === undefined || outcome.result === "" ? "" : `\n\nIts last output:\n\n${outcome.result}`;
  return `${head}\n\n${whatNext(settlement, changes)}${partial}`;
}

function warningNote({ warnings = [] }: Settlement): string {
  return warnings.map(({ message }) => `\n\nNote: ${message}`).join("");
}

function leftoverNote({ leftovers = [] }: Settlement): string {
  if (leftovers.length === 0) return "";
  const shown = leftovers.slice(0, LEFTOVERS_SHOWN).join(", ");
  const more = leftovers.length > LEFTOVERS_SHOWN ? ` and ${leftovers.length - LEFTOVERS_SHOWN} more` : "";
  return `\n\nIts program left processes running, which were left alone (leftovers: report): ${shown}${more}.`;
}

function whatNext(settlement: Settlement, changes: TaskChanges): string {
  if (settlement.personDecided !== undefined || changes.status === undefined) return "The task stays where it was put.";
  if (changes.hold) return `The task waits in todo for a person: ${changes.hold.message}.`;
  return "The task is back in todo and will be tried again.";
}

function cut(text: string): string {
  if (text.length <= COMMENT_LENGTH_MAX) return text;
  const note = `\n\n(cut: the whole is ${text.length} characters; see the session's log)`;
  // Never half of a pair of surrogates.
  return text.slice(0, COMMENT_LENGTH_MAX - note.length).replace(/[\uD800-\uDBFF]$/, "") + note;
}
