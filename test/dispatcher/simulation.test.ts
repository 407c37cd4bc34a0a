import t, { type Test } from "tap";
import { chooseSeed } from "../support/random.ts";
import { explore, type Failure, type Life, lifeWithDeath, lives, shrink, storyOf } from "./lives.ts";

/** With the deaths below 100,000. */
const STEPS = 96_400;
const DEATHS = 60;
/** What is left of the test's time is for saying it. */
const SHRINK_MS = 30_000;

const WANTED = [
  ["completed", "failed", "cancelled", "timed_out", "stalled", "lost"],
  ["crashes", "restarts", "failures", "doubled", "lostCallbacks", "archivedSessions", "archivedTasks", "rebuilt"],
].flat();

t.test(`${STEPS} random steps of a daemon break no rule, and all its lives come to rest`, async (t) => {
  const { counts, failure } = await explore(lives(chooseSeed(), STEPS));
  t.comment(JSON.stringify(counts));
  if (failure !== null) return fail(t, failure);
  t.equal(counts.steps, STEPS);
  for (const what of WANTED) t.ok((counts[what] ?? 0) > 0, `there was something ${what}`);
});

t.test("a process that dies after any step of the same life leaves nothing behind", async (t) => {
  const seed = chooseSeed();
  const all: Life[] = Array.from({ length: DEATHS }, (_, step) => lifeWithDeath(seed, DEATHS, step));
  const { counts, failure } = await explore(all);
  if (failure !== null) return fail(t, failure);
  t.equal(counts.lives, DEATHS);
  t.ok((counts.crashes ?? 0) >= DEATHS, `${counts.crashes} crashes: each life had one at least`);
});

async function fail(t: Test, failure: Failure): Promise<void> {
  t.fail(storyOf(failure, await shrink(failure, SHRINK_MS)));
}
