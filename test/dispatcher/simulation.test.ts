import t from "tap";
import { chooseSeed } from "../support/random.ts";
import { Simulation } from "./simulation.ts";

const LIVES = Number(process.env.JARVIS_TEST_LIVES ?? 60);
const STEPS = 250;

t.test(`${LIVES} random lives of a daemon break no rule, and all come to rest`, async (t) => {
  const first = chooseSeed();
  t.comment(`JARVIS_TEST_SEED=${first}`);
  const sum: Record<string, number> = {};
  for (let life = 0; life < LIVES; life++) {
    const seed = first + life;
    const simulation = new Simulation(seed);
    try {
      await simulation.live(STEPS);
      const { outcomes, ...told } = await simulation.rest();
      for (const [what, count] of Object.entries({ ...told, ...outcomes })) sum[what] = (sum[what] ?? 0) + count;
    } catch (error) {
      t.fail(`JARVIS_TEST_SEED=${seed} JARVIS_TEST_LIVES=1: ${(error as Error).message}`);
      return;
    }
  }
  t.comment(JSON.stringify(sum));
  for (const what of ["completed", "failed", "cancelled", "timed_out", "stalled", "lost", "crashes", "failures"])
    t.ok((sum[what] ?? 0) > 0, `there was something ${what}`);
});

t.test("a process that dies after any step of the same life leaves nothing behind", async (t) => {
  const steps = 60;
  const seed = chooseSeed();
  t.comment(`JARVIS_TEST_SEED=${seed}`);
  for (let step = 0; step < steps; step++) {
    const simulation = new Simulation(seed);
    try {
      await simulation.live(steps, new Set([step]));
      await simulation.rest();
    } catch (error) {
      t.fail(`JARVIS_TEST_SEED=${seed}, dying after step ${step}: ${(error as Error).message}`);
      return;
    }
  }
  t.pass(`${steps} deaths`);
});
