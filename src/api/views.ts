/** Core records as the wire shows them: times as ISO 8601, nothing of the inside. */

import type { Lock } from "../core/lock.ts";
import type { LockManager } from "../core/lock-manager.ts";
import { classOf } from "../core/policy/error-class.ts";
import type { Reason } from "../core/reason.ts";
import type { Session, SessionError } from "../core/session.ts";
import type { Comment, Task } from "../core/task.ts";
import { isoTime } from "./iso-time.ts";
import type * as wire from "./session.ts";
import type * as wireTask from "./task.ts";

/** How much of a result a list shows. */
export const RESULT_SHOWN = 500;
/** How many of a session's locked paths a list shows. */
const PATHS_SHOWN = 20;

export function taskView(task: Task): wireTask.Task {
  return {
    id: task.id,
    title: task.title,
    description: task.description,
    status: task.status,
    priority: task.priority,
    assignee: task.assignee,
    labels: task.labels as string[],
    project: task.project,
    dependsOn: task.dependsOn as string[],
    files: task.files as string[],
    workspace: task.workspace,
    dueDate: task.dueDate,
    estimate: task.estimate,
    requiresReview: task.requiresReview,
    ...(task.maxAttempts === null ? {} : { maxAttempts: task.maxAttempts }),
    ...(task.timeoutMs === null ? {} : { timeoutMs: task.timeoutMs }),
    ...(task.stallTimeoutMs === null ? {} : { stallTimeoutMs: task.stallTimeoutMs }),
    ...(task.startTimeoutMs === null ? {} : { startTimeoutMs: task.startTimeoutMs }),
    ...(task.verify.length === 0 ? {} : { verify: task.verify as string[] }),
    ...(task.isolation === null ? {} : { isolation: task.isolation }),
    attempts: task.attempts,
    ...(task.retryAt === null ? {} : { retryAt: isoTime(task.retryAt) }),
    ...(task.hold === null ? {} : { hold: { code: task.hold.code, message: task.hold.message } }),
    version: task.version,
    createdAt: isoTime(task.createdAt),
    updatedAt: isoTime(task.updatedAt),
  };
}

export function commentView(comment: Comment): wireTask.Comment {
  return {
    id: comment.id,
    author: comment.author,
    content: comment.content,
    createdAt: isoTime(comment.createdAt),
    ...(comment.sessionId === undefined ? {} : { sessionId: comment.sessionId }),
  };
}

/** What a session's view needs beyond its record. */
export interface SessionSurroundings {
  readonly locks: LockManager;
  readonly sign: (
    sessionId: string,
  ) => { readonly lastSignAt: number; readonly progress?: string | undefined } | undefined;
}

/** `short`: as lists show it, with the result cut and the first of its paths. */
export function sessionView(session: Session, { locks, sign }: SessionSurroundings, short: boolean): wire.Session {
  const seen = sign(session.id);
  const outcome = "outcome" in session ? session.outcome : undefined;
  const ended = "completedAt" in session ? session : undefined;
  const paths = [...(locks.bySession.get(session.id) ?? [])].flatMap((id) => locks.byId.get(id)?.paths ?? []);
  return {
    id: session.id,
    taskId: session.taskId,
    taskTitle: session.taskTitle,
    agent: session.agent,
    attempt: session.attempt,
    method: session.method,
    status: session.status,
    ...(session.sessionKey === undefined ? {} : { sessionKey: session.sessionKey }),
    startedAt: isoTime(session.startedAt),
    lastSignAt: isoTime(seen?.lastSignAt ?? ended?.completedAt ?? session.startedAt),
    ...(ended === undefined ? {} : { completedAt: isoTime(ended.completedAt) }),
    ...(outcome?.result === undefined ? {} : { result: short ? shorten(outcome.result) : outcome.result }),
    ...(outcome?.error === undefined ? {} : { error: errorView(outcome.error, short) }),
    ...(ended?.warnings === undefined ? {} : { warnings: ended.warnings.map((warning) => ({ ...warning })) }),
    ...(seen?.progress === undefined ? {} : { progress: seen.progress }),
    ...(session.usage === undefined ? {} : { usage: session.usage }),
    ...(session.verify === undefined ? {} : { verify: [...session.verify] }),
    ...(session.isolation === undefined ? {} : { isolation: session.isolation }),
    ...(session.run?.worktree === undefined ? {} : { worktree: session.run.worktree }),
    ...(session.resumes === undefined ? {} : { resumes: session.resumes.id }),
    ...(ended?.agentSession === undefined ? {} : { agentSession: ended.agentSession.id }),
    ...(ended === undefined ? {} : { cost: ended.cost }),
    ...(session.run === undefined ? {} : { host: session.run.host }),
    ...(session.run?.pid === undefined ? {} : { pid: session.run.pid }),
    ...(ended?.exitCode === undefined ? {} : { exitCode: ended.exitCode }),
    ...(ended?.signal === undefined ? {} : { signal: ended.signal }),
    ...(ended?.leftovers === undefined ? {} : { leftovers: [...ended.leftovers] }),
    locks: short ? paths.slice(0, PATHS_SHOWN) : paths,
  };
}

function errorView({ code, message, resetAt }: SessionError, short: boolean) {
  return {
    code,
    class: classOf(code),
    message: short ? shorten(message) : message,
    ...(resetAt === undefined ? {} : { resetAt: isoTime(resetAt) }),
  };
}

function shorten(text: string): string {
  if (text.length <= RESULT_SHOWN) return text;
  // Never half of a pair of surrogates.
  return `${text.slice(0, RESULT_SHOWN - 1).replace(/[\uD800-\uDBFF]$/, "")}…`;
}

export function lockView(lock: Lock): wire.Lock {
  return {
    id: lock.id,
    sessionId: lock.sessionId,
    taskId: lock.taskId,
    agent: lock.agent,
    workspace: lock.workspace,
    paths: lock.paths as string[],
    mode: lock.mode,
    fence: lock.fence,
    acquiredAt: isoTime(lock.acquiredAt),
    expiresAt: lock.expiresAt === undefined ? null : isoTime(lock.expiresAt),
  };
}

export function reasonView(reason: Reason) {
  return {
    code: reason.code,
    message: reason.message,
    ...(reason.until === undefined ? {} : { until: isoTime(reason.until) }),
    ...(reason.heldBy === undefined ? {} : { heldBy: [...reason.heldBy] }),
  };
}
