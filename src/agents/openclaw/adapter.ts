/** Agents that an OpenClaw gateway starts at our call. */
import type { OpenClawSettings } from "../../config/schema.ts";
import type { AgentAdapter, RunListener, RunSpec } from "../../dispatcher/ports.ts";
import { type AdapterContext, agentSettings, reporting } from "../adapter-context.ts";
import { isLoopback } from "../callback-way.ts";
import { resolveDirectory, resolveWorkspace } from "../local/workspace.ts";
import { OpenClawHost } from "./host.ts";
import { inspectGateway } from "./inspect.ts";
import { type ChildPlan, OpenClawRun, PACE, type Pace } from "./run.ts";
import { openClawTarget, targetKey } from "./target.ts";

export function createOpenClawAdapter(context: AdapterContext, pace: Pace = PACE): AgentAdapter {
  const hosts = new Map<string, OpenClawHost>();
  const hostOf = (target: OpenClawSettings): OpenClawHost => {
    const key = targetKey(target);
    const host = hosts.get(key) ?? new OpenClawHost(target, context.environment, context.clock);
    hosts.set(key, host);
    return host;
  };

  return {
    method: "spawn",
    open: (spec, listener) => openRun(context, hostOf, spec, reporting(context, spec, listener), pace),
    inspect: (agent) => inspectGateway(context, agent),
    close: async () => {
      await Promise.all([...hosts.values()].map((host) => host.close()));
      hosts.clear();
    },
  };
}

type HostOf = (target: OpenClawSettings) => OpenClawHost;

function openRun(context: AdapterContext, hostOf: HostOf, spec: RunSpec, listener: RunListener, pace: Pace) {
  let host: OpenClawHost | null = null;
  const run: OpenClawRun = new OpenClawRun({
    clock: context.clock,
    spec,
    listener,
    pace,
    dataDirectory: context.config().dataDirectory,
    settings: () => {
      const settings = agentSettings(context, spec.agent);
      const { killGraceMs, maxOutputBytes } = settings;
      return { target: openClawTarget(settings), killGraceMs, maxOutputBytes };
    },
    plan: () => planChild(context, spec),
    onGivenUp: (label) => host?.giveUp(label),
    onHurry: () => host?.hurry(),
    onDone: () => host?.remove(run),
  });
  setImmediate(() => {
    const target = run.begin();
    if (target === null) return;
    host = hostOf(target);
    host.add(run);
  });
  return run;
}

function planChild(context: AdapterContext, spec: RunSpec): ChildPlan {
  const settings = agentSettings(context, spec.agent);
  const { agentId, workdir } = settings;
  const model = spec.model ?? undefined;
  // A gateway on another machine has other directories: there, the prompt names the workspace, and that is all.
  if (!isLoopback(openClawTarget(settings).url)) return { agentId, model };
  const { workspaceRoots, dataDirectory } = context.config();
  if (spec.workspace !== null)
    return { agentId, model, cwd: resolveWorkspace(spec.workspace, workspaceRoots, dataDirectory) };
  return { agentId, model, cwd: workdir === undefined ? undefined : resolveDirectory(workdir, "workdir") };
}
