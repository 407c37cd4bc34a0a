/** Sessions and locks on the wire. */
import { type Static, Type } from "@sinclair/typebox";
import { ERROR_CLASSES } from "../core/policy/error-class.ts";
import { ACTIVE_STATUSES, ENDED_STATUSES, ISOLATIONS, METHODS } from "../core/session.ts";
import { closed, Id, Name, NextCursor, Nullable, OneOf, Page, Time } from "./common.ts";
import { Comment, Task } from "./task.ts";
import { Worktree } from "./worktree.ts";

export const SESSION_STATUSES = [...ACTIVE_STATUSES, ...ENDED_STATUSES] as const;

/** Bounds that no real session comes near, so that sums of what agents claim stay numbers. */
const TOKENS_MAX = 1_000_000_000_000;
const COST_USD_MAX = 1_000_000_000;

export const Usage = Type.Object(
  {
    inputTokens: Type.Optional(
      Type.Integer({ minimum: 0, maximum: TOKENS_MAX, description: "all, those from a cache among them" }),
    ),
    cacheReadTokens: Type.Optional(Type.Integer({ minimum: 0, maximum: TOKENS_MAX })),
    cacheWriteTokens: Type.Optional(Type.Integer({ minimum: 0, maximum: TOKENS_MAX })),
    outputTokens: Type.Optional(Type.Integer({ minimum: 0, maximum: TOKENS_MAX })),
    costUsd: Type.Optional(Type.Number({ minimum: 0, maximum: COST_USD_MAX })),
    model: Type.Optional(Type.String({ maxLength: 200 })),
  },
  closed,
);

export const Session = Type.Object({
  id: Id,
  taskId: Id,
  taskTitle: Type.String(),
  agent: Name,
  attempt: Type.Integer(),
  method: OneOf(METHODS),
  status: OneOf(SESSION_STATUSES),
  sessionKey: Type.Optional(Type.String()),
  startedAt: Time,
  lastSignAt: Time,
  completedAt: Type.Optional(Time),
  result: Type.Optional(Type.String()),
  error: Type.Optional(
    Type.Object({
      code: Type.String(),
      class: Type.Optional(OneOf(ERROR_CLASSES)),
      message: Type.String(),
      resetAt: Type.Optional(Time),
    }),
  ),
  warnings: Type.Optional(Type.Array(Type.Object({ code: Type.String(), message: Type.String() }))),
  progress: Type.Optional(Type.String()),
  usage: Type.Optional(Usage),
  verify: Type.Optional(
    Type.Array(Type.String(), { description: "verifiers that must pass before it counts as done" }),
  ),
  isolation: Type.Optional(OneOf(ISOLATIONS)),
  worktree: Type.Optional(Worktree),
  resumes: Type.Optional(Type.String({ description: "the agent's own session that it goes on with" })),
  agentSession: Type.Optional(Type.String({ description: "what its program calls its own session" })),
  cost: Type.Optional(
    Type.Object({
      usd: Nullable(Type.Number()),
      basis: OneOf(["measured", "estimated", "unknown"]),
      by: Type.Optional(OneOf(["program", "prices", "multiplier"])),
    }),
  ),
  host: Type.Optional(Type.String()),
  pid: Type.Optional(Type.Integer()),
  exitCode: Type.Optional(Type.Integer()),
  leftovers: Type.Optional(
    Type.Array(Type.Integer(), {
      description: "pids of processes that the program left running (`leftovers: report`)",
    }),
  ),
  signal: Type.Optional(Type.String()),
  locks: Type.Array(Type.String(), { description: "the paths that it holds just now" }),
});
export type Session = Static<typeof Session>;

export const TaskWithHistory = Type.Composite([
  Task,
  Type.Object({ comments: Type.Array(Comment), sessions: Type.Array(Session) }),
]);
export type TaskWithHistory = Static<typeof TaskWithHistory>;

export const SessionQuery = Type.Object(
  {
    status: Type.Optional(OneOf(SESSION_STATUSES)),
    agent: Type.Optional(Name),
    taskId: Type.Optional(Id),
    archived: Type.Optional(Type.Boolean({ description: "those that left the hot store instead" })),
    ...Page,
  },
  closed,
);
export type SessionQuery = Static<typeof SessionQuery>;
export const SessionList = Type.Object({ sessions: Type.Array(Session), nextCursor: NextCursor });

export const LogQuery = Type.Object(
  {
    stream: Type.Optional(OneOf(["stdout", "stderr"])),
    offset: Type.Optional(Type.Integer({ minimum: 0, description: "bytes" })),
    follow: Type.Optional(Type.Boolean({ description: "stream as server-sent events until the end" })),
    format: Type.Optional(
      OneOf(["raw", "readable"], {
        description: "readable: a transcript of what a known program said and did, where its output is not plain text",
      }),
    ),
  },
  closed,
);

export const Heartbeat = Type.Object({ progress: Type.Optional(Type.String({ maxLength: 2000 })) }, closed);

export const NewLock = Type.Object(
  {
    sessionId: Id,
    paths: Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), { minItems: 1, maxItems: 1000 }),
    mode: OneOf(["exclusive", "shared"]),
    ttlMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 7 * 24 * 60 * 60 * 1000 })),
  },
  closed,
);

export const LockRenewal = Type.Object(
  { ttlMs: Type.Optional(Type.Integer({ minimum: 1, maximum: 7 * 24 * 60 * 60 * 1000 })) },
  closed,
);

export const Lock = Type.Object({
  id: Type.String(),
  sessionId: Id,
  taskId: Id,
  agent: Name,
  workspace: Nullable(Type.String()),
  paths: Type.Array(Type.String()),
  mode: OneOf(["exclusive", "shared"]),
  fence: Type.Integer({ description: "only grows" }),
  acquiredAt: Time,
  expiresAt: Nullable(Time),
});
export type Lock = Static<typeof Lock>;

export const LockGranted = Type.Object({
  id: Type.String(),
  token: Type.Integer({ description: "the fence: hand it on with every write, and refuse writes with a lower one" }),
  fence: Type.Integer(),
  expiresAt: Nullable(Time),
});

export const LockQuery = Type.Object(Page, closed);
export const LockList = Type.Object({ locks: Type.Array(Lock), nextCursor: NextCursor });
