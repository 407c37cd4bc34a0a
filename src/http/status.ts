/** The orchestrator's status: what GET /api/orchestrate answers, kept ready until something changes it. */
import type { Agent as AgentView, OrchestrateStatus } from "../api/orchestrate.ts";
import type { Session as SessionView } from "../api/session.ts";
import { reasonView, sessionView } from "../api/views.ts";
import type { Config } from "../config/schema.ts";
import type { Agent, Availability } from "../core/agent.ts";
import { averageCompletionMs, type MetricsStore } from "../core/metrics.ts";
import { type Plan, plan } from "../core/plan.ts";
import type { Session } from "../core/session.ts";
import type { State } from "../core/state.ts";
import type { Services } from "./services.ts";

const RECENT = 10;
const PENDING_SHOWN = 20;
/** Signs of life alone make the answer new at most this often. */
const SIGNS_SHOWN_EVERY_MS = 1000;
const HEARTBEAT_MAX = 300;

export interface StatusAnswer {
  readonly body: string;
  readonly heartbeat: string;
  readonly etag: string;
}

interface Kept extends StatusAnswer {
  readonly state: State;
  readonly seq: number;
  readonly directory: number;
  readonly config: Config;
  readonly signs: number;
  readonly madeAt: number;
  readonly validUntil: number;
  readonly status: OrchestrateStatus["status"];
}

/** Builds the answer anew only when the state, an agent's availability, the settings, a due time or the daemon's own health changed. */
export class StatusBoard {
  readonly #services: Services;
  /** In the tag, so that no other daemon's tag can be taken for one of ours. */
  readonly #started: string;
  #kept: Kept | null = null;
  /** Counts what can change the answer without an event: due times, settings. */
  #turns = 0;

  constructor(services: Services) {
    this.#services = services;
    this.#started = services.random(6).toString("base64url");
  }

  /** The answer as the head has it: show it once that is committed. */
  answer(): StatusAnswer {
    const { dispatcher, directory, signs, now } = this.#services;
    const { state } = dispatcher;
    const { seq } = state.tasks;
    const config = this.#services.config();
    const status = this.#health();
    const kept = this.#kept;
    const at = now();
    if (
      kept !== null &&
      kept.state === state &&
      kept.seq === seq &&
      kept.directory === directory.version &&
      kept.config === config &&
      kept.status === status &&
      at < kept.validUntil &&
      (kept.signs === signs.version || at - kept.madeAt < SIGNS_SHOWN_EVERY_MS)
    ) {
      return kept;
    }
    if (kept !== null && (at >= kept.validUntil || kept.config !== config || kept.state !== state)) this.#turns++;
    const planned = plan(state, this.#services.circumstances());
    const view = this.#build(planned, status);
    this.#kept = {
      body: JSON.stringify(view),
      heartbeat: view.heartbeat,
      // Signs of life are left out: a heartbeat that saw the same work must get its 304.
      etag: `"${this.#started}-${seq}-${this.#turns}-${directory.version}-${status}"`,
      state,
      seq,
      directory: directory.version,
      config,
      signs: signs.version,
      madeAt: at,
      validUntil: planned.validUntil,
      status,
    };
    return this.#kept;
  }

  #health(): OrchestrateStatus["status"] {
    if (this.#services.draining()) return "draining";
    return this.#services.dispatcher.healthy ? "ok" : "degraded";
  }

  #build(planned: Plan, status: OrchestrateStatus["status"]): OrchestrateStatus {
    const { dispatcher, signs } = this.#services;
    const { state } = dispatcher;
    const view = (session: Session): SessionView =>
      sessionView(session, { locks: state.locks, sign: (id) => signs.of(id) }, true);
    const active: SessionView[] = [];
    for (const sessions of state.sessions.activeByAgent.values())
      for (const session of sessions.values()) active.push(view(session));
    const pending = [
      ...planned.again.map((session) => ({
        taskId: session.taskId,
        title: session.taskTitle,
        agent: session.agent,
        priority: state.tasks.byId.get(session.taskId)?.priority ?? "medium",
        again: true as const,
      })),
      ...planned.starts.map(({ task, agent }) => ({
        taskId: task.id,
        title: task.title,
        agent: agent.name,
        priority: task.priority,
      })),
    ].map((one, index) => ({ ...one, position: index + 1 }));
    return {
      status,
      activeSessions: active,
      recentCompleted: newest(state).map(view),
      pendingDispatch: pending.slice(0, PENDING_SHOWN),
      waiting: planned.waiting.map((one) => ({ ...one, reasons: one.reasons.map(reasonView) })),
      totals: {
        pendingDispatch: pending.length,
        waiting: planned.waitingTotal,
        byReason: planned.byReason as Record<string, number>,
      },
      agents: agentViews(this.#services),
      metrics: metricsView(state.metrics),
      heartbeat: heartbeatText(planned),
    };
  }
}

