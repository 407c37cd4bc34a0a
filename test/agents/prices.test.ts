/** What tokens cost, held against the table's own arithmetic. */
import assert from "node:assert/strict";
import { calcPrice } from "@pydantic/genai-prices";
import fc from "fast-check";
import t from "tap";
import { priceOf as price } from "../../src/agents/prices.ts";
import type { Usage } from "../../src/core/session.ts";
import { anAgent } from "../core/world.ts";

const agent = (model: string | null, costMultiplier = 3) => anAgent({ name: "a", model, costMultiplier });
const MODELS = ["claude-sonnet-4-5", "gemini-2.5-pro"] as const;

/** By the table itself, for one request that is no long one; to a millionth. */
function listed(
  model: string,
  { inputTokens = 0, cacheReadTokens = 0, cacheWriteTokens = 0, outputTokens = 0 }: Usage,
): number {
  const found = calcPrice(
    {
      input_tokens: inputTokens,
      cache_read_tokens: cacheReadTokens,
      cache_write_tokens: cacheWriteTokens,
      output_tokens: outputTokens,
    },
    model,
  );
  if (found === null) throw new Error(`the table does not have ${model}`);
  return Math.round(found.total_price * 1e6) / 1e6;
}

t.test("what was measured beats everything", async (t) => {
  const usage = { inputTokens: 1000, outputTokens: 100, model: "claude-sonnet-4-5" };
  for (const costUsd of [0, 0.25, 1000]) {
    t.same(price(agent("gemini-2.5-pro"), { ...usage, costUsd }), { usd: costUsd, basis: "measured", by: "program" });
    t.same(price(undefined, { costUsd }), { usd: costUsd, basis: "measured", by: "program" });
  }
});

t.test("a listed model costs what the table says, whoever names it", async (t) => {
  for (const model of MODELS) {
    for (const usage of [
      { inputTokens: 1000, outputTokens: 100 },
      { inputTokens: 12_345, cacheReadTokens: 12_000, outputTokens: 678 },
      { inputTokens: 0, outputTokens: 5000 },
      { inputTokens: 100_000, cacheReadTokens: 100_000 },
    ]) {
      const expected = { usd: listed(model, usage), basis: "estimated", by: "prices" };
      t.ok(expected.usd > 0);
      t.same(price(agent(model), usage), expected, `${model}: the agent's`);
      t.same(price(agent("gpt-5"), { ...usage, model }), expected, `${model}: what was said to be used counts more`);
      t.same(price(undefined, { ...usage, model }), expected, "also of an agent that is gone");
      t.same(price(agent(`some-provider/${model}`), usage), expected, "with the provider before it");
    }
  }
  const written = { inputTokens: 5000, cacheReadTokens: 1000, cacheWriteTokens: 3000, outputTokens: 10 };
  t.equal(price(agent("claude-sonnet-4-5"), written).usd, listed("claude-sonnet-4-5", written));
  // By hand: $3 and $15 for a million tokens, a tenth of that from the cache, a quarter more into it.
  t.equal(listed("claude-sonnet-4-5", written), Math.round(3000 + 300 + 11_250 + 150) / 1e6);
});

t.test("tokens from the cache are cheaper", async (t) => {
  for (const model of MODELS) {
    const usdOf = (cacheReadTokens: number) => price(agent(model), { inputTokens: 10_000, cacheReadTokens }).usd ?? 0;
    const usd = [0, 1000, 5000, 10_000].map(usdOf);
    t.same(
      usd,
      usd.toSorted((a, b) => b - a),
      model,
    );
    t.ok((usd.at(-1) ?? 0) < (usd[0] ?? 0) / 5);
  }
});

t.test("the sum of many requests is not priced as one long request", async (t) => {
  for (const model of MODELS) {
    const one = { inputTokens: 10_000, cacheReadTokens: 4000, outputTokens: 100 };
    const usd = listed(model, one);
    for (const times of [15, 30, 1000, 10_000]) {
      const sum = {
        inputTokens: times * one.inputTokens,
        cacheReadTokens: times * one.cacheReadTokens,
        outputTokens: times * one.outputTokens,
      };
      const found = price(agent(model), sum).usd ?? Number.NaN;
      t.ok(Math.abs(found - usd * times) < 1e-5 * times, `${model}, ${times} times: ${found}`);
      if (times * one.inputTokens > 200_000) t.ok(listed(model, sum) > 1.4 * found, "as one it would cost more");
    }
  }
});

t.test("a model that the table does not have costs the agent's multiple of the reference", async (t) => {
  const usage = { inputTokens: 40_000, cacheReadTokens: 30_000, outputTokens: 2000 };
  const reference = listed("gemini-2.5-pro", usage);
  for (const model of ["a-model-of-ones-own", "", "a/b/", null]) {
    for (const multiplier of [0, 0.5, 1, 3]) {
      const { usd, ...how } = price(agent(model, multiplier), usage);
      t.same(how, { basis: "estimated", by: "multiplier" });
      t.ok(Math.abs((usd ?? Number.NaN) - reference * multiplier) < 2e-6, `${model}, ${multiplier} times`);
    }
    t.same(
      price(undefined, model === null ? usage : { ...usage, model }),
      { usd: null, basis: "unknown" },
      "an agent that is gone has none",
    );
  }
});

t.test("no tokens are no price, and never 0", async (t) => {
  for (const usage of [
    undefined,
    {},
    { model: "gpt-5" },
    { inputTokens: 0 },
    { inputTokens: 0, outputTokens: 0, cacheReadTokens: 0 },
  ]) {
    for (const who of [undefined, agent("gpt-5"), agent(null, 0)]) {
      t.same(price(who, usage), { usd: null, basis: "unknown" }, JSON.stringify(usage));
    }
  }
});

t.test("whatever is said to have been used, a price is an amount or unknown", async (t) => {
  const count = fc.option(
    fc.oneof(
      fc.nat(),
      fc.double(),
      fc.constantFrom(-1, Number.NaN, 1e300, -1e300, Number.POSITIVE_INFINITY, Number.MAX_SAFE_INTEGER),
    ),
    { nil: undefined },
  );
  const model = fc.constantFrom(
    undefined,
    "gpt-5",
    "claude-sonnet-4-5",
    "gemini-2.5-pro",
    "no-such-model",
    "__proto__",
    "",
  );
  const usage = fc.record({
    inputTokens: count,
    cacheReadTokens: count,
    cacheWriteTokens: count,
    outputTokens: count,
    costUsd: fc.oneof({ weight: 3, arbitrary: fc.constant(undefined) }, count),
    model,
  });
  const who = fc.constantFrom(undefined, agent(null), agent("gpt-5", 0), agent("no-such-model", 1e9));
  fc.assert(
    fc.property(who, usage, (who, usage) => {
      const known = Object.fromEntries(Object.entries(usage).filter(([, value]) => value !== undefined));
      const { usd, basis, by } = price(who, known as Usage);
      if (basis === "unknown") assert.deepEqual([usd, by], [null, undefined]);
      else assert.ok(usd !== null && Number.isFinite(usd) && usd >= 0 && by !== undefined, `${usd}`);
    }),
    { numRuns: 2000 },
  );
  t.pass();
});
