/** `/api/orchestrate`, agents and metrics on the wire. */
import { type Static, Type } from "@sinclair/typebox";
import { AVAILABILITIES } from "../core/agent.ts";
import { REASON_CODES } from "../core/reason.ts";
import { METHODS } from "../core/session.ts";
import { PRIORITIES, TASK_STATUSES } from "../core/task.ts";
import { closed, Id, Name, NextCursor, Nullable, OneOf, Page, Time } from "./common.ts";
import { Session, Usage } from "./session.ts";

export const Reason = Type.Object({
  code: OneOf(REASON_CODES),
  message: Type.String(),
  until: Type.Optional(Time),
  heldBy: Type.Optional(Type.Array(Type.String())),
});

export const Waiting = Type.Object({
  taskId: Id,
  title: Type.String(),
  agent: Type.String(),
  reasons: Type.Array(Reason),
});

export const PendingDispatch = Type.Object({
  taskId: Id,
  title: Type.String(),
  agent: Name,
  priority: OneOf(PRIORITIES),
  position: Type.Integer({ description: "from 1" }),
  again: Type.Optional(Type.Literal(true, { description: "a spawn that nobody claimed, to be handed out again" })),
});

export const Agent = Type.Object({
  agent: Name,
  adapter: OneOf(["ssh", "spawn", "cli", "none"]),
  // Absent: nothing is ever dispatched to it.
  method: Type.Optional(OneOf(METHODS)),
  model: Nullable(Type.String()),
  costMultiplier: Type.Number(),
  bestFor: Type.Array(Type.String()),
  maxConcurrent: Type.Integer(),
  active: Type.Integer(),
  canDispatch: Type.Boolean(),
  availability: OneOf(AVAILABILITIES),
  reason: Type.Optional(Type.String()),
  until: Type.Optional(Time),
});
export type Agent = Static<typeof Agent>;

export const AgentQuery = Type.Object(Page, closed);
export const AgentList = Type.Object({ agents: Type.Array(Agent), nextCursor: NextCursor });
export const AgentPause = Type.Object({ reason: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })) }, closed);
export const AgentCheck = Type.Object({
  agent: Name,
  ok: Type.Boolean(),
  message: Type.String(),
  findings: Type.Array(
    Type.Object({
      about: Type.String({ description: "connection, program, version, login, permissions, disk, clock" }),
      state: OneOf(["ok", "warn", "fail"]),
      message: Type.String(),
    }),
    { description: "all that was looked at" },
  ),
});

export const Counts = Type.Object({
  dispatched: Type.Integer(),
  completed: Type.Integer(),
  failed: Type.Integer(),
  cancelled: Type.Integer(),
});

export const Metrics = Type.Object({
  totalDispatched: Type.Integer(),
  byAgent: Type.Record(Type.String(), Counts),
  averageCompletionTime: Type.Record(Type.String(), Type.Number({ description: "ms" })),
  lastUpdated: Nullable(Time),
});

export const STATUSES = ["ok", "degraded", "draining"] as const;

export const OrchestrateStatus = Type.Object({
  status: OneOf(STATUSES),
  activeSessions: Type.Array(Session),
  recentCompleted: Type.Array(Session),
  pendingDispatch: Type.Array(PendingDispatch),
  waiting: Type.Array(Waiting),
  totals: Type.Object({
    pendingDispatch: Type.Integer(),
    waiting: Type.Integer(),
    byReason: Type.Record(Type.String(), Type.Integer()),
  }),
  agents: Type.Array(Agent),
  metrics: Metrics,
  heartbeat: Type.String({ maxLength: 300 }),
});
export type OrchestrateStatus = Static<typeof OrchestrateStatus>;

export const OrchestrateQuery = Type.Object({ format: Type.Optional(OneOf(["json", "heartbeat"])) }, closed);

export const DispatchRequest = Type.Object(
  {
    taskIds: Type.Optional(Type.Array(Id, { maxItems: 1000 })),
    dryRun: Type.Optional(Type.Boolean()),
    limit: Type.Optional(Type.Integer({ minimum: 0, maximum: 100_000 })),
  },
  closed,
);
export type DispatchRequest = Static<typeof DispatchRequest>;

export const SpawnCall = Type.Object({
  tool: Type.Literal("sessions_spawn"),
  args: Type.Object({
    task: Type.String(),
    label: Type.String(),
    mode: Type.Literal("run"),
    cleanup: Type.Literal("keep"),
    model: Type.Optional(Type.String()),
    agentId: Type.Optional(Type.String()),
  }),
});

export const Dispatched = Type.Object({
  taskId: Id,
  title: Type.String(),
  agent: Name,
  sessionId: Id,
  attempt: Type.Integer(),
  method: OneOf(METHODS),
  again: Type.Optional(Type.Literal(true)),
  spawn: Type.Optional(SpawnCall),
});

export const WouldDispatch = Type.Object({
  taskId: Id,
  title: Type.String(),
  agent: Name,
  priority: OneOf(PRIORITIES),
  attempt: Type.Integer(),
  method: OneOf(METHODS),
  again: Type.Optional(Type.Literal(true)),
});

export const DispatchAnswer = Type.Object({
  success: Type.Boolean(),
  dryRun: Type.Boolean(),
  message: Type.String(),
  dispatched: Type.Optional(Type.Array(Dispatched)),
  wouldDispatch: Type.Optional(Type.Array(WouldDispatch)),
  skipped: Type.Array(Type.Object({ taskId: Id, reasons: Type.Array(Reason) })),
});

export const Callback = Type.Object(
  {
    taskId: Id,
    status: OneOf(["running", "completed", "failed"]),
    sessionId: Type.Optional(Id),
    sessionKey: Type.Optional(Type.String({ minLength: 1, maxLength: 500 })),
    result: Type.Optional(Type.String({ maxLength: 1024 * 1024 })),
    error: Type.Optional(Type.String({ maxLength: 1024 * 1024 })),
    progress: Type.Optional(Type.String({ maxLength: 2000 })),
    usage: Type.Optional(Usage),
  },
  closed,
);
export type Callback = Static<typeof Callback>;

export const CallbackAnswer = Type.Object({
  success: Type.Boolean(),
  taskId: Id,
  sessionId: Id,
  newStatus: Nullable(OneOf(TASK_STATUSES)),
  duplicate: Type.Optional(Type.Literal(true)),
});

const Ms = Nullable(Type.Number({ description: "ms" }));

export const MetricsReport = Type.Object({
  totalDispatched: Type.Integer(),
  lastUpdated: Nullable(Time),
  byAgent: Type.Record(
    Type.String(),
    Type.Object({
      dispatched: Type.Integer(),
      completed: Type.Integer(),
      failed: Type.Integer(),
      cancelled: Type.Integer(),
      active: Type.Integer(),
      successRate: Nullable(Type.Number({ description: "completed / (completed + failed)" })),
      averageCompletionMs: Ms,
      p50CompletionMs: Ms,
      p95CompletionMs: Ms,
      inputTokens: Type.Integer(),
      outputTokens: Type.Integer(),
      costUsd: Type.Number(),
      costUnknown: Type.Integer({ description: "ended sessions of which nobody knows the cost" }),
    }),
  ),
  budgets: Type.Array(Type.Unknown()),
});
