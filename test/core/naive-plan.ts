/** The plan again, slow and straightforward: every todo task is looked at, one after the other. What `plan` says must equal it. */
import type { Agent } from "../../src/core/agent.ts";
import { overlaps } from "../../src/core/glob.ts";
import type { Circumstances, PlanOptions } from "../../src/core/plan.ts";
import { isActive } from "../../src/core/session.ts";
import type { State } from "../../src/core/state.ts";
import { PRIORITIES, type Task } from "../../src/core/task.ts";

export interface NaivePlan {
  readonly again: readonly string[];
  readonly starts: readonly string[];
  /** All of them, each with all its codes. */
  readonly waiting: readonly { readonly taskId: string; readonly codes: readonly string[] }[];
  readonly byReason: Readonly<Record<string, number>>;
  readonly validUntil: number;
}

export function naivePlan(state: State, world: Circumstances, options: PlanOptions = {}): NaivePlan {
  const { now, agents, humans } = world;
  const limit = options.limit ?? Number.POSITIVE_INFINITY;
  const active = [...state.sessions.byId.values()].filter(isActive);
  const again: string[] = [];
  const starts: { task: Task; agent: Agent }[] = [];
  const waiting: { taskId: string; codes: readonly string[] }[] = [];
  let validUntil = Number.POSITIVE_INFINITY;
  const until = (at: number) => {
    validUntil = Math.min(validUntil, at);
  };

  for (const session of active) {
    if (options.unattended || session.status !== "starting" || session.handout === undefined) continue;
    if (session.handout.times >= 3) continue;
    if (options.taskIds !== undefined && !options.taskIds.includes(session.taskId)) continue;
    if (session.handout.expiresAt > now) until(session.handout.expiresAt);
    else if (again.length < limit) again.push(session.id);
  }

  const used = (agent: string) =>
    active.filter((session) => session.agent === agent).length +
    starts.filter((start) => start.agent.name === agent).length;
  const against = (agent: Agent): string[] => {
    const codes = [];
    if (state.ledger.pauses.has(agent.name)) codes.push("AGENT_PAUSED");
    if (world.unavailability(agent.name) !== null) codes.push("AGENT_UNAVAILABLE");
    if (used(agent.name) >= agent.maxConcurrent) codes.push("NO_SLOT");
    if (active.length + starts.length >= world.maxConcurrent) codes.push("GLOBAL_LIMIT");
    return codes;
  };
  const place = (task: Task): { agent: Agent | null; codes: readonly string[] } => {
    if (humans.has(task.assignee)) return { agent: null, codes: ["HUMAN_ASSIGNEE"] };
    const able = [...agents.values()].filter((agent) => agent.method !== null);
    const isolates = (agent: Agent) => task.isolation !== "worktree" || agent.canIsolate;
    if (task.assignee !== "auto") {
      const agent = able.find(({ name }) => name === task.assignee);
      if (agent === undefined) return { agent: null, codes: ["UNKNOWN_AGENT"] };
      return { agent, codes: [...against(agent), ...(isolates(agent) ? [] : ["NO_ISOLATION"])] };
    }
    if (able.length > 0 && !able.some(isolates)) return { agent: null, codes: ["NO_ISOLATION"] };
    const best = able.filter((agent) => isolates(agent) && agent.bestFor.some((skill) => task.labels.includes(skill)));
    const ranked = (best.length > 0 ? best : able.filter(isolates)).sort(
      (a, b) => a.costMultiplier - b.costMultiplier || (a.name < b.name ? -1 : 1),
    );
    const startable = ranked.filter((agent) => !options.unattended || agent.method !== "sessions_spawn");
    const eligible = startable.length > 0 ? startable : ranked;
    const free = eligible.find((agent) => against(agent).length === 0);
    if (free !== undefined) return { agent: free, codes: [] };
    return { agent: null, codes: eligible.length === 0 ? ["UNKNOWN_AGENT"] : [...new Set(eligible.flatMap(against))] };
  };
  const inTheWay = (task: Task, workspace: string | null, paths: readonly string[]) =>
    task.files.some((file) => paths.some((path) => samePlace(task.workspace, file, workspace, path)));
  const consider = (task: Task): readonly string[] => {
    const codes: string[] = [];
    if (task.hold !== null) codes.push(task.hold.code === "ATTEMPTS_EXHAUSTED" ? "ATTEMPTS_EXHAUSTED" : "HELD");
    if (task.retryAt !== null && task.retryAt > now) {
      until(task.retryAt);
      codes.push("RETRY_LATER");
    }
    if (active.some(({ taskId }) => taskId === task.id)) codes.push("ALREADY_RUNNING");
    const isDone = (id: string) =>
      state.tasks.byId.get(id)?.status === "done" || (!state.tasks.byId.has(id) && world.isArchived(id));
    if (!task.dependsOn.every(isDone)) codes.push("DEPENDENCY");
    const held = [...state.locks.byId.values()].filter(
      (lock) => (lock.expiresAt === undefined || lock.expiresAt > now) && inTheWay(task, lock.workspace, lock.paths),
    );
    for (const lock of held) if (lock.expiresAt !== undefined) until(lock.expiresAt);
    if (held.length > 0 || starts.some((start) => inTheWay(task, start.task.workspace, start.task.files)))
      codes.push("LOCKED");
    const placed = place(task);
    codes.push(...placed.codes);
    if (placed.agent === null || codes.length > 0) return codes;
    if (options.unattended && placed.agent.method === "sessions_spawn") return ["LIMIT"];
    if (starts.length + again.length >= limit) return ["LIMIT"];
    starts.push({ task, agent: placed.agent });
    return [];
  };

  const todo: Task[] = [];
  if (options.taskIds === undefined) {
    todo.push(...[...state.tasks.byId.values()].filter((task) => task.status === "todo" && !humans.has(task.assignee)));
  } else {
    for (const id of new Set(options.taskIds)) {
      const task = state.tasks.byId.get(id);
      const session = active.find(({ taskId }) => taskId === id);
      if (task?.status === "todo") todo.push(task);
      else if (task === undefined && !world.isArchived(id)) waiting.push({ taskId: id, codes: ["TASK_NOT_FOUND"] });
      else if (session !== undefined && again.includes(session.id)) continue;
      else
        waiting.push({
          taskId: id,
          codes: [task?.status === "in_progress" && session !== undefined ? "ALREADY_RUNNING" : "NOT_TODO"],
        });
    }
  }
  for (const task of todo.sort(before)) {
    const codes = consider(task);
    if (codes.length > 0) waiting.push({ taskId: task.id, codes });
  }
  const byReason: Record<string, number> = {};
  for (const { codes } of waiting) for (const code of codes) byReason[code] = (byReason[code] ?? 0) + 1;
  return {
    again,
    starts: starts.map(({ task, agent }) => `${task.id} → ${agent.name}`),
    waiting,
    byReason,
    validUntil,
  };
}

function before(a: Task, b: Task): number {
  const keys = (task: Task) => [PRIORITIES.indexOf(task.priority), task.dueDate ?? "9999", task.createdAt, task.id];
  const [left, right] = [keys(a), keys(b)];
  for (const [index, key] of left.entries())
    if (key !== right[index]) return key < (right[index] as typeof key) ? -1 : 1;
  return 0;
}

/** Two patterns under two workspaces: "/w" with "sub/x" is the same place as "/w/sub" with "x". */
function samePlace(workspace: string | null, pattern: string, otherWorkspace: string | null, other: string): boolean {
  if (workspace === null || otherWorkspace === null) return workspace === otherWorkspace && overlaps(pattern, other);
  return overlaps(`${workspace.slice(1)}/${pattern}`, `${otherWorkspace.slice(1)}/${other}`);
}
