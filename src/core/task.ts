/** A task: work that a person or Jarvis put on the board. Times are milliseconds since the epoch; the wire has ISO 8601. */
import type { Isolation, SessionError } from "./session.ts";

export const TASK_STATUSES = ["backlog", "planning", "todo", "in_progress", "review", "done"] as const;
export type TaskStatus = (typeof TASK_STATUSES)[number];

/** Most urgent first: the index is the rank that the queue sorts by. */
export const PRIORITIES = ["urgent", "high", "medium", "low"] as const;
export type Priority = (typeof PRIORITIES)[number];

/** The assignee that leaves the choice of the agent to the placement policy. */
export const AUTO_ASSIGNEE = "auto";

/** Why a `todo` task waits for a person. */
export interface Hold {
  readonly code: string;
  readonly message: string;
}

export interface Comment {
  readonly id: string;
  readonly author: string;
  readonly content: string;
  readonly createdAt: number;
  /** Set when an agent wrote it in the course of a session. */
  readonly sessionId?: string | undefined;
}

export interface Task {
  readonly id: string;
  readonly title: string;
  readonly description: string;
  readonly status: TaskStatus;
  readonly priority: Priority;
  readonly assignee: string;
  readonly labels: readonly string[];
  readonly project: string | null;
  readonly dependsOn: readonly string[];
  /** Paths or globs relative to `workspace`, normalised by `normalisePattern`. */
  readonly files: readonly string[];
  readonly workspace: string | null;
  /** A UTC date or date-time in ISO 8601; both sort as text. */
  readonly dueDate: string | null;
  readonly estimate: string | number | null;
  readonly requiresReview: boolean;
  /** `null`: what the config says. */
  readonly maxAttempts: number | null;
  readonly timeoutMs: number | null;
  readonly stallTimeoutMs: number | null;
  readonly startTimeoutMs: number | null;
  /** Names of the config's verifiers that must pass before the task counts as done. */
  readonly verify: readonly string[];
  /** `null`: what the agent's settings say. */
  readonly isolation: Isolation | null;
  /** Sessions started since the task last came to `todo` by a person's hand. */
  readonly attempts: number;
  readonly retryAt: number | null;
  readonly hold: Hold | null;
  /** Why the last attempt failed, for the next attempt's prompt. */
  readonly lastError: SessionError | null;
  /** Counts changes, from 1: what `If-Match` compares. */
  readonly version: number;
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly comments: readonly Comment[];
}

/** What changes of a task: a key that is absent stays as it is, `null` clears. Never `undefined`, which JSON would lose. */
export type TaskChanges = Partial<Omit<Task, "id" | "version" | "createdAt" | "updatedAt" | "comments">>;

/** A task as it is read back, which may have been written down before these fields existed. */
export function withNewFields(task: Task): Task {
  return task.verify === undefined ? { ...task, verify: [], isolation: null } : task;
}
