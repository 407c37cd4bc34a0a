/** The orchestrator's status: what GET /api/orchestrate answers, kept ready until something changes it. */
import type { Agent as AgentView, OrchestrateStatus } from "../api/orchestrate.ts";
import { reasonView, type SessionSurroundings, sessionView } from "../api/views.ts";
import type { Config } from "../config/schema.ts";
import type { Agent, Availability } from "../core/agent.ts";
import { averageCompletionMs, type MetricsStore } from "../core/metrics.ts";
import { type Plan, plan } from "../core/plan.ts";
import type { Session } from "../core/session.ts";
import type { State } from "../core/state.ts";
import type { Sign } from "../dispatcher/signs.ts";
import { committed } from "./committed.ts";
import type { Services } from "./services.ts";

const RECENT = 10;
const PENDING_SHOWN = 20;
/** Signs of life alone make the answer new at most this often. */
const SIGNS_SHOWN_EVERY_MS = 1000;
const HEARTBEAT_MAX = 300;

export interface StatusAnswer {
  /** JSON in UTF-8: encoded once for all who ask. */
  readonly body: Buffer;
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
  readonly #texts = new SessionTexts();

  constructor(services: Services) {
    this.#services = services;
    this.#started = services.random(6).toString("base64url");
  }

  /**
   * The answer as it is on disk. While changes are being written, what was on disk before is the answer: nobody has been
   * told of them yet.
   */
  async answer(): Promise<StatusAnswer> {
    const { dispatcher } = this.#services;
    if (this.#kept !== null && this.#holds(this.#kept, dispatcher.committedSeq)) return this.#kept;
    // Those that wait for the same commit share one answer.
    if (!dispatcher.isSettled) await dispatcher.settled();
    return committed(dispatcher, () => this.#head());
  }

  /** Whether an answer is what `#head` would make of the events up to `seq`. */
  #holds(kept: Kept, seq: number): boolean {
    const { dispatcher, directory, signs, now } = this.#services;
    const at = now();
    return (
      kept.seq === seq &&
      kept.state === dispatcher.state &&
      kept.directory === directory.version &&
      kept.config === this.#services.config() &&
      kept.status === this.#health() &&
      at < kept.validUntil &&
      (kept.signs === signs.version || at - kept.madeAt < SIGNS_SHOWN_EVERY_MS)
    );
  }

  /** The answer as the head has it: show it once that is committed. */
  #head(): StatusAnswer {
    const { dispatcher, directory, signs, now } = this.#services;
    const { state } = dispatcher;
    const { seq } = state.tasks;
    const kept = this.#kept;
    if (kept !== null && this.#holds(kept, seq)) return kept;
    const config = this.#services.config();
    const status = this.#health();
    const at = now();
    if (kept !== null && (at >= kept.validUntil || kept.config !== config || kept.state !== state)) this.#turns++;
    const planned = plan(state, this.#services.circumstances());
    const heartbeat = heartbeatText(planned);
    this.#kept = {
      body: Buffer.from(this.#build(planned, status, heartbeat)),
      heartbeat,
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

  /** An `OrchestrateStatus` as JSON, of whose sessions few are new since the last one. */
  #build(planned: Plan, status: OrchestrateStatus["status"], heartbeat: string): string {
    const { dispatcher, signs } = this.#services;
    const { state } = dispatcher;
    const surroundings = { locks: state.locks, sign: (id: string) => signs.of(id) };
    const active: string[] = [];
    for (const sessions of state.sessions.activeByAgent.values())
      for (const session of sessions.values()) active.push(this.#texts.of(session, surroundings));
    const recent = newest(state).map((session) => this.#texts.of(session, surroundings));
    const again = planned.again.slice(0, PENDING_SHOWN).map((session) => ({
      taskId: session.taskId,
      title: session.taskTitle,
      agent: session.agent,
      priority: state.tasks.byId.get(session.taskId)?.priority ?? "medium",
      again: true as const,
    }));
    const starts = planned.starts.slice(0, PENDING_SHOWN - again.length).map(({ task, agent }) => ({
      taskId: task.id,
      title: task.title,
      agent: agent.name,
      priority: task.priority,
    }));
    const others: Omit<OrchestrateStatus, "status" | "activeSessions" | "recentCompleted"> = {
      pendingDispatch: [...again, ...starts].map((one, index) => ({ ...one, position: index + 1 })),
      waiting: planned.waiting.map((one) => ({ ...one, reasons: one.reasons.map(reasonView) })),
      totals: {
        pendingDispatch: planned.again.length + planned.starts.length,
        waiting: planned.waitingTotal,
        byReason: planned.byReason as Record<string, number>,
      },
      agents: agentViews(this.#services),
      metrics: metricsView(state.metrics),
      heartbeat,
    };
    const sessions = `"activeSessions":[${active.join()}],"recentCompleted":[${recent.join()}]`;
    return `{"status":"${status}",${sessions},${JSON.stringify(others).slice(1)}`;
  }
}

/** Sessions as the status shows them, each as JSON, kept for as long as nothing of it changes. */
class SessionTexts {
  readonly #known = new WeakMap<Session, { readonly sign: Sign | undefined; readonly locks: string; text: string }>();

  of(session: Session, surroundings: SessionSurroundings): string {
    const sign = surroundings.sign(session.id);
    // A session changes by being replaced, a sign too; a lock's paths never change.
    const locks = [...(surroundings.locks.bySession.get(session.id) ?? [])].join();
    const known = this.#known.get(session);
    if (known !== undefined && known.sign === sign && known.locks === locks) return known.text;
    const text = JSON.stringify(sessionView(session, surroundings, true));
    this.#known.set(session, { sign, locks, text });
    return text;
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
    ...(agent.method === null ? {} : { method: agent.method }),
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
