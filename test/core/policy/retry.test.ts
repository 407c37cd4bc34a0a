import fc from "fast-check";
import t from "tap";
import { canGetBetter } from "../../../src/core/policy/error-class.ts";
import { afterFailure } from "../../../src/core/policy/retry.ts";
import { START } from "../world.ts";

const SETTINGS = { maxAttempts: 3, initialDelayMs: 10_000, maxDelayMs: 300_000 };

t.test("the delay doubles with every attempt up to the most, spread over its upper half", async (t) => {
  const table: readonly [attempts: number, random: number, delayMs: number][] = [
    [1, 0, 5000],
    [1, 0.5, 7500],
    [1, 0.99999, 10_000],
    [2, 0, 10_000],
    [2, 0.25, 12_500],
    [3, 0.5, 30_000],
    [5, 0, 80_000],
    [6, 0, 150_000],
    [6, 0.5, 225_000],
    [7, 0.99999, 299_999],
    [50, 0, 150_000],
    [2000, 0.5, 225_000],
    // A hold released while the session ran set the count to 0.
    [0, 0, 5000],
  ];
  for (const [attempts, random, delayMs] of table) {
    const verdict = afterFailure(attempts, 10_000, SETTINGS, START, random);
    t.same(verdict, { retryAt: START + delayMs }, `attempt ${attempts}, random ${random}: ${delayMs} ms`);
  }
});

t.test("an initial delay of 0 tries again at once, however often it failed", async (t) => {
  for (const attempts of [1, 10, 1100]) {
    t.same(afterFailure(attempts, 10_000, { ...SETTINGS, initialDelayMs: 0 }, START, 0.5), { retryAt: START });
  }
});

t.test("when the attempts are used up the task is held", async (t) => {
  t.hasProp(afterFailure(2, 3, SETTINGS, START, 0), "retryAt");
  for (const [attempts, most] of [
    [3, 3],
    [4, 3],
    [1, 1],
  ] as const) {
    const verdict = afterFailure(attempts, most, SETTINGS, START, 0);
    t.match(verdict, { hold: { code: "ATTEMPTS_EXHAUSTED", message: `${attempts} of ${most} attempts failed` } });
  }
});

t.test("a delay is never beyond the most, never under half of the least, and always whole milliseconds", async (t) => {
  fc.assert(
    fc.property(
      fc.nat({ max: 3000 }),
      fc.nat({ max: 1_000_000 }),
      fc.nat({ max: 10_000_000 }),
      fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
      (attempts, initialDelayMs, maxDelayMs, random) => {
        const verdict = afterFailure(attempts, 5000, { maxAttempts: 3, initialDelayMs, maxDelayMs }, START, random);
        if ("hold" in verdict) return false;
        const delay = verdict.retryAt - START;
        return (
          Number.isInteger(delay) &&
          delay <= maxDelayMs &&
          delay >= Math.floor(Math.min(initialDelayMs, maxDelayMs) / 2)
        );
      },
    ),
  );
  t.pass();
});

t.test("only errors that the next attempt may not meet again are tried again", async (t) => {
  for (const code of ["AGENT_REPORTED", "TIMED_OUT", "STALLED", "SPAWN_UNCLAIMED", "LOST", "EXIT", "anything"]) {
    t.equal(canGetBetter(code), true, code);
  }
  for (const code of ["BAD_CONFIG", "BAD_WORKSPACE", "WORKSPACE_NOT_FOUND", "NOT_INSTALLED", "ARGUMENT_TOO_LONG"]) {
    t.equal(canGetBetter(code), false, code);
  }
});
