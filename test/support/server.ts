/** The HTTP server over a dispatcher in memory, with agents that exist in name only. */
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { transcriberOf } from "../../src/agents/output/transcriber.ts";
import type { Config } from "../../src/config/schema.ts";
import type { Agent, Unavailability } from "../../src/core/agent.ts";
import type { Circumstances } from "../../src/core/plan.ts";
import type { EndedSession } from "../../src/core/session.ts";
import { emptyState } from "../../src/core/state.ts";
import type { Task } from "../../src/core/task.ts";
import { transition } from "../../src/core/transition.ts";
import { Dispatcher } from "../../src/dispatcher/dispatcher.ts";
import { Signs } from "../../src/dispatcher/signs.ts";
import { buildServer } from "../../src/http/server.ts";
import type { ArchiveReader, Services } from "../../src/http/services.ts";
import { measured } from "../core/world.ts";
import { MemoryJournal } from "./memory-journal.ts";

export interface TestServerOptions {
  readonly token?: string;
  readonly publicUrl?: string;
  readonly host?: string;
  readonly agents?: readonly Agent[];
  readonly maxConcurrent?: number;
  readonly workspaceRoots?: string[];
  readonly runsDirectory?: string;
  readonly spawnPrompt?: Services["spawnPrompt"];
  readonly worktrees?: Services["worktrees"];
  /** What a server before left: this one is the same daemon after a restart. */
  readonly restartOf?: {
    readonly journal: MemoryJournal;
    readonly archive: MemoryArchive;
    readonly secret: Buffer;
    readonly now: number;
  };
}

export function testAgent(name: string, changes: Partial<Agent> = {}): Agent {
  return {
    name,
    adapter: "spawn",
    method: "sessions_spawn",
    model: "sonnet",
    costMultiplier: 3,
    maxConcurrent: 3,
    bestFor: ["coding"],
    timeoutMs: 60_000,
    stallTimeoutMs: 0,
    startTimeoutMs: 0,
    claimTimeoutMs: 10_000,
    exitGraceMs: 1000,
    account: null,
    isolation: "none",
    canIsolate: changes.method === "cli",
    resume: false,
    ...changes,
  };
}

const TEST_AGENTS = [testAgent("claude"), testAgent("copilot", { adapter: "cli", method: "cli", maxConcurrent: 1 })];

