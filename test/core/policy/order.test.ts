import fc from "fast-check";
import t from "tap";
import { compareTasks } from "../../../src/core/policy/order.ts";
import { PRIORITIES, type Task } from "../../../src/core/task.ts";
import { aTask, START } from "../world.ts";

t.test("tasks go by priority, then due date, then age, then id", async (t) => {
  const inOrder: readonly Partial<Task>[] = [
    { priority: "urgent", dueDate: "2026-02-01", createdAt: START + 9 },
    { priority: "urgent" },
    { priority: "high", createdAt: START - 9 },
    { priority: "high" },
    { priority: "medium", dueDate: "2025-12-31T23:59:59Z" },
    { priority: "medium", dueDate: "2026-01-01" },
    { priority: "medium", dueDate: "2026-01-01T00:00:00Z", createdAt: START - 9 },
    { priority: "medium", dueDate: "2026-01-01T00:00:00Z" },
    { priority: "medium", dueDate: "2026-01-02", createdAt: 0 },
    { priority: "medium", createdAt: 0 },
    { priority: "medium", createdAt: START, id: "a" },
    { priority: "medium", createdAt: START, id: "b" },
    { priority: "low", dueDate: "2020-01-01" },
  ];
  const tasks = inOrder.map((fields, index) => aTask({ id: `t${index}`, ...fields }));
  for (const [i, a] of tasks.entries()) {
    for (const [j, b] of tasks.entries()) {
      t.equal(Math.sign(compareTasks(a, b)), Math.sign(i - j), `${i} against ${j}`);
    }
  }
});

const task = fc
  .record({
    id: fc.stringMatching(/^[ab]{1,2}$/),
    priority: fc.constantFrom(...PRIORITIES),
    dueDate: fc.constantFrom(null, "2026-01-01", "2026-01-01T12:00:00Z", "2026-01-02"),
    createdAt: fc.nat({ max: 2 }),
  })
  .map(aTask);

t.test("the order is total: it never depends on where a task stood before", async (t) => {
  fc.assert(
    fc.property(fc.uniqueArray(task, { selector: ({ id }) => id }), fc.nat(), (tasks, turn) => {
      const turned = tasks.map((_, index) => tasks[(index + turn) % tasks.length] as Task);
      const sorted = [...tasks].sort(compareTasks).map(({ id }) => id);
      return (
        sorted.join() ===
        [...turned]
          .sort(compareTasks)
          .map(({ id }) => id)
          .join()
      );
    }),
  );
  t.pass();
});
