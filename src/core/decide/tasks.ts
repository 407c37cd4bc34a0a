/** Commands on the board: create, change, delete, comment. */
import { accept, type Command, type Context, type Decision, refuse } from "../decision.ts";
import type { Event } from "../event.ts";
import type { State } from "../state.ts";
import type { Comment, Task, TaskChanges, TaskStatus } from "../task.ts";
import { settle } from "./settle.ts";

/** A new task as it was asked for: checked by the schema, `files` and `workspace` normalised. */
export type NewTask = Partial<
  Omit<Task, "version" | "attempts" | "createdAt" | "updatedAt" | "comments" | "lastError">
> &
  Pick<Task, "title">;

export function createTask(input: NewTask): Command<Task> {
  return (state, context) => {
    const id = input.id ?? context.newId("task");
    if (state.tasks.byId.has(id) || (input.id !== undefined && context.isArchived(id)))
      return refuse("TASK_EXISTS", `a task ${id} exists already`);
    const assignee = input.assignee ?? "jarvis";
    const status = input.status ?? "todo";
    if (status === "in_progress" && !context.humans.has(assignee)) return refuseInProgress(assignee);
    const cycle = findCycle(state, id, input.dependsOn ?? []);
    if (cycle !== null) return refuseCycle(cycle);
    const task: Task = {
      id,
      title: input.title,
      description: input.description ?? "",
      status,
      priority: input.priority ?? "medium",
      assignee,
      labels: input.labels ?? [],
      project: input.project ?? null,
      dependsOn: input.dependsOn ?? [],
      files: input.files ?? [],
      workspace: input.workspace ?? null,
      dueDate: input.dueDate ?? null,
      estimate: input.estimate ?? null,
      requiresReview: input.requiresReview ?? false,
      maxAttempts: input.maxAttempts ?? null,
      timeoutMs: input.timeoutMs ?? null,
      stallTimeoutMs: input.stallTimeoutMs ?? null,
      startTimeoutMs: input.startTimeoutMs ?? null,
      verify: input.verify ?? [],
      isolation: input.isolation ?? null,
      attempts: 0,
      retryAt: null,
      hold: input.hold ?? null,
      lastError: null,
      version: 1,
      createdAt: context.now,
      updatedAt: context.now,
      comments: [],
    };
    return accept([{ type: "task.created", at: context.now, task }], () => task);
  };
}

export interface TaskPatch {
  readonly taskId: string;
  readonly changes: TaskChanges;
  /** The version that the caller saw; another one is refused. */
  readonly ifVersion?: number | undefined;
  /** The task as the archive has it, where the board has it no longer: a change brings it back. */
  readonly archived?: Task | undefined;
}

export function changeTask({ taskId, changes, ifVersion, archived }: TaskPatch): Command<Task> {
  return (state, context) => {
    const task = state.tasks.byId.get(taskId) ?? archived;
    if (task === undefined) return refuse("TASK_NOT_FOUND", `there is no task ${taskId}`);
    if (ifVersion !== undefined && ifVersion !== task.version) {
      return refuse("STALE_VERSION", `the task is at version ${task.version}, not ${ifVersion}; read it again`, {
        version: task.version,
      });
    }
    const session = state.sessions.activeByTask.get(taskId);
    const status = changes.status ?? task.status;
    const assignee = changes.assignee ?? task.assignee;
    const runs = session !== undefined && session.status !== "stopping";
    const moves = status !== task.status || assignee !== task.assignee;
    if (moves && status === "in_progress" && !runs && !context.humans.has(assignee)) return refuseInProgress(assignee);
    // While a task is in the archive, others may have come to depend on it.
    if (changes.dependsOn !== undefined || !state.tasks.byId.has(taskId)) {
      const cycle = findCycle(state, taskId, changes.dependsOn ?? task.dependsOn);
      if (cycle !== null) return refuseCycle(cycle);
    }
    const events: Event[] = [];
    if (!state.tasks.byId.has(taskId)) events.push({ type: "task.restored", at: context.now, task });
    events.push({ type: "task.changed", at: context.now, taskId, changes: consequences(task, changes) });
    if (runs && status !== "in_progress") events.push(...stopFor(state, context, taskId, "moved", status));
    return accept(events, (after) => after.tasks.byId.get(taskId) as Task);
  };
}

