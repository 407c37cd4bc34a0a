/**
 * The `spawn` adapter: a sub-agent that is left to work. Via process it is a detached local program. Via heartbeat there is no run of
 * ours at all: the dispatcher hands it out, and here there is nothing that could be missing.
 */
import type { AgentAdapter } from "../dispatcher/ports.ts";
import { type AdapterContext, agentSettings } from "./adapter-context.ts";
import { createLocalAdapter } from "./local/adapter.ts";

export function createSpawnAdapter(context: AdapterContext): AgentAdapter {
  const local = createLocalAdapter("spawn", context);
  return {
    ...local,
    inspect: async (agent) => (agentSettings(context, agent).via === "heartbeat" ? [] : local.inspect(agent)),
  };
}
