/** The registry: agent name → what the rules need to know of it, whether it can be reached, and the adapter that reaches it. */
import { NOT_DISPATCHABLE_AGENTS } from "../config/defaults.ts";
import { canIsolate } from "../config/isolation.ts";
import type { AgentSettings, Config } from "../config/schema.ts";
import type { Agent, Unavailability } from "../core/agent.ts";
import type { Method } from "../core/session.ts";
import type { AgentAdapter, Clock, Finding } from "../dispatcher/ports.ts";
import type { AdapterContext } from "./adapter-context.ts";
import { toSentence } from "./agent-problem.ts";
import { createCliAdapter } from "./cli.ts";
import { problemOf } from "./findings.ts";
import { outputOf } from "./known-program.ts";
import { findMissing } from "./local/check.ts";
import { findMissingToken } from "./openclaw/inspect.ts";
import { createSpawnAdapter } from "./spawn.ts";
import { createSshAdapter, findMissingKey } from "./ssh.ts";
import { refusingIsolation } from "./worktree/refusing.ts";
import { createWorktrees, type Worktrees } from "./worktree/worktrees.ts";

export interface RegistryOptions {
  readonly config: Config;
  readonly clock: Clock;
  /** The daemon's own environment. */
  readonly environment: NodeJS.ProcessEnv;
}

export interface Registry {
  /** All that are listed, those who are never dispatched to among them. */
  agents(): readonly Agent[];
  agent(name: string): Agent | undefined;
  byName(): ReadonlyMap<string, Agent>;
  /** Why it cannot be reached just now; `null` = nothing is known against it. */
  unavailability(name: string): Unavailability | null;
  /** Grows when an agent or what is known of it changes. */
  readonly version: number;
  /** Tries it, and tells all that was found. */
  inspect(name: string): Promise<readonly Finding[]>;
  /** `null`: it is gone from the config, or has no run of ours. */
  adapterFor(name: string): AgentAdapter | null;
  /** For a session that has a run: how it was started counts, whatever the config says of its agent by now. */
  adapterOf(method: Method): AgentAdapter | null;
  /** For other programs in the workspace of such a session. */
  workspaceAdapter(method: Method): AgentAdapter;
  /** Those that sessions on this machine work in. */
  readonly worktrees: Worktrees;
  reload(config: Config): void;
  /** Lets go of connections; runs stay. */
  close(): Promise<void>;
}

/** A program that answers in plain text may be silent to its end: silence is no sign of a stall. */
const TEXT_STALL_TIMEOUT_MS = 0;
/** One that tells what it does line by line is not. */
const STALL_TIMEOUT_MS = 5 * 60 * 1000;
/** What cannot be reached is tried again, since nobody tells when a host is back or a program was installed. */
const RECHECK_MS = 30_000;

