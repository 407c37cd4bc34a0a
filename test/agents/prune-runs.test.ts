import { existsSync, mkdirSync, readdirSync, symlinkSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { pruneRuns } from "../../src/agents/prune-runs.ts";

t.test("old runs go with what stands beside them, new ones and those that are still shown stay", async (t) => {
  const directory = t.testdir({ runs: {}, elsewhere: { kept: "kept" } });
  const runs = join(directory, "runs");
  const run = (id: string, ageMs: number) => {
    mkdirSync(join(runs, id, "work"), { recursive: true });
    writeFileSync(join(runs, id, "stdout.log"), "said");
    symlinkSync(join(directory, "elsewhere"), join(runs, id, "work", "way-out"));
    writeFileSync(join(runs, `${id}.begun`), "{}");
    const at = (Date.now() - ageMs) / 1000;
    for (const name of [id, `${id}.begun`]) utimesSync(join(runs, name), at, at);
  };
  for (const id of ["old", "shown"]) run(id, 100_000);
  run("new", 1000);
  const options = { directory: runs, before: Date.now() - 50_000, isKept: (id: string) => id === "shown" };
  t.equal(await pruneRuns(options), 2);
  t.same(readdirSync(runs).sort(), ["new", "new.begun", "shown", "shown.begun"]);
  t.ok(existsSync(join(directory, "elsewhere", "kept")), "what a link led to stays");
  t.equal(await pruneRuns(options), 0);
  t.equal(await pruneRuns({ ...options, directory: join(directory, "none") }), 0);
});
