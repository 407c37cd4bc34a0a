import { deepStrictEqual } from "node:assert";
import fc from "fast-check";
import t from "tap";
import { isConditional, type Queues, requeue } from "../../src/core/queue.ts";
import { PRIORITIES, TASK_STATUSES, type Task } from "../../src/core/task.ts";
import { foldTasks, loadTaskBoard } from "../../src/core/task-board.ts";
import { freshQueues } from "./invariants.ts";
import { aTask, START } from "./world.ts";

t.test("a task waits in the plain list unless something of its own may stop it", async (t) => {
  const table: readonly [Partial<Task>, boolean][] = [
    [{}, false],
    [{ labels: ["x"], requiresReview: true, attempts: 2, maxAttempts: 1, workspace: "/w" }, false],
    [{ assignee: "auto" }, true],
    [{ hold: { code: "CANCELLED", message: "" } }, true],
    [{ retryAt: START }, true],
    [{ dependsOn: ["x"] }, true],
    [{ files: ["src/**"] }, true],
  ];
  for (const [fields, conditional] of table)
    t.equal(isConditional(aTask({ id: "t", ...fields })), conditional, JSON.stringify(fields));
});

t.test("only todo tasks stand in a queue", async (t) => {
  for (const status of TASK_STATUSES) {
    const queues: Queues = new Map();
    requeue(queues, undefined, aTask({ id: "t", status }));
    t.equal(queues.size, status === "todo" ? 1 : 0, status);
  }
});

const task = fc
  .record({
    id: fc.constantFrom("a", "b", "c", "d", "e", "f", "g", "h"),
    status: fc.oneof({ weight: 3, arbitrary: fc.constant("todo" as const) }, fc.constantFrom(...TASK_STATUSES)),
    priority: fc.constantFrom(...PRIORITIES),
    assignee: fc.constantFrom("copilot", "gemini", "auto", "jarvis"),
    dueDate: fc.constantFrom(null, "2026-01-01"),
    createdAt: fc.nat({ max: 2 }),
    updatedAt: fc.nat({ max: 9 }),
    files: fc.constantFrom([], ["src/**"]),
    retryAt: fc.constantFrom(null, START),
  })
  .map(aTask);
const step = fc.oneof(
  { weight: 5, arbitrary: task.map((task) => ({ type: "task.created", at: START, task }) as const) },
  { weight: 2, arbitrary: task.map(({ id }) => ({ type: "task.deleted", at: START, taskId: id }) as const) },
  {
    weight: 2,
    arbitrary: task.map(
      ({ id, status, priority, assignee, updatedAt }) =>
        ({ type: "task.changed", at: updatedAt, taskId: id, changes: { status, priority, assignee } }) as const,
    ),
  },
);

t.test(
  "after any changes the queues are what sorting all tasks afresh would give, with no empty ones left",
  async (t) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: "max" }), (steps) => {
        const board = loadTaskBoard(0, []);
        for (const event of steps) {
          foldTasks(board, event);
          deepStrictEqual(board.queues, freshQueues(board));
          const done = [...board.byId.values()].filter(({ status }) => status === "done");
          deepStrictEqual(new Map(done.map((one) => [one.id, one])), board.done);
        }
        const loaded = loadTaskBoard(0, JSON.parse(JSON.stringify([...board.byId.values()])) as Task[]);
        deepStrictEqual(loaded.queues, board.queues);
      }),
      { numRuns: 300 },
    );
    t.pass();
  },
);

t.test("done tasks stand in the order of their last change, so that the archive meets the oldest first", async (t) => {
  const board = loadTaskBoard(0, []);
  const ids = () => [...board.done.keys()];
  for (const id of ["a", "b", "c"])
    foldTasks(board, { type: "task.created", at: START, task: aTask({ id, status: "done", updatedAt: START }) });
  t.same(ids(), ["a", "b", "c"]);
  foldTasks(board, { type: "task.changed", at: START + 5, taskId: "a", changes: { title: "a better one" } });
  t.same(ids(), ["b", "c", "a"], "a change makes it the youngest");
  t.same([...loadTaskBoard(0, board.byId.values()).done.keys()], ids(), "a board that was loaded agrees");
  foldTasks(board, {
    type: "comment.added",
    at: START + 9,
    taskId: "b",
    comment: { id: "k", author: "x", content: "y", createdAt: START + 9 },
  });
  t.same(ids(), ["b", "c", "a"], "a comment changes no order");
});
