/**
 * The `spawn` adapter: a sub-agent that is left to work. Via process it is a detached local program, via openclaw a child session that
 * a gateway starts at our call. Via heartbeat there is no run of ours at all: the dispatcher hands it out, and here there is nothing that
 * could be missing.
 */
import type { AgentAdapter, RunSpec } from "../dispatcher/ports.ts";
import { type AdapterContext, agentSettings } from "./adapter-context.ts";
import { createLocalAdapter } from "./local/adapter.ts";
import { createOpenClawAdapter } from "./openclaw/adapter.ts";
import { hasChildRecord } from "./openclaw/record.ts";
import { isThere, runDirectory } from "./run-directory.ts";
import { refusingIsolation } from "./worktree/refusing.ts";

export function createSpawnAdapter(context: AdapterContext): AgentAdapter {
  const local = createLocalAdapter("spawn", context);
  const openclaw = refusingIsolation(createOpenClawAdapter(context));
  return {
    method: "spawn",
    open: (spec, listener) => (isAtGateway(context, spec) ? openclaw : local).open(spec, listener),
    inspect: async (agent) => {
      const { via } = agentSettings(context, agent);
      if (via === "heartbeat") return [];
      return (via === "openclaw" ? openclaw : local).inspect(agent);
    },
    close: async () => {
      await Promise.all([local.close(), openclaw.close()]);
    },
  };
}

/** A run is followed the way it was started, whatever the config says by now. */
function isAtGateway(context: AdapterContext, { sessionId, agent }: RunSpec): boolean {
  const { dataDirectory, agents } = context.config();
  const directory = runDirectory(dataDirectory, sessionId);
  if (hasChildRecord(directory)) return true;
  return !isThere(directory) && Object.hasOwn(agents, agent) && agents[agent]?.via === "openclaw";
}
