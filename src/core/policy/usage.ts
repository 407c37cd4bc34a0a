/** Sums of what was used, and what an attempt used where the agent's program counts on through all attempts of its own session: nothing is counted twice. */
import type { AgentSession, Resumption, Usage } from "../session.ts";

const COUNTED = ["inputTokens", "cacheReadTokens", "cacheWriteTokens", "outputTokens", "costUsd"] as const;

/**
 * `totals` less what was counted `before`. Where a count is lower than before, all of them began anew, and all is this attempt's.
 * What was not counted before is counted whole.
 */
export function sinceResumed(totals: Usage | undefined, before: Usage | undefined): Usage | undefined {
  if (totals === undefined || before === undefined) return totals;
  const own: Record<string, number | string> = { ...totals };
  for (const key of COUNTED) {
    const total = totals[key];
    const earlier = before[key] ?? 0;
    if (total === undefined) continue;
    if (total < earlier) return totals;
    own[key] = total - earlier;
  }
  return own as Usage;
}

/** The agent's session with the highest totals that are known: an attempt that was killed tells none, and the next one adds them up. */
export function addTotals(ended: AgentSession | undefined, resumed: Resumption | undefined): AgentSession | undefined {
  if (ended === undefined || ended.totals !== undefined) return ended;
  if (resumed?.id !== ended.id || resumed.totals === undefined) return ended;
  return { ...ended, totals: resumed.totals };
}

/** Both together; the later one names the model. */
export function addUsage(before: Usage = {}, more: Usage): Usage {
  const sum: Record<string, number | string> = { ...before, ...more };
  for (const key of COUNTED) {
    const [a, b] = [before[key], more[key]];
    if (a !== undefined && b !== undefined) sum[key] = a + b;
  }
  return sum as Usage;
}
