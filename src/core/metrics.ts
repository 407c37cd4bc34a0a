/** The metrics store: the fold that `orchestrator-metrics.json` holds. For each agent: dispatched = completed + failed + cancelled + active. */
import type { Event } from "./event.ts";

export interface AgentMetrics {
  readonly dispatched: number;
  readonly completed: number;
  /** Every end that is neither a completion nor a person's: failed, timed out, stalled, lost. */
  readonly failed: number;
  readonly cancelled: number;
  /** Of completed sessions, from start to report. */
  readonly completionTotalMs: number;
  /** The newest completion times, oldest first: what the percentiles are taken from. */
  readonly recentCompletionsMs: readonly number[];
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly costUsd: number;
  /** Ended sessions of which nobody knows the cost. */
  readonly costUnknown: number;
}

export interface MetricsStore {
  seq: number;
  totalDispatched: number;
  readonly byAgent: Map<string, AgentMetrics>;
  /** When a count changed last; `null` before the first dispatch. */
  lastUpdatedAt: number | null;
}

export const RECENT_COMPLETIONS = 100;

const NOTHING: AgentMetrics = {
  dispatched: 0,
  completed: 0,
  failed: 0,
  cancelled: 0,
  completionTotalMs: 0,
  recentCompletionsMs: [],
  inputTokens: 0,
  outputTokens: 0,
  costUsd: 0,
  costUnknown: 0,
};

export function emptyMetricsStore(): MetricsStore {
  return { seq: 0, totalDispatched: 0, byAgent: new Map(), lastUpdatedAt: null };
}

export function metricsOf(store: MetricsStore, agent: string): AgentMetrics {
  return store.byAgent.get(agent) ?? NOTHING;
}

export function foldMetrics(store: MetricsStore, event: Event): void {
  switch (event.type) {
    case "session.started": {
      const before = metricsOf(store, event.session.agent);
      store.totalDispatched++;
      return put(store, event.session.agent, { ...before, dispatched: before.dispatched + 1 }, event.at);
    }
    case "session.settled": {
      const before = metricsOf(store, event.agent);
      const status = event.outcome.status;
      if (status === "cancelled")
        return put(store, event.agent, { ...before, cancelled: before.cancelled + 1 }, event.at);
      if (status !== "completed") return put(store, event.agent, { ...before, failed: before.failed + 1 }, event.at);
      const recentCompletionsMs = before.recentCompletionsMs.slice(1 - RECENT_COMPLETIONS);
      recentCompletionsMs.push(event.durationMs);
      const completed = before.completed + 1;
      const completionTotalMs = before.completionTotalMs + event.durationMs;
      return put(store, event.agent, { ...before, completed, completionTotalMs, recentCompletionsMs }, event.at);
    }
    case "session.ended": {
      const before = metricsOf(store, event.agent);
      return put(
        store,
        event.agent,
        {
          ...before,
          inputTokens: before.inputTokens + (event.usage?.inputTokens ?? 0),
          outputTokens: before.outputTokens + (event.usage?.outputTokens ?? 0),
          costUsd: before.costUsd + (event.cost.usd ?? 0),
          costUnknown: before.costUnknown + (event.cost.usd === null ? 1 : 0),
        },
        event.at,
      );
    }
    default:
      return;
  }
}

/** Mean time of an agent's completed sessions in ms, `null` before the first. */
export function averageCompletionMs(metrics: AgentMetrics): number | null {
  return metrics.completed === 0 ? null : Math.round(metrics.completionTotalMs / metrics.completed);
}

/** The value below which the share `p` (0..1) of the newest completion times lies (nearest rank), `null` without any. */
export function percentileMs(metrics: AgentMetrics, p: number): number | null {
  const sorted = [...metrics.recentCompletionsMs].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(p * sorted.length) - 1)] ?? null;
}

function put(store: MetricsStore, agent: string, metrics: AgentMetrics, at: number): void {
  store.byAgent.set(agent, metrics);
  store.lastUpdatedAt = at;
}
