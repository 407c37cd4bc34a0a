/** The order in which waiting tasks are dispatched: priority, then due date, then age, then id. Total, so that it never depends on chance. */
import { PRIORITIES, type Priority, type Task } from "../task.ts";

const RANK: Readonly<Record<Priority, number>> = Object.fromEntries(
  PRIORITIES.map((name, rank) => [name, rank]),
) as Record<Priority, number>;

/** Negative when `a` goes first. Tasks without a due date come after those with one. */
export function compareTasks(a: Task, b: Task): number {
  if (a.priority !== b.priority) return RANK[a.priority] - RANK[b.priority];
  if (a.dueDate !== b.dueDate) {
    if (a.dueDate === null) return 1;
    if (b.dueDate === null) return -1;
    return a.dueDate < b.dueDate ? -1 : 1;
  }
  if (a.createdAt !== b.createdAt) return a.createdAt - b.createdAt;
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
