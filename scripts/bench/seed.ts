/** Data directories to begin with, made by the daemon's own rules and files. */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { pino } from "pino";
import { composeDaemon } from "../../src/compose.ts";
import { loadConfig } from "../../src/config/load.ts";
import { dispatch } from "../../src/core/decide/dispatch.ts";
import { callback } from "../../src/core/decide/report.ts";
import { addComment, changeTask, createTask, type NewTask } from "../../src/core/decide/tasks.ts";
import type { Command } from "../../src/core/decision.ts";
import type { EndedSession } from "../../src/core/session.ts";
import type { Task } from "../../src/core/task.ts";
import type { Dispatcher } from "../../src/dispatcher/dispatcher.ts";
import { openArchives } from "../../src/journal/archives.ts";
import { STATE_FILES } from "../../src/journal/stores.ts";
import { change, NEW_TASK, RESULT, taskId, WORKER } from "./workload.ts";

const log = pino({ level: "silent" });

export interface Settings {
  /** Started by a dispatch instead of being handed out. */
  readonly program?: readonly string[];
  readonly killGraceMs?: number;
}

/** A data directory with the bench's settings and nothing else in it. */
export function emptyDirectory(path: string, { program, killGraceMs }: Settings = {}): void {
  mkdirSync(path, { recursive: true });
  const worker =
    program === undefined
      ? { adapter: "spawn", via: "heartbeat" }
      : { adapter: "cli", command: program, output: "text", ...(killGraceMs === undefined ? {} : { killGraceMs }) };
  const settings = {
    dispatch: { maxConcurrent: 100_000 },
    agents: {
      gemini: { enabled: false },
      copilot: { enabled: false },
      [WORKER]: { ...worker, maxConcurrent: 10_000 },
    },
  };
  writeFileSync(join(path, "config.json"), JSON.stringify(settings, null, 2));
}

export interface Board {
  readonly tasks: number;
  /** So many of them are given to the worker and claimed. Default 0. */
  readonly sessions?: number;
  /** The task that is put on the board as the nth. */
  readonly task: (n: number) => NewTask;
}

/** Open tasks of every kind that nothing is dispatched for. */
export function openTask(n: number): NewTask {
  return { ...NEW_TASK, id: taskId(n), priority: PRIORITIES[n % 4] ?? "medium", labels: ["research"] };
}

/** Tasks of which some run, many wait, for a slot, files or another task, and the rest is nobody's. */
export function mixedTask(n: number): NewTask {
  const task = { ...openTask(n), assignee: n % 10 < 7 ? WORKER : "jarvis" };
  if (n % 10 === 8) return { ...task, status: "backlog" };
  if (n % 10 === 9) return { ...task, status: "done" };
  if (n < 200) return task;
  if (n % 10 === 1) return { ...task, workspace: null, files: [`src/part-${n % 40}/**`] };
  if (n % 10 === 2) return { ...task, dependsOn: [taskId(n - 2)] };
  return task;
}

const PRIORITIES = ["medium", "high", "low", "urgent"] as const;

export async function seedBoard(path: string, { tasks, sessions = 0, task }: Board): Promise<void> {
  await withDispatcher(path, async (dispatcher) => {
    await all(dispatcher, tasks, (n) => createTask(task(n)));
    if (sessions > 0) await claim(dispatcher, sessions);
  });
}

/**
 * State files that are `events` events behind the journal: tasks were changed and commented, sessions came and failed.
 * The tasks all stay open.
 */
export async function seedReplay(
  path: string,
  { tasks, events }: { readonly tasks: number; readonly events: number },
): Promise<void> {
  await seedBoard(path, { tasks, task: (n) => ({ ...openTask(n), assignee: WORKER }) });
  const files = STATE_FILES.map((name) => join(path, name));
  for (const file of files) copyFileSync(file, `${file}.before`);
  await withDispatcher(path, async (dispatcher) => {
    const sessions = events / 10;
    const ids = await claim(dispatcher, sessions);
    await all(dispatcher, sessions, (n) =>
      callback({ ...at(ids, n), status: "failed", error: "the network was gone" }),
    );
    const changed = events / 2;
    await all(dispatcher, changed, (n) => changeTask({ taskId: taskId(n % tasks), changes: change(n, n) }));
    const commented = events - changed - sessions * EVENTS_OF_A_SESSION;
    await all(dispatcher, commented, (n) =>
      addComment({ taskId: taskId(n % tasks), author: "diego", content: "Look at the third one, too." }),
    );
  });
  for (const file of files) copyFileSync(`${file}.before`, file);
}

