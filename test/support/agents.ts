/** Agents for tests: a config that can be changed on the way, sessions that are opened and waited for, stand-in programs in sh. */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { AdapterContext } from "../../src/agents/adapter-context.ts";
import { problemOf } from "../../src/agents/findings.ts";
import { createWorktrees } from "../../src/agents/worktree/worktrees.ts";
import type { AgentSettings, Config } from "../../src/config/schema.ts";
import type { RunFacts } from "../../src/core/session.ts";
import { realClock } from "../../src/dispatcher/clock.ts";
import type { AgentAdapter, Finding, Run, RunEnd, RunSpec } from "../../src/dispatcher/ports.ts";

/** Nothing in these tests takes longer on the slowest machine. */
const PATIENCE_MS = 60_000;

export interface TestAgents {
  readonly context: AdapterContext;
  readonly dataDirectory: string;
  /** Workspaces of tasks lie here. */
  readonly workspaces: string;
  /** Worktrees of isolated tasks are made here. */
  readonly worktreeRoot: string;
  /** What adapters told of agents, newest last. */
  readonly reports: { readonly agent: string; readonly reason: string | null }[];
  /** An agent of a new name with this command; `null` leaves it without one. */
  agent(command: readonly string[] | null, changes?: Partial<AgentSettings>): string;
  /** What a stand-in waits for, so that the test decides when it goes on. */
  gate(): Gate;
}

export interface Gate {
  /** A line of sh. */
  readonly wait: string;
  open(): void;
}

/** In a directory of its own, removed after the test. `teardown`: tap's. */
export function testAgents(
  teardown: (cleanUp: () => void) => void,
  base: Pick<AgentSettings, "adapter" | "ssh" | "via">,
): TestAgents {
  const root = mkdtempSync(join(tmpdir(), "jarvis-agents-"));
  teardown(() => rmSync(root, { recursive: true, force: true, maxRetries: 3 }));
  const dataDirectory = join(root, "data");
  const workspaces = join(root, "workspaces");
  for (const directory of [dataDirectory, workspaces]) mkdirSync(directory, { mode: 0o700 });

  const agents: Record<string, AgentSettings> = {};
  const worktreeRoot = join(root, "worktrees");
  const config = { dataDirectory, workspaceRoots: [workspaces], worktreeRoot, agents } as unknown as Config;
  const environment = {
    ...process.env,
    JARVIS_TOKEN: "operator",
    SECRET_OF_THE_DAEMON: "secret",
    SSH_AUTH_SOCK: undefined,
  };
  const reports: { agent: string; reason: string | null }[] = [];
  let names = 0;
  return {
    context: {
      clock: realClock,
      config: () => config,
      environment,
      worktrees: createWorktrees(() => config, environment),
      report: (agent, reason) => reports.push({ agent, reason }),
    },
    dataDirectory,
    workspaces,
    worktreeRoot,
    reports,
    agent(command, changes = {}) {
      names += 1;
      const name = `agent-${names}`;
      const started = command === null ? {} : { command: [...command] };
      agents[name] = { ...DEFAULTS, ...base, ...started, ...changes } as AgentSettings;
      return name;
    },
    gate() {
      names += 1;
      const path = join(root, `gate-${names}`);
      return { wait: `until [ -e ${path} ]; do sleep 0.02; done`, open: () => writeFileSync(path, "") };
    },
  };
}

const DEFAULTS = {
  enabled: true,
  costMultiplier: 1,
  maxConcurrent: 1,
  bestFor: [],
  env: {},
  envPass: [],
  args: [],
  permissions: "work",
  timeoutMs: PATIENCE_MS,
  killGraceMs: 1000,
  leftovers: "kill",
  exitGraceMs: 1000,
  claimTimeoutMs: PATIENCE_MS,
  maxOutputBytes: 50 * 1024 * 1024,
} as const;

/** Of a run that has a process. */
export interface ProgramFacts extends RunFacts {
  readonly pid: number;
}

export interface OpenSession {
  readonly run: Run;
  readonly started: Promise<ProgramFacts>;
  readonly ended: Promise<RunEnd>;
  readonly signs: () => number;
}

/** Why nothing can be started; `null` = something can. */
export async function problemWith(
  where: { inspect(agent: string): Promise<readonly Finding[]> },
  agent: string,
): Promise<string | null> {
  return problemOf(await where.inspect(agent));
}

let sessions = 0;

export function newSpec(agent: string, changes: Partial<RunSpec> = {}): RunSpec {
  sessions += 1;
  return {
    sessionId: `ses_${process.pid}_${sessions}`,
    taskId: "task-1",
    agent,
    model: null,
    prompt: "the prompt\n",
    workspace: null,
    env: {},
    deadlineAt: Date.now() + PATIENCE_MS,
    ...changes,
  };
}

/** Opens a session's run; `started` and `ended` reject when they take longer than anything here may. */
export function openSession(adapter: AgentAdapter, spec: RunSpec): OpenSession {
  const started = withinPatience<ProgramFacts>(`the start of ${spec.sessionId}`);
  const ended = withinPatience<RunEnd>(`the end of ${spec.sessionId}`);
  // A run that never had a program is not waited for.
  started.promise.catch(() => {});
  ended.promise.catch(() => {});
  let signs = 0;
  const run = adapter.open(spec, {
    started: (facts) => started.resolve({ ...facts, pid: facts.pid ?? 0 }),
    sign: () => {
      signs += 1;
    },
    ended: (end) => {
      started.reject(new Error(`it ended before it started: ${JSON.stringify(end.outcome)}`));
      ended.resolve(end);
    },
  });
  const { detach } = run;
  run.detach = async () => {
    started.cancel();
    ended.cancel();
    await detach.call(run);
  };
  return { run, started: started.promise, ended: ended.promise, signs: () => signs };
}

/** Opens it and waits for its end. */
export async function runToEnd(adapter: AgentAdapter, spec: RunSpec): Promise<RunEnd> {
  return openSession(adapter, spec).ended;
}

function withinPatience<T>(what: string) {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  let cancel: () => void = () => {};
  const promise = new Promise<T>((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`${what} took too long`)), PATIENCE_MS);
    cancel = () => clearTimeout(timer);
    resolve = (value) => {
      cancel();
      done(value);
    };
    reject = (error) => {
      cancel();
      fail(error);
    };
  });
  return {
    promise,
    resolve: (value: T) => resolve(value),
    reject: (error: Error) => reject(error),
    cancel: () => cancel(),
  };
}

/** Waits until it is so, looking again and again; for what nobody tells. */
export async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  while (!isSo()) {
    if (performance.now() > deadline) throw new Error(`waited too long until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

export function readOr(path: string, otherwise: string): string {
  return existsSync(path) ? readFileSync(path, "utf8") : otherwise;
}

/** True for a process that lives; a zombie does not. */
export function isRunning(pid: number): boolean {
  if (pid === 0) return false;
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  if (!existsSync("/proc/self/stat")) return true;
  const stat = readOr(`/proc/${pid}/stat`, "");
  return stat !== "" && !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
}
