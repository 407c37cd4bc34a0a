/**
 * What the events say, counted anew by the plainest of means and by none of the core's own folds: tasks, sessions, slots,
 * locks, metrics. It refuses an event that cannot come where it comes, and knows what the state has to show after each.
 */
import { isDeepStrictEqual } from "node:util";
import type { Event } from "../../src/core/event.ts";
import type { AgentMetrics } from "../../src/core/metrics.ts";
import { isActive, type Session } from "../../src/core/session.ts";
import type { State } from "../../src/core/state.ts";
import type { Task, TaskChanges } from "../../src/core/task.ts";
import { MAX_CONCURRENT, SIMULATED_AGENTS } from "./daemon.ts";

/** What happens to these in a task is counted; its other fields only pass through. */
type CountedTask = { -readonly [K in "status" | "assignee" | "attempts" | "retryAt" | "hold" | "version"]: Task[K] } & {
  comments: string[];
};

interface CountedSession {
  readonly agent: string;
  readonly taskId: string;
  /** `ended`: its outcome's status is what it shows. */
  stage: "starting" | "running" | "stopping" | "ended";
  outcome: string | undefined;
}

/** Says which rule is broken, always in the same words, and by what. */
export type Report = (rule: string, by: string) => void;

export class Recount {
  readonly sessions = new Map<string, CountedSession>();
  readonly #report: Report;
  readonly #tasks = new Map<string, CountedTask>();
  /** By task: its session that is not over. */
  readonly #live = new Map<string, string>();
  readonly #slots = new Map<string, Set<string>>();
  /** Lock to session. */
  readonly #locks = new Map<string, string>();
  readonly #metrics = new Map<string, { -readonly [K in keyof AgentMetrics]: AgentMetrics[K] }>();
  readonly #paused = new Set<string>();
  #started = 0;
  #fence = 0;
  /** What has changed since it was compared last: looking at all of it after every step would take most of the time. */
  readonly #touched = { tasks: new Set<string>(), sessions: new Set<string>(), agents: new Set<string>() };

  constructor(report: Report) {
    this.#report = report;
  }