/** Every agent with its slots, and why it takes no work where it does not. */
export function agentViews({ directory, dispatcher, circumstances }: Services): AgentView[] {
  const { state } = dispatcher;
  const { maxConcurrent } = circumstances();
  let total = 0;
  for (const sessions of state.sessions.activeByAgent.values()) total += sessions.size;
  return directory
    .agents()
    .map((agent) => agentView(agent, state, directory.unavailability(agent.name)?.reason, total >= maxConcurrent));
}

function agentView(agent: Agent, state: State, unavailable: string | undefined, full: boolean): AgentView {
  const active = state.sessions.activeByAgent.get(agent.name)?.size ?? 0;
  const pause = state.ledger.pauses.get(agent.name);
  let availability: Availability = "available";
  let reason: string | undefined;
  if (agent.method === null)
    [availability, reason] = ["not_dispatchable", "works at the board, is never dispatched to"];
  else if (pause !== undefined) [availability, reason] = ["paused", pause.reason];
  else if (unavailable !== undefined) [availability, reason] = ["unavailable", unavailable];
  else if (active >= agent.maxConcurrent)
    [availability, reason] = ["busy", `${active} of ${agent.maxConcurrent} slots in use`];
  else if (full) [availability, reason] = ["busy", "the limit of sessions in all is reached"];
  return {
    agent: agent.name,
    adapter: agent.adapter,
    model: agent.model,
    costMultiplier: agent.costMultiplier,
    bestFor: agent.bestFor as string[],
    maxConcurrent: agent.maxConcurrent,
    active,
    canDispatch: availability === "available",
    availability,
    ...(reason === undefined ? {} : { reason }),
  };
}

export function metricsView(metrics: MetricsStore): OrchestrateStatus["metrics"] {
  const agents = [...metrics.byAgent];
  const averages = agents.flatMap(([agent, counts]) => {
    const average = averageCompletionMs(counts);
    return average === null ? [] : [[agent, average] as const];
  });
  return {
    totalDispatched: metrics.totalDispatched,
    byAgent: Object.fromEntries(
      agents.map(([agent, { dispatched, completed, failed, cancelled }]) => [
        agent,
        { dispatched, completed, failed, cancelled },
      ]),
    ),
    averageCompletionTime: Object.fromEntries(averages),
    lastUpdated: metrics.lastUpdatedAt === null ? null : new Date(metrics.lastUpdatedAt).toISOString(),
  };
}

/** The sessions that ended last, newest first. */
function newest(state: State): readonly Session[] {
  const all = state.sessions.ended;
  let skip = all.size - RECENT;
  const last: Session[] = [];
  for (const session of all.values()) if (skip-- <= 0) last.unshift(session);
  return last;
}

/** Counts and configured names, never a task's own words: an assistant reads this as an instruction. */
function heartbeatText({ again, starts }: Plan): string {
  if (again.length + starts.length === 0) return "HEARTBEAT_OK";
  const perAgent = new Map<string, number>();
  for (const { agent } of starts) perAgent.set(agent.name, (perAgent.get(agent.name) ?? 0) + 1);
  for (const { agent } of again) perAgent.set(agent, (perAgent.get(agent) ?? 0) + 1);
  const count = again.length + starts.length;
  const tasks = `${count} task${count === 1 ? "" : "s"} can be dispatched`;
  const repeated = again.length === 0 ? "" : `, ${again.length} of them handed out before and not claimed`;
  const todo = "POST /api/orchestrate to dispatch.";
  const agents = [...perAgent].map(([agent, number]) => `${agent} ${number}`).join(", ");
  const text = `${tasks} (${agents})${repeated}. ${todo}`;
  return text.length <= HEARTBEAT_MAX ? text : `${tasks}${repeated}. ${todo}`;
}
