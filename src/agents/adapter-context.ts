/** What every adapter is given. */
import type { AgentSettings, Config } from "../config/schema.ts";
import type { Clock, RunListener, RunSpec } from "../dispatcher/ports.ts";
import { AgentProblem } from "./agent-problem.ts";
import type { Worktrees } from "./worktree/worktrees.ts";

export interface AdapterContext {
  readonly clock: Clock;
  /** The settings as they are now: a reload changes them. */
  readonly config: () => Config;
  /** The daemon's own environment. */
  readonly environment: NodeJS.ProcessEnv;
  readonly worktrees: Worktrees;
  /** What was found out about an agent on the way; `null` = it works. */
  readonly report: (agent: string, reason: string | null) => void;
}

/** Throws `BAD_CONFIG` for an agent that is gone from the config. */
export function agentSettings(context: AdapterContext, agent: string): AgentSettings {
  const { agents } = context.config();
  const settings = Object.hasOwn(agents, agent) ? agents[agent] : undefined;
  if (settings === undefined) throw new AgentProblem("BAD_CONFIG", `there is no agent ${agent} in the config`);
  return settings;
}

/** Errors that the agent's next run would meet too. */
const OF_THE_AGENT = new Set([
  "NOT_INSTALLED",
  "BAD_CONFIG",
  "HOST_UNREACHABLE",
  "HOST_KEY_UNKNOWN",
  "HOST_KEY_CHANGED",
  "AUTHENTICATION_FAILED",
]);

/** Passes everything on, and reports what a start or its failure tells of the agent. */
export function reporting(context: AdapterContext, spec: RunSpec, listener: RunListener): RunListener {
  const { agent, command } = spec;
  // A check of its work tells nothing of the agent.
  if (command !== undefined) return listener;
  return {
    started: (facts) => {
      context.report(agent, null);
      listener.started(facts);
    },
    sign: (progress) => listener.sign(progress),
    ended: (end) => {
      const { outcome } = end;
      if (outcome.status === "failed" && OF_THE_AGENT.has(outcome.error.code))
        context.report(agent, outcome.error.message);
      listener.ended(end);
    },
  };
}
