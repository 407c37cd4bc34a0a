/** Records as the daemon sends them, for its stub. */
import type { Agent, OrchestrateStatus } from "../../src/api/orchestrate.ts";
import type { Lock, Session, TaskWithHistory } from "../../src/api/session.ts";
import type { Task } from "../../src/api/task.ts";

/** What a malicious title may hold: colours, a cursor move, a window title, C1, bidirectional overrides, line breaks. */
export const HOSTILE =
  "evil\u001b[31m red\u001b[2J\u001b]0;owned\u0007\u009b31m\u0008\u202etxt.exe\u2066\r\nsecond\tline\u007f";

export function task(over: Partial<Task> = {}): Task {
  return {
    id: "tsk_1",
    title: "Mend the build",
    description: "",
    status: "todo",
    priority: "medium",
    assignee: "claude",
    labels: [],
    project: null,
    dependsOn: [],
    files: [],
    workspace: null,
    dueDate: null,
    estimate: null,
    requiresReview: false,
    attempts: 0,
    version: 1,
    createdAt: "2026-11-22T10:00:00.000Z",
    updatedAt: "2026-11-22T10:00:00.000Z",
    ...over,
  };
}

export function taskWithHistory(over: Partial<TaskWithHistory> = {}): TaskWithHistory {
  return { ...task(over), comments: [], sessions: [], ...over };
}

export function session(over: Partial<Session> = {}): Session {
  return {
    id: "ses_1",
    taskId: "tsk_1",
    taskTitle: "Mend the build",
    agent: "claude",
    attempt: 1,
    method: "cli",
    status: "running",
    startedAt: "2026-11-22T11:55:00.000Z",
    lastSignAt: "2026-11-22T11:59:00.000Z",
    locks: [],
    ...over,
  };
}

export function agent(over: Partial<Agent> = {}): Agent {
  return {
    agent: "claude",
    adapter: "cli",
    model: "sonnet",
    costMultiplier: 3,
    bestFor: ["coding"],
    maxConcurrent: 3,
    active: 0,
    canDispatch: true,
    availability: "available",
    ...over,
  };
}

export function lock(over: Partial<Lock> = {}): Lock {
  return {
    id: "ses_1",
    sessionId: "ses_1",
    taskId: "tsk_1",
    agent: "claude",
    workspace: "/home/someone/project",
    paths: ["src/**"],
    mode: "exclusive",
    fence: 1,
    acquiredAt: "2026-11-22T11:55:00.000Z",
    expiresAt: null,
    ...over,
  };
}

export function status(over: Partial<OrchestrateStatus> = {}): OrchestrateStatus {
  return {
    status: "ok",
    activeSessions: [],
    recentCompleted: [],
    pendingDispatch: [],
    waiting: [],
    totals: { pendingDispatch: 0, waiting: 0, byReason: {} },
    agents: [agent()],
    metrics: { totalDispatched: 0, byAgent: {}, averageCompletionTime: {}, lastUpdated: null },
    heartbeat: "HEARTBEAT_OK",
    ...over,
  };
}
