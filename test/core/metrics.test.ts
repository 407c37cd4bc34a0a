import fc from "fast-check";
import t from "tap";
import type { Event } from "../../src/core/event.ts";
import {
  type AgentMetrics,
  averageCompletionMs,
  emptyMetricsStore,
  foldMetrics,
  metricsOf,
  percentileMs,
  RECENT_COMPLETIONS,
} from "../../src/core/metrics.ts";
import type { EndedStatus } from "../../src/core/session.ts";
import { START } from "./world.ts";

function settled(status: EndedStatus, durationMs = 1000): Event {
  const outcome = { status };
  return {
    type: "session.settled",
    at: START,
    sessionId: "s",
    taskId: "t",
    agent: "a",
    method: "cli",
    outcome,
    durationMs,
    stopAt: START,
  };
}

function withCompletions(durations: readonly number[]): AgentMetrics {
  const store = emptyMetricsStore();
  for (const durationMs of durations) foldMetrics(store, settled("completed", durationMs));
  return metricsOf(store, "a");
}

t.test("every end counts once, by what it was", async (t) => {
  const table: readonly [EndedStatus, "completed" | "failed" | "cancelled"][] = [
    ["completed", "completed"],
    ["failed", "failed"],
    ["timed_out", "failed"],
    ["stalled", "failed"],
    ["lost", "failed"],
    ["cancelled", "cancelled"],
  ];
  for (const [status, count] of table) {
    const store = emptyMetricsStore();
    foldMetrics(store, settled(status));
    const { completed, failed, cancelled } = metricsOf(store, "a");
    t.same({ completed, failed, cancelled }, { completed: 0, failed: 0, cancelled: 0, [count]: 1 }, status);
  }
});

t.test("only completions count for the average, which is of all of them, in whole ms", async (t) => {
  t.equal(averageCompletionMs(withCompletions([])), null);
  t.equal(averageCompletionMs(withCompletions([1000])), 1000);
  t.equal(averageCompletionMs(withCompletions([1, 2])), 2);
  t.equal(averageCompletionMs(withCompletions([10, 20, 31])), 20);
  const store = emptyMetricsStore();
  for (const event of [settled("completed", 10), settled("failed", 9999), settled("cancelled", 9999)])
    foldMetrics(store, event);
  t.equal(averageCompletionMs(metricsOf(store, "a")), 10);
  t.equal(
    averageCompletionMs(withCompletions(Array(200).fill(0).concat(Array(200).fill(100)))),
    50,
    "the oldest count too",
  );
});

t.test("percentiles are nearest rank over the newest completions", async (t) => {
  t.equal(percentileMs(withCompletions([]), 0.5), null);
  const table: readonly [values: readonly number[], p: number, expected: number][] = [
    [[7], 0.5, 7],
    [[7], 0.95, 7],
    [[1, 2], 0.5, 1],
    [[2, 1], 0.95, 2],
    [[5, 3, 1, 4, 2], 0.5, 3],
    [[15, 20, 35, 40, 50], 0.3, 20],
    [[15, 20, 35, 40, 50], 0.4, 20],
    [[15, 20, 35, 40, 50], 1, 50],
    [[15, 20, 35, 40, 50], 0, 15],
    [Array.from({ length: 100 }, (_, n) => 100 - n), 0.95, 95],
    [Array.from({ length: 100 }, (_, n) => n + 1), 0.5, 50],
    [Array.from({ length: 20 }, (_, n) => n + 1), 0.95, 19],
    [[9, 10, 11, 100], 0.5, 10],
  ];
  for (const [values, p, expected] of table)
    t.equal(percentileMs(withCompletions(values), p), expected, `p${p * 100} of ${values}`);
});

t.test("only the newest completions are kept for the percentiles", async (t) => {
  const metrics = withCompletions(Array.from({ length: RECENT_COMPLETIONS + 30 }, (_, n) => n));
  t.equal(metrics.recentCompletionsMs.length, RECENT_COMPLETIONS);
  t.equal(metrics.recentCompletionsMs[0], 30);
  t.equal(metrics.recentCompletionsMs.at(-1), RECENT_COMPLETIONS + 29);
  t.equal(metrics.completed, RECENT_COMPLETIONS + 30);
});

t.test("a percentile is one of the values, with enough of them at or below it", async (t) => {
  const values = fc.array(fc.nat({ max: 50 }), { minLength: 1, maxLength: RECENT_COMPLETIONS });
  fc.assert(
    fc.property(values, fc.constantFrom(0.01, 0.25, 0.5, 0.9, 0.95, 0.99, 1), (values, p) => {
      const found = percentileMs(withCompletions(values), p);
      if (found === null || !values.includes(found)) return false;
      const share = (test: (value: number) => boolean) => values.filter(test).length / values.length;
      return share((value) => value <= found) >= p - 1e-9 && share((value) => value < found) < p;
    }),
  );
  t.pass();
});

t.test("tokens and costs add up, and what nobody knows is counted apart, never as 0", async (t) => {
  const store = emptyMetricsStore();
  const ended = (fields: Partial<Extract<Event, { type: "session.ended" }>>): Event => {
    const cost = { usd: null, basis: "unknown" } as const;
    return { type: "session.ended", at: START, sessionId: "s", taskId: "t", agent: "a", exit: {}, cost, ...fields };
  };
  foldMetrics(store, ended({ usage: { inputTokens: 10, outputTokens: 5 }, cost: { usd: 0.25, basis: "measured" } }));
  foldMetrics(store, ended({ usage: { inputTokens: 1 }, cost: { usd: 0, basis: "measured" } }));
  foldMetrics(store, ended({}));
  const { inputTokens, outputTokens, costUsd, costUnknown } = metricsOf(store, "a");
  t.same(
    { inputTokens, outputTokens, costUsd, costUnknown },
    { inputTokens: 11, outputTokens: 5, costUsd: 0.25, costUnknown: 1 },
  );
});

t.test("an agent that was never dispatched to has counts of 0, and asking does not make it known", async (t) => {
  const store = emptyMetricsStore();
  t.equal(metricsOf(store, "nobody").dispatched, 0);
  t.equal(store.byAgent.size, 0);
  t.equal(store.lastUpdatedAt, null);
});
