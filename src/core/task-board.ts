/** The task board: the fold that `tasks.json` holds. */
import type { Event } from "./event.ts";
import { type Queues, queuesOf, requeue } from "./queue.ts";
import { type Task, type TaskChanges, withNewFields } from "./task.ts";

export interface TaskBoard {
  /** The last event that was folded in. */
  seq: number;
  /** In order of creation. */
  readonly byId: Map<string, Task>;
  /** Derived: who waits for which assignee. */
  queues: Queues;
  /** Derived: done tasks, longest unchanged first, for archiving. */
  readonly done: Map<string, Task>;
}

export function emptyTaskBoard(): TaskBoard {
  return { seq: 0, byId: new Map(), queues: new Map(), done: new Map() };
}

export function loadTaskBoard(seq: number, tasks: Iterable<Task>): TaskBoard {
  const board = emptyTaskBoard();
  board.seq = seq;
  const makeQueues = leaveQueues(board);
  for (const task of tasks) put(board, withNewFields(task));
  makeQueues();
  const oldestFirst = [...board.done.values()].sort((a, b) => a.updatedAt - b.updatedAt);
  board.done.clear();
  for (const task of oldestFirst) board.done.set(task.id, task);
  return board;
}

/** Boards whose queues nobody looks at, since many changes are on their way. */
const left = new WeakSet<TaskBoard>();

/**
 * Until the returned function is called, the board's queues are left as they are; then they are made anew. For a replay:
 * keeping thousands of tasks sorted through a hundred thousand changes takes a third of its time.
 */
export function leaveQueues(board: TaskBoard): () => void {
  left.add(board);
  return () => {
    left.delete(board);
    board.queues = queuesOf(board.byId.values());
  };
}

/** Folds one event's slice; events of other stores change nothing. */
export function foldTasks(board: TaskBoard, event: Event): void {
  switch (event.type) {
    case "task.created":
    case "task.restored":
      return put(board, withNewFields(event.task));
    case "task.changed":
      return change(board, event.taskId, event.changes, event.at);
    case "task.deleted":
      return remove(board, event.taskId);
    case "task.archived":
      for (const id of event.taskIds) remove(board, id);
      return;
    case "comment.added": {
      const task = board.byId.get(event.taskId);
      if (task !== undefined) put(board, { ...task, comments: [...task.comments, event.comment] });
      return;
    }
    case "session.started":
      return change(
        board,
        event.session.taskId,
        { status: "in_progress", attempts: event.session.attempt, retryAt: null },
        event.at,
      );
    case "session.settled": {
      const task = board.byId.get(event.taskId);
      if (task === undefined || event.verdict === undefined) return;
      put(board, {
        ...apply(task, event.verdict.changes, event.at),
        comments: [...task.comments, event.verdict.comment],
      });
      return;
    }
    default:
      return;
  }
}

function change(board: TaskBoard, taskId: string, changes: TaskChanges, at: number): void {
  const task = board.byId.get(taskId);
  if (task !== undefined) put(board, apply(task, changes, at));
}

function apply(task: Task, changes: TaskChanges, at: number): Task {
  // One copy whose fields are then set: spreading two objects of many shapes takes three times as long.
  const changed: { -readonly [K in keyof Task]: Task[K] } = { ...task };
  Object.assign(changed, changes);
  changed.version = task.version + 1;
  changed.updatedAt = at;
  return changed;
}

function put(board: TaskBoard, task: Task): void {
  const before = board.byId.get(task.id);
  board.byId.set(task.id, task);
  if (!left.has(board)) requeue(board.queues, before, task);
  if (task.status === "done") {
    if (before?.updatedAt !== task.updatedAt) board.done.delete(task.id);
    board.done.set(task.id, task);
  } else if (before?.status === "done") {
    board.done.delete(task.id);
  }
}

function remove(board: TaskBoard, taskId: string): void {
  const task = board.byId.get(taskId);
  if (task === undefined) return;
  board.byId.delete(taskId);
  board.done.delete(taskId);
  if (!left.has(board)) requeue(board.queues, task, undefined);
}
