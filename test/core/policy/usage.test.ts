import assert from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { callback, runEnded } from "../../../src/core/decide/report.ts";
import { addTotals, sinceResumed } from "../../../src/core/policy/usage.ts";
import type { Usage } from "../../../src/core/session.ts";
import { AGENTS, aRunningWorld, start } from "../world.ts";

const COUNTED = ["inputTokens", "cacheReadTokens", "cacheWriteTokens", "outputTokens", "costUsd"] as const;
type Counts = Readonly<Record<(typeof COUNTED)[number], number>>;
const NONE: Counts = { inputTokens: 0, cacheReadTokens: 0, cacheWriteTokens: 0, outputTokens: 0, costUsd: 0 };
const plus = (a: Counts, b: Counts) =>
  Object.fromEntries(COUNTED.map((key) => [key, a[key] + b[key]])) as unknown as Counts;

t.test("what an attempt used is what its totals are beyond those before it", async (t) => {
  const table: readonly (readonly [totals: Usage | undefined, before: Usage | undefined, own: Usage | undefined])[] = [
    [undefined, undefined, undefined],
    [undefined, { inputTokens: 5 }, undefined],
    [{ inputTokens: 5, model: "m" }, undefined, { inputTokens: 5, model: "m" }],
    [
      { inputTokens: 7, costUsd: 3, model: "m" },
      { inputTokens: 5, costUsd: 1 },
      { inputTokens: 2, costUsd: 2, model: "m" },
    ],
    [{ inputTokens: 5 }, { inputTokens: 5 }, { inputTokens: 0 }],
    // What was not counted before is counted whole.
    [{ inputTokens: 7, outputTokens: 3 }, { inputTokens: 5 }, { inputTokens: 2, outputTokens: 3 }],
    [{ inputTokens: 7 }, { inputTokens: 5, outputTokens: 3 }, { inputTokens: 2 }],
    // A single count that went down tells that all of them began anew.
    [
      { inputTokens: 4, outputTokens: 30 },
      { inputTokens: 5, outputTokens: 20 },
      { inputTokens: 4, outputTokens: 30 },
    ],
  ];
  for (const [totals, before, own] of table)
    t.same(sinceResumed(totals, before), own, JSON.stringify([totals, before]));
});

t.test("an agent's session keeps the highest totals that are known of it", async (t) => {
  const totals = { inputTokens: 5 };
  const resumed = { id: "a", totals, origin: "ses_1" };
  t.equal(addTotals(undefined, resumed), undefined);
  t.same(addTotals({ id: "a" }, resumed), { id: "a", totals });
  t.same(addTotals({ id: "a", totals: { inputTokens: 9 } }, resumed), { id: "a", totals: { inputTokens: 9 } });
  t.same(addTotals({ id: "another" }, resumed), { id: "another" });
  t.same(addTotals({ id: "a" }, { id: "a", origin: "ses_1" }), { id: "a" });
  t.same(addTotals({ id: "a" }, undefined), { id: "a" });
});

const amount = fc.nat({ max: 1000 });
/** What one attempt used; whether its program told of it; and whether that began to count anew, or in a session of another name. */
const attempt = fc.record({
  used: fc.record({
    inputTokens: fc.nat({ max: 1000 }),
    cacheReadTokens: amount,
    cacheWriteTokens: amount,
    outputTokens: amount,
    costUsd: amount,
  }),
  tells: fc.boolean(),
  anew: fc.constantFrom("no", "no", "no", "another session", "same session"),
});

t.test("through all attempts of a session everything is counted, and nothing twice", async (t) => {
  const agents = new Map(AGENTS.map((agent) => [agent.name, { ...agent, resume: true }]));
  fc.assert(
    fc.property(fc.array(attempt, { minLength: 1, maxLength: 8 }), (attempts) => {
      const world = aRunningWorld({}, { agents, retry: { maxAttempts: 99, initialDelayMs: 0, maxDelayMs: 0 } });
      let sessionId = world.sessionId;
      let name = "own-0";
      /** What the program counts, what it last told of, and all that it told of before it began anew. */
      let [counted, told, finished] = [NONE, NONE, NONE];
      let said = NONE;
      for (const [index, { used, tells, anew }] of attempts.entries()) {
        if (index > 0) sessionId = start(world, "t1");
        const next = plus(counted, used);
        // Counters that began anew in the same session are known by being lower.
        const isAnew =
          anew === "another session" || (anew === "same session" && COUNTED.some((key) => used[key] < told[key]));
        if (isAnew && tells) {
          if (anew === "another session") name = `own-${index + 1}`;
          finished = plus(finished, told);
          counted = used;
        } else counted = next;
        if (tells) told = counted;
        world.must(
          runEnded({
            sessionId,
            exit: { signal: "SIGKILL" },
            outcome: { status: "failed", error: { code: "SIGNAL", message: "killed" } },
            agentSession: { id: name, ...(tells ? { totals: counted } : {}) },
          }),
        );
        const { usage } = world.session(sessionId);
        assert.equal(usage === undefined, !tells, "who tells nothing is said to have used nothing");
        said = plus(said, { ...NONE, ...usage });
      }
      assert.deepEqual(said, plus(finished, told));
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test("what a callback told is not added to what the exit tells", async (t) => {
  const world = aRunningWorld();
  world.must(callback({ taskId: "t1", status: "completed", usage: { inputTokens: 100, costUsd: 2 } }));
  const { sessionId } = world;
  const agentSession = { id: "own", totals: { inputTokens: 120, outputTokens: 7 } };
  world.must(runEnded({ sessionId, exit: { exitCode: 0 }, outcome: { status: "completed" }, agentSession }));
  t.match(world.session(sessionId).usage, { inputTokens: 120, outputTokens: 7, costUsd: 2 });
});