/** A hold that is released, and a task that a person brings to todo, start counting attempts afresh. */
function consequences(task: Task, changes: TaskChanges): TaskChanges {
  const comesToTodo = changes.status === "todo" && task.status !== "todo";
  if (changes.hold !== null && !comesToTodo) return changes;
  return { hold: null, ...changes, attempts: 0, retryAt: null };
}

export function deleteTask(taskId: string): Command<null> {
  return (state, context) => {
    const task = state.tasks.byId.get(taskId);
    if (task === undefined) return refuse("TASK_NOT_FOUND", `there is no task ${taskId}`);
    const events: Event[] = [{ type: "task.deleted", at: context.now, taskId }];
    return accept([...events, ...stopFor(state, context, taskId, "deleted", null)], () => null);
  };
}

export interface NewComment {
  readonly taskId: string;
  readonly author: string;
  readonly content: string;
  readonly sessionId?: string | undefined;
  readonly archived?: Task | undefined;
}

export function addComment({ taskId, author, content, sessionId, archived }: NewComment): Command<Comment> {
  return (state, context) => {
    const task = state.tasks.byId.get(taskId) ?? archived;
    if (task === undefined) return refuse("TASK_NOT_FOUND", `there is no task ${taskId}`);
    const comment: Comment = {
      id: context.newId("com"),
      author,
      content,
      createdAt: context.now,
      ...(sessionId === undefined ? {} : { sessionId }),
    };
    const events: Event[] = [];
    if (!state.tasks.byId.has(taskId)) events.push({ type: "task.restored", at: context.now, task });
    events.push({ type: "comment.added", at: context.now, taskId, comment });
    return accept(events, () => comment);
  };
}

/** Ends the session of a task that a person took away from it. */
function stopFor(
  state: State,
  context: Context,
  taskId: string,
  how: "moved" | "deleted",
  to: TaskStatus | null,
): readonly Event[] {
  const session = state.sessions.activeByTask.get(taskId);
  if (session === undefined || session.status === "stopping") return [];
  const message = how === "deleted" ? "the task was deleted" : `the task was moved to ${to}`;
  return settle(state, context, session, {
    outcome: { status: "cancelled", error: { code: how === "deleted" ? "TASK_DELETED" : "TASK_MOVED", message } },
    stopAt: context.now,
    personDecided: how,
  });
}

function refuseInProgress(assignee: string): Decision<never> {
  return refuse(
    "STATUS_NOT_ALLOWED",
    `in_progress is set by dispatching where the assignee (${assignee}) is not one of the humans; move the task to todo instead`,
  );
}

function refuseCycle(cycle: readonly string[]): Decision<never> {
  return refuse("DEPENDENCY_CYCLE", `the tasks would wait for each other: ${cycle.join(" → ")}`, { cycle });
}

/** The way from a task back to itself over `dependsOn`, if its dependencies were these; `null` when there is none. */
function findCycle(state: State, taskId: string, dependsOn: readonly string[]): readonly string[] | null {
  const cameFrom = new Map<string, string>();
  const todo = dependsOn.map((id) => ({ id, from: taskId }));
  for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
    const { id, from } = next;
    if (id === taskId) return [...path(cameFrom, taskId, from), taskId];
    if (cameFrom.has(id)) continue;
    cameFrom.set(id, from);
    for (const further of state.tasks.byId.get(id)?.dependsOn ?? []) todo.push({ id: further, from: id });
  }
  return null;
}

function path(cameFrom: ReadonlyMap<string, string>, start: string, end: string): readonly string[] {
  const steps = [end];
  for (let at = end; at !== start; ) {
    at = cameFrom.get(at) ?? start;
    steps.unshift(at);
  }
  return steps;
}
