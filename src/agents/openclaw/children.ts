/** What the gateway says of the children of a session, read from answers that nobody promised. */
import { get } from "./gateway.ts";

export type ChildState = "running" | "done" | "failed" | "timeout" | "killed";

export interface Child {
  readonly sessionKey: string;
  readonly state: ChildState;
}

/** All that has one label: one child, or two where a request that seemed lost was done after all. */
export interface Family {
  readonly children: readonly Child[];
  /** What `cancel` wants to know of those that run. The gateway does not say which child a task is. */
  readonly runningTasks: readonly string[];
  /** Why it failed. */
  readonly error: string | null;
  /** When something of it was last at work, ms since the epoch. */
  readonly activeAt: number;
}

/** `subagents {action: "list"}`, by label. `null`: it is no such list. */
export function parseFamilies(details: unknown): ReadonlyMap<string, Family> | null {
  const [active, recent] = [get(details, "active"), get(details, "recent")];
  const tasks = get(details, "tasks");
  if (!Array.isArray(active) || !Array.isArray(recent)) return null;

  const families = new Map<
    string,
    { children: Child[]; runningTasks: string[]; error: string | null; activeAt: number }
  >();
  const familyOf = (row: unknown) => {
    const label = textOf(get(row, "label")) ?? "";
    const family = families.get(label) ?? { children: [], runningTasks: [], error: null, activeAt: 0 };
    families.set(label, family);
    return family;
  };
  const addChild = (row: unknown, state: ChildState) => {
    const sessionKey = textOf(get(row, "sessionKey"));
    if (sessionKey !== null) familyOf(row).children.push({ sessionKey, state });
  };
  for (const row of active) addChild(row, "running");
  for (const row of recent) addChild(row, endStateOf(get(row, "status")));
  for (const task of Array.isArray(tasks) ? tasks : []) {
    const family = familyOf(task);
    const taskId = textOf(get(task, "taskId"));
    if (taskId !== null && !ENDED_TASK.has(textOf(get(task, "status")) ?? "")) family.runningTasks.push(taskId);
    family.error ??= textOf(get(task, "error"));
    family.activeAt = Math.max(family.activeAt, numberOf(get(get(task, "execution"), "lastActivityAt")));
  }
  return families;
}

const ENDED_TASK = new Set(["completed", "failed", "timed_out", "cancelled", "lost"]);

/**
 * `sessions_list {label}`: knows children that ended long ago, too. `null`: it is no such list. A session without a status is no child
 * yet: a spawn whose connection is cut in the middle was seen to leave one in which nothing ever ran.
 */
export function parseSessions(details: unknown, label: string): Family | null {
  const sessions = get(details, "sessions");
  if (!Array.isArray(sessions)) return null;
  const children = sessions.flatMap((session): Child[] => {
    const sessionKey = textOf(get(session, "key"));
    const status = get(session, "status");
    if (get(session, "label") !== label || sessionKey === null || typeof status !== "string") return [];
    return [{ sessionKey, state: status === "running" ? "running" : endStateOf(status) }];
  });
  return { children, runningTasks: [], error: null, activeAt: 0 };
}

/** The one that counts: of doubles one that works or has done its work, not one that was ended for the other's sake. */
export function childOf({ children }: Family, known: string | null): Child | null {
  const alive = children.filter(({ state }) => state !== "killed");
  const best = alive.length === 0 ? children : alive;
  return best.find(({ sessionKey }) => sessionKey === known) ?? best[0] ?? null;
}

/** `done failed timeout killed` in one list, `completed failed timed_out cancelled` in another. */
function endStateOf(status: unknown): Exclude<ChildState, "running"> {
  switch (status) {
    case "done":
    case "completed":
      return "done";
    case "timeout":
    case "timed_out":
      return "timeout";
    case "killed":
    case "cancelled":
      return "killed";
    default:
      return "failed";
  }
}

function textOf(value: unknown): string | null {
  return typeof value === "string" && value !== "" ? value : null;
}

function numberOf(value: unknown): number {
  return typeof value === "number" && Number.isFinite(value) ? value : 0;
}
