/** One life of the daemon in a simulation: dispatcher, supervisor and wake-up, as compose.ts puts them together. */

import { createVerifier } from "../../src/agents/verification.ts";
import type { Agent } from "../../src/core/agent.ts";
import type { Context } from "../../src/core/decision.ts";
import type { Method } from "../../src/core/session.ts";
import { Dispatcher } from "../../src/dispatcher/dispatcher.ts";
import { type AgentAdapter, StorageUnavailable } from "../../src/dispatcher/ports.ts";
import { Signs } from "../../src/dispatcher/signs.ts";
import { Supervisor } from "../../src/dispatcher/supervisor.ts";
import { WakeUp } from "../../src/dispatcher/wake-up.ts";
import { AGENTS, anAgent, measured } from "../core/world.ts";
import type { Host, VirtualArchive, VirtualClock, VirtualDisk } from "./machine.ts";

export interface Machine {
  readonly clock: VirtualClock;
  readonly disk: VirtualDisk;
  readonly archive: VirtualArchive;
  readonly host: Host;
  /** In [0, 1), the same for the same seed. */
  readonly random: () => number;
  /** Numbers of ids: never used again, whatever dies. */
  ids: number;
}

export interface Daemon {
  readonly dispatcher: Dispatcher;
  readonly supervisor: Supervisor;
  readonly wakeUp: WakeUp;
  readonly signs: Signs;
  /** What was logged as an error. */
  readonly errors: string[];
  /** What was logged, as an error or a warning, and was not the disk's failure. */
  readonly unexpected: string[];
  readonly context: () => Context;
}

/** Agents of each kind, the local one with a second slot, so that most tasks find something that is busy. */
export const SIMULATED_VERIFIERS = { tests: { command: ["make", "test"], timeoutMs: 60_000 } };

export const SIMULATED_AGENTS: ReadonlyMap<string, Agent> = new Map(
  [...AGENTS, anAgent({ name: "local", maxConcurrent: 1, adapter: "spawn", method: "spawn" })].map((agent) => [
    agent.name,
    agent,
  ]),
);
export const MAX_CONCURRENT = 4;

/** Opens what the disk has, and begins to supervise. */
export function startDaemon(machine: Machine, { auto = false } = {}): Daemon {
  const { clock, disk, archive, host, random } = machine;
  const journal = disk.open();
  const signs = new Signs();
  const errors: string[] = [];
  const unexpected: string[] = [];
  const look = (facts: object, message: string) => {
    if ("err" in facts && !(facts.err instanceof StorageUnavailable)) unexpected.push(`${message}: ${facts.err}`);
  };
  const log = {
    error: (facts: object, message: string) => {
      errors.push(message);
      look(facts, message);
    },
    warn: look,
    info: () => {},
  };
  const context = (): Context => ({
    now: clock.now(),
    agents: SIMULATED_AGENTS,
    humans: new Set(["jarvis", "diego"]),
    maxConcurrent: MAX_CONCURRENT,
    unavailability: () => null,
    isArchived: (id) => archive.hasTask(id),
    home: "/home/me",
    newId: (prefix) => `${prefix}_${String(++machine.ids).padStart(6, "0")}`,
    random,
    retry: { maxAttempts: 3, initialDelayMs: 10_000, maxDelayMs: 300_000 },
    price: (_agent, usage) => measured(usage),
  });
  const dispatcher = new Dispatcher({
    journal,
    state: disk.replay(),
    context,
    rebuild: async () => disk.replay(),
    reopen: (state) => journal.reopen(state),
    log,
    pause: (ms) => new Promise((resolve) => void clock.after(ms, () => resolve())),
  });
  const adapters = new Map<Method, ReturnType<Host["adapter"]>>(
    (["cli", "ssh", "spawn"] as const).map((method) => [method, host.adapter(method)]),
  );
  const supervisor = new Supervisor({
    dispatcher,
    signs,
    now: () => clock.now(),
    adapterOf: ({ method }) => adapters.get(method) ?? null,
    specFor: (session) => ({
      sessionId: session.id,
      taskId: session.taskId,
      agent: session.agent,
      model: null,
      prompt: "do it",
      workspace: session.workspace,
      env: {},
      deadlineAt: session.deadlineAt,
    }),
    verifier: createVerifier({
      clock,
      config: () => ({ verifiers: SIMULATED_VERIFIERS }),
      adapterFor: ({ method }) => adapters.get(method === "ssh" ? "ssh" : "cli") as AgentAdapter,
    }),
    log,
  });
  const wakeUp = new WakeUp({
    dispatcher,
    supervisor,
    signs,
    archive,
    clock,
    settings: () => ({ auto, intervalMs: 5000 }),
    log,
  });
  wakeUp.start();
  return { dispatcher, supervisor, wakeUp, signs, errors, unexpected, context };
}

/** `kill -9`: nothing of it happens any more. What it was writing may be on disk, or some of it. */
export function killDaemon(machine: Machine, keptAppends: number): void {
  machine.clock.forgetTimers();
  machine.host.forgetFollowers();
  machine.disk.crash(keptAppends);
}
