/** Which store goes into which state file, and back. */
import { fromRecord, toRecord } from "../api/records.ts";
import type { Pause } from "../core/agent.ts";
import type { Event } from "../core/event.ts";
import { emptyLedger, remember, type TimedAnswer } from "../core/ledger.ts";
import type { Lock } from "../core/lock.ts";
import { loadLockManager } from "../core/lock-manager.ts";
import { type AgentMetrics, averageCompletionMs, emptyMetricsStore } from "../core/metrics.ts";
import type { Session } from "../core/session.ts";
import { loadSessionStore } from "../core/session-store.ts";
import type { State } from "../core/state.ts";
import type { Task } from "../core/task.ts";
import { loadTaskBoard } from "../core/task-board.ts";
import type { RecordList, StateSnapshot } from "./state-file-writer.ts";

export const STATE_FILES = [
  "tasks.json",
  "active-sessions.json",
  "locks.json",
  "orchestrator-metrics.json",
  "orchestrator.json",
] as const;
export type StateFileName = (typeof STATE_FILES)[number];

/** What a state file held: `null` = there is none yet. */
export type FileContent = { readonly seq: number; readonly content: Readonly<Record<string, unknown>> } | null;

const TASKS = ["tasks.json"] as const;
const LOCKS = ["locks.json", "orchestrator.json"] as const;
const START = ["tasks.json", "active-sessions.json", "orchestrator-metrics.json"] as const;

/** The files whose stores an event changes: the others need no writing for its sake. */
export function filesTouchedBy(event: Event): readonly StateFileName[] {
  switch (event.type) {
    case "task.created":
    case "task.changed":
    case "task.deleted":
    case "task.archived":
    case "task.restored":
    case "comment.added":
      return TASKS;
    case "session.started":
      return event.lock === undefined ? START : STATE_FILES;
    case "session.settled":
      return START;
    case "session.ended":
      return ["active-sessions.json", "orchestrator-metrics.json", "locks.json"];
    case "session.handed_out":
    case "session.running":
    case "session.reported":
    case "session.archived":
      return ["active-sessions.json"];
    case "lock.acquired":
    case "lock.renewed":
    case "lock.released":
      return LOCKS;
    case "agent.paused":
    case "agent.resumed":
    case "request.answered":
      return ["orchestrator.json"];
  }
}

/** The store behind a file as it is at this moment; the records are shared, the lists are copies. */
export function snapshotOf(name: StateFileName, state: State): StateSnapshot {
  switch (name) {
    case "tasks.json":
      return { seq: state.tasks.seq, fields: {}, lists: { tasks: byId<Task>(state.tasks.byId.values()) } };
    case "active-sessions.json":
      return { seq: state.sessions.seq, fields: {}, lists: { sessions: byId<Session>(state.sessions.byId.values()) } };
    case "locks.json":
      return { seq: state.locks.seq, fields: {}, lists: { locks: byId<Lock>(state.locks.byId.values()) } };
    case "orchestrator-metrics.json":
      return { seq: state.metrics.seq, fields: metricsFields(state.metrics), lists: {} };
    case "orchestrator.json": {
      const { seq, fence, pauses, answers } = state.ledger;
      const list: RecordList<TimedAnswer> = {
        records: [...answers.values()],
        key: (answer) => answer.key,
        encode: toRecord,
      };
      return {
        seq,
        fields: { fence, pauses: toRecord(Object.fromEntries(pauses)) },
        lists: { answers: list as RecordList },
      };
    }
  }
}

/** The state that the files hold, each store at its own `seq`; an absent file is an empty store at 0. */
export function stateFrom(files: ReadonlyMap<StateFileName, FileContent>): State {
  const of = (name: StateFileName) => files.get(name) ?? { seq: 0, content: {} };
  const list = <T>(name: StateFileName, key: string) => {
    const { content } = of(name);
    return ((content[key] as unknown[] | undefined) ?? []).map((record) => fromRecord<T>(record));
  };
  return {
    tasks: loadTaskBoard(of("tasks.json").seq, list<Task>("tasks.json", "tasks")),
    sessions: loadSessionStore(of("active-sessions.json").seq, list<Session>("active-sessions.json", "sessions")),
    locks: loadLockManager(of("locks.json").seq, list<Lock>("locks.json", "locks")),
    metrics: metricsFrom(of("orchestrator-metrics.json")),
    ledger: ledgerFrom(of("orchestrator.json")),
  };
}

function byId<T extends { readonly id: string }>(records: Iterable<T>): RecordList {
  const list: RecordList<T> = { records: [...records], key: (record) => record.id, encode: toRecord };
  return list as unknown as RecordList;
}

function metricsFields({ totalDispatched, byAgent, lastUpdatedAt }: State["metrics"]): Record<string, unknown> {
  const averages = [...byAgent].flatMap(([agent, metrics]) => {
    const average = averageCompletionMs(metrics);
    return average === null ? [] : [[agent, average] as const];
  });
  return {
    totalDispatched,
    byAgent: Object.fromEntries(byAgent),
    averageCompletionTime: Object.fromEntries(averages),
    lastUpdated: lastUpdatedAt === null ? null : new Date(lastUpdatedAt).toISOString(),
  };
}

function metricsFrom({ seq, content }: NonNullable<FileContent>): State["metrics"] {
  const metrics = emptyMetricsStore();
  metrics.seq = seq;
  metrics.totalDispatched = (content.totalDispatched as number | undefined) ?? 0;
  metrics.lastUpdatedAt = typeof content.lastUpdated === "string" ? Date.parse(content.lastUpdated) : null;
  for (const [agent, counts] of Object.entries(content.byAgent ?? {}))
    metrics.byAgent.set(agent, counts as AgentMetrics);
  return metrics;
}

function ledgerFrom({ seq, content }: NonNullable<FileContent>): State["ledger"] {
  const ledger = emptyLedger();
  ledger.seq = seq;
  ledger.fence = (content.fence as number | undefined) ?? 0;
  for (const [agent, pause] of Object.entries(content.pauses ?? {})) ledger.pauses.set(agent, fromRecord<Pause>(pause));
  for (const answer of (content.answers as unknown[] | undefined) ?? [])
    remember(ledger, fromRecord<TimedAnswer>(answer));
  return ledger;
}