export function createRegistry({ config: first, clock, environment }: RegistryOptions): Registry {
  let config = first;
  let byName = agentsOf(config);
  let version = 0;
  const found = new Map<string, Unavailability>();
  const worktrees = createWorktrees(() => config, environment);
  const context: AdapterContext = { clock, config: () => config, environment, worktrees, report: note };
  const adapters = {
    cli: createCliAdapter(context),
    spawn: createSpawnAdapter(context),
    ssh: refusingIsolation(createSshAdapter(context)),
  };
  let cancelRecheck: (() => void) | null = null;
  let isClosed = false;
  look();

  return {
    agents: () => [...byName.values()],
    agent: (name) => byName.get(name),
    byName: () => byName,
    unavailability: (name) => found.get(name) ?? null,
    worktrees,
    get version() {
      return version;
    },
    inspect,
    adapterFor,
    adapterOf: (method) => (method === "sessions_spawn" ? null : adapters[method]),
    workspaceAdapter: (method) => (method === "ssh" ? adapters.ssh : adapters.cli),
    reload(next) {
      config = next;
      byName = agentsOf(next);
      found.clear();
      version++;
      look();
    },
    async close() {
      isClosed = true;
      cancelRecheck?.();
      await Promise.all(Object.values(adapters).map((adapter) => adapter.close()));
    },
  };

  async function inspect(name: string): Promise<readonly Finding[]> {
    const adapter = adapterFor(name);
    if (adapter === null && byName.has(name)) return [];
    if (adapter === null) return [{ about: "config", state: "fail", message: `no agent is called ${name}` }];
    const findings = (await adapter.inspect(name)).map((one) => ({ ...one, message: toSentence(one.message) }));
    note(name, problemOf(findings));
    return findings;
  }

  function adapterFor(name: string): AgentAdapter | null {
    const settings = settingsOf(config, name);
    return settings === undefined ? null : adapters[settings.adapter];
  }

  /** What can be seen without starting or reaching anything. */
  function look(): void {
    for (const name of Object.keys(config.agents)) {
      const settings = settingsOf(config, name);
      if (settings === undefined || settings.via === "heartbeat") continue;
      note(name, findMissingOf(settings)(context, name));
    }
  }

  function recheckLater(): void {
    if (isClosed) return;
    cancelRecheck ??= clock.after(RECHECK_MS, () => {
      void Promise.allSettled([...found.keys()].map(inspect)).then(() => {
        cancelRecheck = null;
        if (found.size > 0) recheckLater();
      });
    });
  }

  function note(name: string, told: string | null): void {
    const reason = told === null ? null : toSentence(told);
    const before = found.get(name)?.reason ?? null;
    if (before === reason) return;
    if (reason === null) found.delete(name);
    else found.set(name, { reason, noticedAt: clock.now() });
    version++;
    if (found.size > 0) recheckLater();
  }
}

function findMissingOf({ adapter, via }: AgentSettings): typeof findMissing {
  if (adapter === "ssh") return findMissingKey;
  return adapter === "spawn" && via === "openclaw" ? findMissingToken : findMissing;
}

function settingsOf(config: Config, name: string): AgentSettings | undefined {
  return Object.hasOwn(config.agents, name) ? config.agents[name] : undefined;
}

function agentsOf(config: Config): ReadonlyMap<string, Agent> {
  const dispatchable = Object.entries(config.agents).map(([name, settings]) => toAgent(name, settings));
  const listed = Object.entries(NOT_DISPATCHABLE_AGENTS)
    .filter(([name]) => config.humans.includes(name))
    .map(([name, agent]): Agent => ({ ...NEVER_DISPATCHED, name, ...agent }));
  return new Map([...dispatchable, ...listed].map((agent) => [agent.name, agent]));
}

const NEVER_DISPATCHED = {
  adapter: "none",
  method: null,
  maxConcurrent: 0,
  timeoutMs: 0,
  stallTimeoutMs: 0,
  startTimeoutMs: 0,
  claimTimeoutMs: 0,
  exitGraceMs: 0,
  account: null,
  isolation: "none",
  canIsolate: false,
  resume: false,
} as const;

function toAgent(name: string, settings: AgentSettings): Agent {
  return {
    name,
    adapter: settings.adapter,
    method: methodOf(settings),
    model: settings.model ?? null,
    costMultiplier: settings.costMultiplier,
    maxConcurrent: settings.maxConcurrent,
    bestFor: settings.bestFor,
    timeoutMs: settings.timeoutMs,
    stallTimeoutMs:
      settings.stallTimeoutMs ?? (outputOf(settings) === "text" ? TEXT_STALL_TIMEOUT_MS : STALL_TIMEOUT_MS),
    startTimeoutMs: settings.startTimeoutMs,
    claimTimeoutMs: settings.claimTimeoutMs,
    exitGraceMs: settings.exitGraceMs,
    account: settings.account ?? null,
    isolation: settings.isolation,
    canIsolate: canIsolate(settings),
    resume: settings.resume && settings.preset !== undefined && settings.command === undefined,
  };
}

function methodOf({ adapter, via }: AgentSettings): Method {
  if (adapter !== "spawn") return adapter;
  return via === "heartbeat" ? "sessions_spawn" : "spawn";
}
