/** Metrics for people (JSON) and for Prometheus (text). */
import { MetricsReport } from "../api/orchestrate.ts";
import { averageCompletionMs, percentileMs } from "../core/metrics.ts";
import type { State } from "../core/state.ts";
import { committed } from "./committed.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";

export function metricsRoutes(app: App, services: Services): void {
  const { dispatcher } = services;

  app.get(
    "/api/metrics",
    { schema: { tags: ["watching"], summary: "counts, times and costs per agent", response: { 200: MetricsReport } } },
    async () => committed(dispatcher, () => report(services)),
  );

  app.get(
    "/metrics",
    { schema: { tags: ["watching"], summary: "the same for Prometheus" } },
    async (_request, reply) => {
      const { default: prometheus } = await import("prom-client");
      const { Counter, Gauge, Registry } = prometheus;
      const registry = new Registry();
      const { byAgent, totalDispatched, todo, tasks } = await committed(dispatcher, () => ({
        ...report(services),
        ...taskCounts(dispatcher.state),
      }));
      const gauge = (name: string, help: string, labelNames: string[] = []) =>
        new Gauge({ name: `jarvis_${name}`, help, labelNames, registers: [registry] });
      // Made anew for each answer: what counts them is the journal, not this process.
      const counter = (name: string, help: string, labelNames: string[] = []) =>
        new Counter({ name: `jarvis_${name}`, help, labelNames, registers: [registry] });
      counter("dispatched_total", "sessions started").inc(totalDispatched);
      const sessions = counter("sessions_total", "sessions by agent and how they ended", ["agent", "outcome"]);
      const active = gauge("active_sessions", "slots in use", ["agent"]);
      const cost = counter("cost_usd_total", "known cost", ["agent"]);
      const average = gauge("completion_average_ms", "mean time of completed sessions", ["agent"]);
      for (const [agent, counts] of Object.entries(byAgent)) {
        for (const outcome of ["completed", "failed", "cancelled"] as const)
          sessions.inc({ agent, outcome }, counts[outcome]);
        active.set({ agent }, counts.active);
        cost.inc({ agent }, counts.costUsd);
        if (counts.averageCompletionMs !== null) average.set({ agent }, counts.averageCompletionMs);
      }
      gauge("tasks_todo", "tasks in todo").set(todo);
      gauge("tasks", "tasks on the board").set(tasks);
      gauge("journal_seq", "the newest durable event").set(dispatcher.committedSeq);
      gauge("healthy", "1 when changes can be written").set(dispatcher.healthy ? 1 : 0);
      return reply.header("content-type", registry.contentType).send(await registry.metrics());
    },
  );
}

function taskCounts({ tasks }: State): { todo: number; tasks: number } {
  let todo = 0;
  for (const queue of tasks.queues.values()) todo += queue.plain.length + queue.conditional.length;
  return { todo, tasks: tasks.byId.size };
}

function report({ dispatcher }: Services) {
  const { metrics, sessions } = dispatcher.state;
  const byAgent = Object.fromEntries(
    [...metrics.byAgent].map(([agent, counts]) => {
      const { dispatched, completed, failed, cancelled, inputTokens, outputTokens, costUsd, costUnknown } = counts;
      return [
        agent,
        {
          dispatched,
          completed,
          failed,
          cancelled,
          // What is stopping is counted by its outcome already.
          active: [...(sessions.activeByAgent.get(agent)?.values() ?? [])].filter(({ status }) => status !== "stopping")
            .length,
          successRate: completed + failed === 0 ? null : completed / (completed + failed),
          averageCompletionMs: averageCompletionMs(counts),
          p50CompletionMs: percentileMs(counts, 0.5),
          p95CompletionMs: percentileMs(counts, 0.95),
          inputTokens,
          outputTokens,
          costUsd,
          costUnknown,
        },
      ];
    }),
  );
  return {
    totalDispatched: metrics.totalDispatched,
    lastUpdated: metrics.lastUpdatedAt === null ? null : new Date(metrics.lastUpdatedAt).toISOString(),
    byAgent,
    budgets: [],
  };
}
