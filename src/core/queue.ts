/** The waiting tasks of one assignee, kept in dispatch order, so that choosing the next costs no walk over all tasks. */
import { compareTasks } from "./policy/order.ts";
import { AUTO_ASSIGNEE, type Task } from "./task.ts";

/**
 * `plain` tasks wait for nothing but their agent, so one look at the agent answers for all of them;
 * `conditional` ones (held, to be retried later, with dependencies or files, for any agent, or one that must be isolated) have to be looked at one by one.
 */
export interface Queue {
  readonly plain: Task[];
  readonly conditional: Task[];
}

export type Queues = Map<string, Queue>;

export function isConditional(task: Task): boolean {
  return (
    task.assignee === AUTO_ASSIGNEE ||
    task.hold !== null ||
    task.retryAt !== null ||
    task.dependsOn.length > 0 ||
    task.files.length > 0 ||
    task.isolation === "worktree"
  );
}

/** The queues of all these tasks. */
export function queuesOf(tasks: Iterable<Task>): Queues {
  const queues: Queues = new Map();
  for (const task of tasks) if (task.status === "todo") listOf(queues, task).push(task);
  for (const { plain, conditional } of queues.values()) {
    plain.sort(compareTasks);
    conditional.sort(compareTasks);
  }
  return queues;
}

/** Moves a task from where its former version stood to where its new version stands; `undefined` = not there. */
export function requeue(queues: Queues, before: Task | undefined, after: Task | undefined): void {
  const from = before?.status === "todo" ? before : undefined;
  const to = after?.status === "todo" ? after : undefined;
  if (from !== undefined && to !== undefined && sameList(from, to) && compareTasks(from, to) === 0) {
    const list = listOf(queues, to);
    list[position(list, to)] = to;
    return;
  }
  if (from !== undefined) {
    const list = listOf(queues, from);
    list.splice(position(list, from), 1);
    const queue = queues.get(from.assignee);
    if (queue !== undefined && queue.plain.length === 0 && queue.conditional.length === 0) queues.delete(from.assignee);
  }
  if (to !== undefined) {
    const list = listOf(queues, to);
    list.splice(position(list, to), 0, to);
  }
}

function sameList(a: Task, b: Task): boolean {
  return a.assignee === b.assignee && isConditional(a) === isConditional(b);
}

function listOf(queues: Queues, task: Task): Task[] {
  let queue = queues.get(task.assignee);
  if (queue === undefined) {
    queue = { plain: [], conditional: [] };
    queues.set(task.assignee, queue);
  }
  return isConditional(task) ? queue.conditional : queue.plain;
}

/** The index of the task, or where it belongs. */
export function position(list: readonly Task[], task: Task): number {
  let low = 0;
  let high = list.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (compareTasks(list[middle] as Task, task) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}
