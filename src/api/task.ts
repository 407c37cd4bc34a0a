/** Tasks and comments on the wire. */
import { type Static, Type } from "@sinclair/typebox";
import { ISOLATIONS } from "../core/session.ts";
import { PRIORITIES, TASK_STATUSES } from "../core/task.ts";
import { closed, Id, Name, NextCursor, Nullable, OneOf, Page, Time } from "./common.ts";

const DAY_MS_MAX = 7 * 24 * 60 * 60 * 1000;

const NOT_BLANK = "\\S";
const Title = Type.String({ minLength: 1, maxLength: 500, pattern: NOT_BLANK, description: "not blank" });
const Description = Type.String({ maxLength: 512 * 1024, description: "Markdown" });
const Label = Type.String({ minLength: 1, maxLength: 100 });
const Labels = Type.Array(Label, { maxItems: 100 });
const Project = Nullable(Type.String({ minLength: 1, maxLength: 200 }));
const DependsOn = Type.Array(Id, { maxItems: 1000 });
const Files = Type.Array(Type.String({ minLength: 1, maxLength: 1024 }), {
  maxItems: 1000,
  description: "paths or globs that it will touch, relative to workspace; locked while it runs",
});
const Workspace = Nullable(
  Type.String({ minLength: 1, maxLength: 4096, description: "an absolute path, or one that begins with ~" }),
);
const DueDate = Nullable(
  Type.String({
    pattern: "^\\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])(T([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,3})?Z)?$",
    description: "a date or a UTC date-time in ISO 8601",
  }),
);
const Estimate = Nullable(Type.Union([Type.Number({ minimum: 0 }), Type.String({ minLength: 1, maxLength: 100 })]));
const MaxAttempts = Type.Integer({ minimum: 1, maximum: 1000 });
const TimeoutMs = Type.Integer({ minimum: 1000, maximum: DAY_MS_MAX });
const StallTimeoutMs = Type.Integer({
  minimum: 0,
  maximum: DAY_MS_MAX,
  description: "without any output or sign; 0 = off; in place of the agent's",
});
const StartTimeoutMs = Type.Integer({
  minimum: 0,
  maximum: DAY_MS_MAX,
  description: "until its program runs; 0 = off; in place of the agent's",
});
const Verify = Type.Array(Name, {
  maxItems: 20,
  description: "names of the config's verifiers that must pass before the task counts as done",
});
const IsolationOrDefault = Nullable(OneOf(ISOLATIONS));
const Hold = Type.Object(
  {
    code: Type.Optional(Type.String({ pattern: "^[A-Z][A-Z_]{0,63}$" })),
    message: Type.String({ minLength: 1, maxLength: 2000 }),
  },
  closed,
);

const optionalFields = {
  description: Type.Optional(Description),
  status: Type.Optional(OneOf(TASK_STATUSES)),
  priority: Type.Optional(OneOf(PRIORITIES)),
  assignee: Type.Optional(Name),
  labels: Type.Optional(Labels),
  project: Type.Optional(Project),
  dependsOn: Type.Optional(DependsOn),
  files: Type.Optional(Files),
  workspace: Type.Optional(Workspace),
  dueDate: Type.Optional(DueDate),
  estimate: Type.Optional(Estimate),
  requiresReview: Type.Optional(Type.Boolean()),
  maxAttempts: Type.Optional(Nullable(MaxAttempts)),
  timeoutMs: Type.Optional(Nullable(TimeoutMs)),
  stallTimeoutMs: Type.Optional(Nullable(StallTimeoutMs)),
  startTimeoutMs: Type.Optional(Nullable(StartTimeoutMs)),
  verify: Type.Optional(Verify),
  isolation: Type.Optional(IsolationOrDefault),
  hold: Type.Optional(Nullable(Hold)),
};

/** Programs that read URLs take `.` and `..` out of them: a task of that name could not be reached. */
const NewId = Type.String({
  pattern: "^(?!\\.{1,2}$)[A-Za-z0-9._-]{1,64}$",
  description: "1 to 64 letters, digits, dots, underscores and hyphens, but not . or ..",
});

export const NewTask = Type.Object({ id: Type.Optional(NewId), title: Title, ...optionalFields }, closed);
export type NewTask = Static<typeof NewTask>;

export const TaskPatch = Type.Object(
  { title: Type.Optional(Title), ...optionalFields },
  { ...closed, minProperties: 1 },
);
export type TaskPatch = Static<typeof TaskPatch>;

export const Task = Type.Object({
  id: Id,
  title: Title,
  description: Description,
  status: OneOf(TASK_STATUSES),
  priority: OneOf(PRIORITIES),
  assignee: Name,
  labels: Labels,
  project: Project,
  dependsOn: DependsOn,
  files: Files,
  workspace: Workspace,
  dueDate: DueDate,
  estimate: Estimate,
  requiresReview: Type.Boolean(),
  maxAttempts: Type.Optional(MaxAttempts),
  timeoutMs: Type.Optional(TimeoutMs),
  stallTimeoutMs: Type.Optional(StallTimeoutMs),
  startTimeoutMs: Type.Optional(StartTimeoutMs),
  verify: Type.Optional(Verify),
  isolation: Type.Optional(OneOf(ISOLATIONS)),
  attempts: Type.Integer({ description: "sessions started since it last came to todo by a person's hand" }),
  retryAt: Type.Optional(Time),
  hold: Type.Optional(Type.Object({ code: Type.String(), message: Type.String() })),
  version: Type.Integer({ description: "counts changes: what If-Match compares" }),
  createdAt: Time,
  updatedAt: Time,
});
export type Task = Static<typeof Task>;

export const TaskQuery = Type.Object(
  {
    status: Type.Optional(OneOf(TASK_STATUSES)),
    assignee: Type.Optional(Name),
    priority: Type.Optional(OneOf(PRIORITIES)),
    label: Type.Optional(Label),
    project: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
    q: Type.Optional(
      Type.String({ maxLength: 500, description: "text in title, description or id, whatever the case" }),
    ),
    archived: Type.Optional(Type.Boolean({ description: "those that left the board instead" })),
    ...Page,
  },
  closed,
);
export type TaskQuery = Static<typeof TaskQuery>;

export const TaskList = Type.Object({ tasks: Type.Array(Task), nextCursor: NextCursor });

export const COMMENT_LENGTH_MAX = 1024 * 1024;

export const NewComment = Type.Object(
  {
    author: Name,
    content: Type.String({
      minLength: 1,
      maxLength: COMMENT_LENGTH_MAX,
      pattern: NOT_BLANK,
      description: "Markdown, not blank",
    }),
  },
  closed,
);
export type NewComment = Static<typeof NewComment>;

export const Comment = Type.Object({
  id: Id,
  author: Name,
  content: Type.String(),
  createdAt: Time,
  sessionId: Type.Optional(Id),
});
export type Comment = Static<typeof Comment>;

export const CommentQuery = Type.Object(Page, closed);
export const CommentList = Type.Object({ comments: Type.Array(Comment), nextCursor: NextCursor });