/** Started, claimed, settled, ended. */
const EVENTS_OF_A_SESSION = 4;

/** Tasks that are done and in the archive, each with its session. */
export async function seedArchive(path: string, count: number): Promise<void> {
  const archives = await openArchives(path, log);
  for (let from = 0; from < count; from += ARCHIVED_AT_ONCE) {
    const numbers = Array.from({ length: Math.min(ARCHIVED_AT_ONCE, count - from) }, (_, i) => from + i);
    await archives.appendTasks(numbers.map(archivedTask));
    await archives.appendSessions(numbers.map(archivedSession));
  }
  await archives.close();
}

const ARCHIVED_AT_ONCE = 1000;
const LONG_AGO = Date.UTC(2025, 0, 1);

function archivedTask(n: number): Task {
  const at = LONG_AGO + n * 1000;
  return {
    ...NEW_TASK,
    id: `old-${n}`,
    status: "done",
    priority: "medium",
    assignee: WORKER,
    project: null,
    dependsOn: [],
    files: [],
    workspace: null,
    dueDate: null,
    estimate: null,
    requiresReview: false,
    maxAttempts: null,
    timeoutMs: null,
    stallTimeoutMs: null,
    startTimeoutMs: null,
    verify: [],
    isolation: null,
    attempts: 1,
    retryAt: null,
    hold: null,
    lastError: null,
    version: 3,
    createdAt: at,
    updatedAt: at,
    comments: [{ id: `com_old-${n}`, author: WORKER, content: RESULT, createdAt: at, sessionId: `ses_old-${n}` }],
  };
}

function archivedSession(n: number): EndedSession {
  const at = LONG_AGO + n * 1000;
  return {
    id: `ses_old-${n}`,
    taskId: `old-${n}`,
    taskTitle: NEW_TASK.title,
    agent: WORKER,
    attempt: 1,
    method: "sessions_spawn",
    status: "completed",
    startedAt: at,
    deadlineAt: at + 1_800_000,
    timeoutMs: 1_800_000,
    stallTimeoutMs: 0,
    startTimeoutMs: 60_000,
    exitGraceMs: 10_000,
    files: [],
    workspace: null,
    sessionKey: `agent:main:subagent:${n}`,
    completedAt: at + 60_000,
    outcome: { status: "completed", result: RESULT },
    cost: { usd: null, basis: "unknown" },
  };
}

/** Dispatches so many tasks and claims their sessions. */
async function claim(dispatcher: Dispatcher, count: number): Promise<readonly { taskId: string; sessionId: string }[]> {
  const executed = await dispatcher.execute(dispatch({ limit: count }));
  if (!executed.ok) throw new Error(executed.refusal.message);
  const sessions = executed.answer.dispatched.map(({ session }) => ({ taskId: session.taskId, sessionId: session.id }));
  if (sessions.length !== count) throw new Error(`${count} sessions were wanted, ${sessions.length} were dispatched`);
  await all(dispatcher, count, (n) =>
    callback({ ...at(sessions, n), status: "running", sessionKey: `agent:main:subagent:${n}` }),
  );
  return sessions;
}

function at<T>(list: readonly T[], n: number): T {
  return list[n] as T;
}

async function all(dispatcher: Dispatcher, count: number, command: (n: number) => Command<unknown>): Promise<void> {
  const executed = await Promise.all(Array.from({ length: count }, (_, n) => dispatcher.execute(command(n))));
  for (const one of executed) if (!one.ok) throw new Error(one.refusal.message);
}

/** A daemon that nobody listens to, stopped cleanly at the end. */
async function withDispatcher(path: string, work: (dispatcher: Dispatcher) => Promise<void>): Promise<void> {
  const { config } = loadConfig({ flags: { data: path, port: "0", logLevel: "silent" }, env: {}, cwd: path });
  const onLost = (error: Error) => {
    throw error;
  };
  const daemon = await composeDaemon({ config, log, onLost });
  try {
    await work(daemon.dispatcher);
  } finally {
    await daemon.stop();
  }
}
