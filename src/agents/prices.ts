/** What tokens cost: by a maintained table of prices, or else by the agent's multiplier. */
import { createRequire } from "node:module";
import type { Agent } from "../core/agent.ts";
import type { Cost, Usage } from "../core/session.ts";

type Table = typeof import("@pydantic/genai-prices");

const UNKNOWN: Cost = { usd: null, basis: "unknown" };
/** What costs "1x": the multipliers of the config are those of the mission's table, where this model has 1. */
const REFERENCE_MODEL = "gemini-2.5-pro";
/**
 * Some models cost more per token in a request longer than this. What is priced here is the sum of many requests, none of which is
 * known to be long.
 */
const SHORT_REQUEST_TOKENS = 100_000;

/** What an agent's session was worth that used so much. Never NaN, never negative; a silent 0 neither. */
export function priceOf(agent: Agent | undefined, usage: Usage | undefined): Cost {
  if (usage === undefined) return UNKNOWN;
  if (usage.costUsd !== undefined && isAmount(usage.costUsd))
    return { usd: usage.costUsd, basis: "measured", by: "program" };
  const { inputTokens = 0, outputTokens = 0 } = usage;
  if (inputTokens + outputTokens === 0) return UNKNOWN;
  const model = usage.model ?? agent?.model ?? null;
  const listed = model === null ? null : fromTable(usage, model);
  if (listed !== null) return estimated(listed, "prices");
  const reference = fromTable(usage, REFERENCE_MODEL);
  if (agent === undefined || reference === null) return UNKNOWN;
  return estimated(reference * agent.costMultiplier, "multiplier");
}

/** In US dollars; `null` where the table does not have the model. */
function fromTable(usage: Usage, model: string): number | null {
  const { inputTokens = 0, cacheReadTokens = 0, cacheWriteTokens = 0, outputTokens = 0 } = usage;
  const times = Math.max(1, inputTokens / SHORT_REQUEST_TOKENS);
  const share = {
    input_tokens: inputTokens / times,
    cache_read_tokens: cacheReadTokens / times,
    cache_write_tokens: cacheWriteTokens / times,
    output_tokens: outputTokens / times,
  };
  try {
    const price = (table().calcPrice(share, modelName(model))?.total_price ?? Number.NaN) * times;
    return isAmount(price) && price > 0 ? price : null;
  } catch {
    // More tokens from the cache than there are, and such: an agent may say anything.
    return null;
  }
}

let loaded: Table | null = null;

/**
 * Part of the package: nothing is asked of anybody. Read when the first price is wanted, since that takes some 30 ms, which no start
 * should wait for; and by `require`, since the rules that want it cannot wait either.
 */
function table(): Table {
  loaded ??= createRequire(import.meta.url)("@pydantic/genai-prices") as Table;
  return loaded;
}

/** Some programs put the provider before the name. */
function modelName(model: string): string {
  return model.slice(model.lastIndexOf("/") + 1);
}

function estimated(exact: number, by: "prices" | "multiplier"): Cost {
  const usd = rounded(exact);
  return isAmount(usd) ? { usd, basis: "estimated", by } : UNKNOWN;
}

function isAmount(usd: number): boolean {
  return Number.isFinite(usd) && usd >= 0;
}

/** To a millionth of a dollar: more would only seem exact. */
function rounded(usd: number): number {
  return Math.round(usd * 1e6) / 1e6;
}