/** Everything a test may want to turn: the clock, what is unavailable, the disk. */
export async function testServer(options: TestServerOptions = {}) {
  const before = options.restartOf;
  const journal = before?.journal ?? new MemoryJournal();
  const archive = before?.archive ?? memoryArchive();
  const agents = new Map((options.agents ?? TEST_AGENTS).map((agent) => [agent.name, agent]));
  const knobs = {
    now: before?.now ?? Date.UTC(2026, 0, 1),
    unavailable: new Map<string, Unavailability>(),
    draining: false,
    directoryVersion: 0,
    stopped: [] as string[],
    config: {
      server: {
        host: options.host ?? "127.0.0.1",
        port: 3333,
        ...(options.publicUrl === undefined ? {} : { publicUrl: options.publicUrl }),
      },
      humans: ["jarvis", "diego"],
      dispatch: { auto: false, intervalMs: 5000, maxConcurrent: options.maxConcurrent ?? 8 },
      retry: { maxAttempts: 3, initialDelayMs: 10_000, maxDelayMs: 300_000 },
      workspaceRoots: options.workspaceRoots ?? ["/home/owner"],
      budgets: [],
      verifiers: {},
      worktreeRoot: "~/worktrees",
      historyDays: 30,
      agents: {},
      dataDirectory: "/var/lib/jarvis",
      configFile: "/var/lib/jarvis/config.json",
      logLevel: "silent",
      token: options.token ?? null,
    } as Config,
  };
  const circumstances = (): Circumstances => ({
    now: knobs.now,
    agents,
    humans: new Set(knobs.config.humans),
    maxConcurrent: knobs.config.dispatch.maxConcurrent,
    unavailability: (name) => knobs.unavailable.get(name) ?? null,
    isArchived: (id) => archive.hasTask(id),
    home: "/home/me",
  });
  // Ids go on growing over a restart, as real ones do.
  let ids = journal.lastSeq * 10;
  const logged: { readonly facts: object; readonly message: string }[] = [];
  const note = (facts: object, message: string) => void logged.push({ facts, message });
  const nothing = () => {};
  const log = {
    isLevelEnabled: () => false,
    child: () => log,
    debug: nothing,
    info: nothing,
    warn: note,
    error: note,
    fatal: note,
    trace: nothing,
    level: "silent",
  };
  const rebuilt = () => {
    const state = emptyState();
    for (const stored of journal.stored) transition(state, stored);
    return state;
  };
  const dispatcher = new Dispatcher({
    journal,
    state: rebuilt(),
    context: () => ({
      ...circumstances(),
      newId: (prefix) => `${prefix}_${String(++ids).padStart(6, "0")}`,
      random: () => 0.5,
      retry: knobs.config.retry,
      price: (_agent, usage) => measured(usage),
    }),
    rebuild: async () => rebuilt(),
    reopen: () => journal.reopen(),
    log,
    pause: () => new Promise((resolve) => setImmediate(resolve)),
  });
  const secret = before?.secret ?? randomBytes(32);
  const signs = new Signs();
  const services: Services = {
    config: () => knobs.config,
    dispatcher,
    circumstances,
    signs,
    directory: {
      agents: () => [...agents.values()],
      agent: (name) => agents.get(name),
      unavailability: (name) => knobs.unavailable.get(name) ?? null,
      inspect: async (name) => {
        const reason = knobs.unavailable.get(name)?.reason;
        const about = "program";
        return [
          reason === undefined ? { about, state: "ok", message: "fine" } : { about, state: "fail", message: reason },
        ];
      },
      get version() {
        return knobs.directoryVersion;
      },
    },
    journal,
    archive,
    worktrees: options.worktrees ?? { diff: async () => null, remove: async () => "none" },
    stopNow: (id) => knobs.stopped.push(id),
    now: () => knobs.now,
    random: (bytes) => randomBytes(bytes),
    secret,
    transcriber: (id) => transcriberOf(join(options.runsDirectory ?? "/nonexistent", id)),
    runsDirectory: options.runsDirectory ?? "/nonexistent",
    spawnPrompt:
      options.spawnPrompt ?? ((session, _state, token) => `Work on ${session.taskTitle}. Call back with ${token}.`),
    draining: () => knobs.draining,
    log,
  };
  const app = await buildServer(services);
  return { app, dispatcher, journal, archive, knobs, secret, signs, logged, services };
}

export type TestServer = Awaited<ReturnType<typeof testServer>>;

export type MemoryArchive = ArchiveReader & {
  readonly tasksById: Map<string, Task>;
  readonly sessionsById: Map<string, EndedSession>;
};

function memoryArchive(): MemoryArchive {
  const tasksById = new Map<string, Task>();
  const sessionsById = new Map<string, EndedSession>();
  return {
    tasksById,
    sessionsById,
    async appendTasks(tasks) {
      for (const task of tasks) tasksById.set(task.id, task);
    },
    async appendSessions(sessions) {
      for (const session of sessions) sessionsById.set(session.id, session);
    },
    hasTask: (id) => tasksById.has(id),
    task: async (id) => tasksById.get(id) ?? null,
    session: async (id) => sessionsById.get(id) ?? null,
    tasks: async () => ({ records: [...tasksById.values()].reverse(), nextCursor: undefined }),
    sessions: async () => ({ records: [...sessionsById.values()].reverse(), nextCursor: undefined }),
    sessionsOf: async (taskId) => [...sessionsById.values()].filter((session) => session.taskId === taskId).reverse(),
    async removeTask(id) {
      tasksById.delete(id);
    },
  };
}
