/** What must hold of every state, whatever happened before. */
import { deepStrictEqual, equal, ok } from "node:assert/strict";
import type { Context } from "../../src/core/decision.ts";
import type { Event } from "../../src/core/event.ts";
import { conflicts, isHeld } from "../../src/core/lock.ts";
import { emptyLockManager, loadLockManager } from "../../src/core/lock-manager.ts";
import { compareTasks } from "../../src/core/policy/order.ts";
import { isConditional, type Queues } from "../../src/core/queue.ts";
import { type ActiveSession, isActive, type Session } from "../../src/core/session.ts";
import { loadSessionStore } from "../../src/core/session-store.ts";
import type { State } from "../../src/core/state.ts";
import { loadTaskBoard, type TaskBoard } from "../../src/core/task-board.ts";

/** What the queues ought to be, made from nothing but the tasks. */
export function freshQueues(board: TaskBoard): Queues {
  const queues: Queues = new Map();
  for (const task of [...board.byId.values()].filter(({ status }) => status === "todo").sort(compareTasks)) {
    const queue = queues.get(task.assignee) ?? { plain: [], conditional: [] };
    queue[isConditional(task) ? "conditional" : "plain"].push(task);
    queues.set(task.assignee, queue);
  }
  return queues;
}

/** @throws AssertionError naming the first rule that the state breaks. */
export function checkState(state: State, context: Context): void {
  checkSessions(state, context);
  checkLocks(state, context);
  checkMetrics(state);
  checkIndexes(state);
}

function activeOf(state: State): readonly ActiveSession[] {
  return [...state.sessions.byId.values()].filter(isActive);
}

function checkSessions(state: State, { agents, humans, maxConcurrent }: Context): void {
  const active = activeOf(state);
  equal(new Set(active.map(({ taskId }) => taskId)).size, active.length, "at most one active session for a task");
  ok(active.length <= maxConcurrent, "no more active sessions than the limit for all");
  for (const agent of agents.values()) {
    const used = active.filter((session) => session.agent === agent.name).length;
    ok(used <= agent.maxConcurrent, `${agent.name} has no more active sessions than slots`);
  }
  for (const session of active) {
    if (session.status === "stopping") continue;
    equal(
      state.tasks.byId.get(session.taskId)?.status,
      "in_progress",
      `the task of ${session.id}, which is ${session.status}`,
    );
  }
  for (const task of state.tasks.byId.values()) {
    if (task.status !== "in_progress" || humans.has(task.assignee)) continue;
    const session = active.find(({ taskId }) => taskId === task.id);
    ok(
      session !== undefined && session.status !== "stopping",
      `${task.id} of ${task.assignee} is in progress, so a session works on it`,
    );
  }
}

function checkLocks(state: State, { now }: Context): void {
  const locks = [...state.locks.byId.values()];
  for (const lock of locks) {
    const session = state.sessions.byId.get(lock.sessionId);
    ok(session !== undefined && isActive(session), `${lock.id} is held by an active session`);
    ok(lock.fence <= state.ledger.fence, `the fence of ${lock.id} is not beyond the highest given`);
  }
  equal(new Set(locks.map(({ fence }) => fence)).size, locks.length, "no two locks have the same fence");
  const held = locks.filter((lock) => isHeld(lock, now));
  for (const [index, lock] of held.entries()) {
    for (const other of held.slice(index + 1)) {
      const apart = lock.sessionId === other.sessionId || !conflicts(lock, other);
      ok(apart, `${lock.id} and ${other.id} do not both hold ${lock.paths} and ${other.paths}`);
    }
  }
  for (const session of activeOf(state)) {
    if (session.files.length === 0) continue;
    const own = state.locks.byId.get(`lock_${session.id}`);
    deepStrictEqual(own?.paths, session.files, `${session.id} holds its task's files as long as it lives`);
  }
}

function checkMetrics(state: State): void {
  let dispatched = 0;
  for (const [agent, counts] of state.metrics.byAgent) {
    const unsettled = activeOf(state).filter(
      (session) => session.agent === agent && session.status !== "stopping",
    ).length;
    equal(
      counts.dispatched,
      counts.completed + counts.failed + counts.cancelled + unsettled,
      `the counts of ${agent} add up`,
    );
    dispatched += counts.dispatched;
  }
  equal(state.metrics.totalDispatched, dispatched, "the total is the sum over the agents");
}

/** Every derived index equals what its records alone give. */
function checkIndexes({ tasks, sessions, locks, ledger }: State): void {
  deepStrictEqual(tasks.queues, freshQueues(tasks), "the queues");
  const board = loadTaskBoard(tasks.seq, tasks.byId.values());
  deepStrictEqual(tasks, board, "the task board");
  deepStrictEqual(sessions, loadSessionStore(sessions.seq, sessions.byId.values()), "the session store");
  const newest = [...sessions.ended.values()].map((session: Session) => session.id);
  equal(new Set(newest).size, newest.length);
  for (const [taskId, ids] of sessions.byTask) {
    const of = [...sessions.byId.values()].filter((session) => session.taskId === taskId).map(({ id }) => id);
    deepStrictEqual(ids, of, `the sessions of ${taskId} in the order of starting`);
  }
  deepStrictEqual(locks, loadLockManager(locks.seq, locks.byId.values()), "the lock manager");
  if (locks.byId.size === 0) deepStrictEqual({ ...locks, seq: 0 }, emptyLockManager(), "no empty sets are left");
  const size = [...ledger.answers.values()].reduce((sum, { body }) => sum + body.length, 0);
  equal(ledger.answersSize, size, "the size of the answers");
}

/** An event is the same after it was written and read: no undefined, NaN, Infinity or Date in it. */
export function checkEvent(event: Event): void {
  deepStrictEqual(JSON.parse(JSON.stringify(event)), event, `${event.type} survives JSON`);
}