  take(event: Event): void {
    switch (event.type) {
      case "task.created":
      case "task.restored": {
        const { id, status, assignee, attempts, retryAt, hold, version, comments } = event.task;
        this.#must(!this.#tasks.has(id), "a task is there once", id);
        const ids = comments.map((comment) => comment.id);
        this.#tasks.set(id, { status, assignee, attempts, retryAt, hold, version, comments: ids });
        this.#touched.tasks.add(id);
        return;
      }
      case "task.changed":
        return this.#change(event.taskId, event.changes);
      case "task.deleted":
        return this.#removeTask(event.taskId);
      case "task.archived":
        for (const id of event.taskIds) {
          this.#must(this.#tasks.get(id)?.status === "done", "only what is done is archived", id);
          this.#must(!this.#live.has(id), "no task is archived under its session", id);
          this.#removeTask(id);
        }
        return;
      case "comment.added":
        return this.#comment(event.taskId, event.comment.id);
      case "session.started":
        return this.#start(event);
      case "session.handed_out":
        this.#must(
          this.#stage(event.sessionId) === "starting",
          "only an unclaimed spawn is handed out",
          event.sessionId,
        );
        return;
      case "session.running": {
        const session = this.#session(event.sessionId);
        this.#must(session?.stage !== "ended", "what is over does not run", event.sessionId);
        if (session?.stage === "starting") session.stage = "running";
        return;
      }
      case "session.settled":
        return this.#settle(event);
      case "session.ended":
        return this.#end(event);
      case "session.archived":
        for (const id of event.sessionIds) {
          this.#must(this.#stage(id) === "ended", "only what is over is archived", id);
          this.sessions.delete(id);
        }
        return;
      case "lock.acquired":
        this.#must(
          ["starting", "running"].includes(this.#stage(event.lock.sessionId) ?? ""),
          "a lock is for a session at work",
          event.lock.id,
        );
        return this.#lock(event.lock.id, event.lock.sessionId, event.lock.fence);
      case "lock.renewed":
        this.#must(this.#locks.has(event.lockId), "what is renewed is held", event.lockId);
        return;
      case "lock.released":
        this.#must(this.#locks.delete(event.lockId), "what is released was held", event.lockId);
        return;
      case "agent.paused":
        this.#paused.add(event.agent);
        return;
      case "agent.resumed":
        this.#paused.delete(event.agent);
        return;
      case "request.answered":
        return;
    }
  }

  /** The state has to show all of this, and nothing else. */
  compare({ tasks, sessions, locks, metrics, ledger }: State): void {
    const { tasks: changed, sessions: moved, agents } = this.#touched;
    for (const id of changed)
      this.#same("the tasks are what the events say", shownOf(tasks.byId.get(id)), this.#tasks.get(id), id);
    for (const id of moved)
      this.#same("the sessions are what the events say", stageOf(sessions.byId.get(id)), this.sessions.get(id), id);
    for (const name of agents) {
      this.#same("the metrics are what a recount gives", metrics.byAgent.get(name), this.#metrics.get(name), name);
      const { maxConcurrent = 0 } = SIMULATED_AGENTS.get(name) ?? {};
      const taken = this.#slots.get(name)?.size ?? 0;
      this.#must(taken <= maxConcurrent, "no agent has more sessions than slots", `${name}: ${taken}`);
    }
    for (const touched of Object.values(this.#touched)) touched.clear();
    this.#same("the tasks are what the events say", tasks.byId.size, this.#tasks.size, "their number");
    this.#same("the sessions are what the events say", sessions.byId.size, this.sessions.size, "their number");
    this.#same("the metrics are what a recount gives", metrics.totalDispatched, this.#started, "the total");
    this.#must(this.#live.size <= MAX_CONCURRENT, "no more sessions than the limit for all", String(this.#live.size));
    this.#slotsOf(sessions);
    this.#locksOf(locks);
    this.#same("the fence is the highest given", ledger.fence, this.#fence, "");
    this.#same("the pauses are what the events say", [...ledger.pauses.keys()].sort(), [...this.#paused].sort(), "");
  }

  #slotsOf(sessions: State["sessions"]): void {
    const rule = "every slot is accounted for";
    this.#same(rule, sessions.activeByTask.size, this.#live.size, "tasks with a session");
    for (const [taskId, id] of this.#live) {
      this.#must(sessions.activeByTask.get(taskId) === sessions.byId.get(id), rule, `${taskId}: ${id}`);
    }
    this.#same(rule, sessions.activeByAgent.size, this.#slots.size, "agents at work");
    for (const [agent, ids] of this.#slots) {
      const taken = sessions.activeByAgent.get(agent);
      this.#same(rule, taken?.size ?? 0, ids.size, agent);
      for (const id of ids) this.#must(taken?.get(id) === sessions.byId.get(id), rule, `${agent}: ${id}`);
    }
  }

  #locksOf(locks: State["locks"]): void {
    this.#same("the locks are what the events say", locks.byId.size, this.#locks.size, "their number");
    for (const [id, lock] of locks.byId) {
      this.#same("the locks are what the events say", lock.sessionId, this.#locks.get(id), id);
      const stage = this.#stage(lock.sessionId);
      this.#must(
        stage !== undefined && stage !== "ended",
        "every lock is held by a live session",
        `${id}: ${lock.sessionId}`,
      );
      this.#must(locks.bySession.get(lock.sessionId)?.has(id) === true, "the locks are found by session", id);
    }
  }

  #start({ session, lock }: Extract<Event, { type: "session.started" }>): void {
    const { id, taskId, agent, attempt } = session;
    const task = this.#tasks.get(taskId);
    this.#must(!this.sessions.has(id), "a session starts once", id);
    this.#must(
      !this.#live.has(taskId),
      "at most one live session per task",
      `${taskId}: ${this.#live.get(taskId)} and ${id}`,
    );
    this.#must(
      task?.status === "todo" && task.hold === null,
      "only what waits is started",
      `${taskId}: ${task?.status}`,
    );
    this.#must(attempt === (task?.attempts ?? 0) + 1, "the attempts are counted", `${taskId}: ${attempt}`);
    this.sessions.set(id, { agent, taskId, stage: "starting", outcome: undefined });
    this.#live.set(taskId, id);
    this.#slots.set(agent, (this.#slots.get(agent) ?? new Set()).add(id));
    this.#started++;
    this.#agent(agent).dispatched++;
    this.#touched.sessions.add(id);
    this.#change(taskId, { status: "in_progress", attempts: attempt, retryAt: null });
    if (lock !== undefined) this.#lock(lock.id, id, lock.fence);
  }

  #settle({
    sessionId,
    taskId,
    agent,
    outcome,
    durationMs,
    verdict,
  }: Extract<Event, { type: "session.settled" }>): void {
    const session = this.#session(sessionId);
    const isAtWork = session?.stage === "starting" || session?.stage === "running";
    this.#must(isAtWork, "the first end of a session counts", `${sessionId} was ${session?.stage}`);
    if (session !== undefined) {
      session.stage = "stopping";
      session.outcome = outcome.status;
    }
    const counts = this.#agent(agent);
    if (outcome.status === "completed") {
      counts.completed++;
      counts.completionTotalMs += durationMs;
      counts.recentCompletionsMs = [...counts.recentCompletionsMs, durationMs].slice(-100);
    } else if (outcome.status === "cancelled") counts.cancelled++;
    else counts.failed++;
    if (verdict === undefined || !this.#tasks.has(taskId)) return;
    this.#change(taskId, verdict.changes);
    this.#comment(taskId, verdict.comment.id);
  }

  #end({ sessionId, taskId, agent, usage, cost }: Extract<Event, { type: "session.ended" }>): void {
    const session = this.#session(sessionId);
    this.#must(
      session?.stage === "stopping",
      "a session ends once, and after its outcome",
      `${sessionId} was ${session?.stage}`,
    );
    if (session !== undefined) session.stage = "ended";
    if (this.#live.get(taskId) === sessionId) this.#live.delete(taskId);
    const slots = this.#slots.get(agent);
    slots?.delete(sessionId);
    if (slots?.size === 0) this.#slots.delete(agent);
    for (const [lock, holder] of this.#locks) if (holder === sessionId) this.#locks.delete(lock);
    const counts = this.#agent(agent);
    counts.inputTokens += usage?.inputTokens ?? 0;
    counts.outputTokens += usage?.outputTokens ?? 0;
    if (cost.usd === null) counts.costUnknown++;
    else counts.costUsd += cost.usd;
  }

  #lock(id: string, sessionId: string, fence: number): void {
    this.#must(fence > this.#fence, "fences only grow", `${id}: ${fence} after ${this.#fence}`);
    this.#must(!this.#locks.has(id), "a lock is given once", id);
    this.#fence = fence;
    this.#locks.set(id, sessionId);
  }

  #change(taskId: string, { status, assignee, attempts, retryAt, hold }: TaskChanges): void {
    const task = this.#tasks.get(taskId);
    this.#must(task !== undefined, "what is changed is there", taskId);
    if (task === undefined) return;
    if (status !== undefined) task.status = status;
    if (assignee !== undefined) task.assignee = assignee;
    if (attempts !== undefined) task.attempts = attempts;
    if (retryAt !== undefined) task.retryAt = retryAt;
    if (hold !== undefined) task.hold = hold;
    task.version++;
    this.#touched.tasks.add(taskId);
  }

  #comment(taskId: string, id: string): void {
    const task = this.#tasks.get(taskId);
    this.#must(task !== undefined, "what is commented is there", taskId);
    task?.comments.push(id);
    this.#touched.tasks.add(taskId);
  }

  #removeTask(id: string): void {
    this.#must(this.#tasks.delete(id), "what is removed was there", id);
    this.#touched.tasks.add(id);
  }

  #session(id: string): CountedSession | undefined {
    this.#touched.sessions.add(id);
    return this.sessions.get(id);
  }

  #stage(id: string): CountedSession["stage"] | undefined {
    return this.sessions.get(id)?.stage;
  }

  #agent(name: string) {
    this.#touched.agents.add(name);
    const counts = this.#metrics.get(name) ?? {
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
    this.#metrics.set(name, counts);
    return counts;
  }

  #must(holds: boolean, rule: string, by: string): void {
    if (!holds) this.#report(rule, by);
  }

  #same(rule: string, shown: unknown, counted: unknown, what: string): void {
    if (!isDeepStrictEqual(shown, counted)) {
      this.#report(rule, `${what} shows ${JSON.stringify(shown)}, counted is ${JSON.stringify(counted)}`);
    }
  }
}

function shownOf(task: Task | undefined): CountedTask | undefined {
  if (task === undefined) return undefined;
  const { status, assignee, attempts, retryAt, hold, version, comments } = task;
  return { status, assignee, attempts, retryAt, hold, version, comments: comments.map(({ id }) => id) };
}

function stageOf(session: Session | undefined): CountedSession | undefined {
  if (session === undefined) return undefined;
  const { agent, taskId, status } = session;
  if (isActive(session)) {
    return {
      agent,
      taskId,
      stage: session.status,
      outcome: session.status === "stopping" ? session.outcome.status : undefined,
    };
  }
  return { agent, taskId, stage: "ended", outcome: status };
}
