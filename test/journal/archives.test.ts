import t from "tap";
import type { Task } from "../../src/core/task.ts";
import { openArchives } from "../../src/journal/archives.ts";
import { aTask } from "../core/world.ts";

t.test("a task that was archived before it could have verifiers is read as one that has none", async (t) => {
  const log = { info: () => {}, warn: () => {}, error: () => {} };
  const archives = await openArchives(t.testdir({ archive: {} }), log as never);
  const { verify: _verify, isolation: _isolation, ...old } = aTask({ id: "old", status: "done" });
  await archives.appendTasks([old as Task]);
  t.match(await archives.task("old"), { id: "old", verify: [], isolation: null });
  t.match((await archives.tasks(undefined, 10)).records, [{ id: "old", verify: [], isolation: null }]);
  await archives.close();
});
