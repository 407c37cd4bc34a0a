/** Agents on this machine: what `cli` and `spawn` via process share. */
import type { Method } from "../../core/session.ts";
import type { AgentAdapter, RunSpec } from "../../dispatcher/ports.ts";
import { type AdapterContext, agentSettings, reporting } from "../adapter-context.ts";
import { commandTemplate, fillIn, sessionChoice } from "../command.ts";
import { localEnvironment } from "../environment.ts";
import { outputOf } from "../known-program.ts";
import { logFile, type RunLimits, runDirectory, workFolder } from "../run-directory.ts";
import { inspectLocally } from "./check.ts";
import type { LocalPlan } from "./run.ts";
import { LocalRuns } from "./runs.ts";
import { resolveDirectory, resolveWorkspace } from "./workspace.ts";

export function createLocalAdapter(method: Method, context: AdapterContext): AgentAdapter {
  const runs = new LocalRuns(context.clock, () => context.config().dataDirectory);
  return {
    method,
    open: (spec, listener) =>
      runs.open(spec, reporting(context, spec, listener), {
        plan: (directory) => planRun(context, spec, directory),
        limits: () => limitsOf(context, spec),
      }),
    inspect: (agent) => inspectLocally(context, agent),
    close: () => runs.close(),
  };
}

/** What to start for a session, with the settings of now. Throws an `AgentProblem` where it cannot be started. */
function planRun(context: AdapterContext, spec: RunSpec, directory: string): LocalPlan {
  const settings = agentSettings(context, spec.agent);
  const workdir = workingDirectory(context, spec, directory);
  const command = fillIn(spec.command ?? commandTemplate(settings, spec.model, sessionChoice(spec)), {
    prompt: spec.prompt,
    promptFile: `${directory}/prompt.md`,
    usageFile: logFile(directory, "usage"),
    model: spec.model,
    taskId: spec.taskId,
    sessionId: spec.sessionId,
    workdir,
  });
  return {
    ...command,
    workdir,
    ...limitsOf(context, spec),
    env: (mark) => localEnvironment(context.environment, settings, { ...spec.env, JARVIS_RUN_MARK: mark }),
  };
}

function limitsOf(context: AdapterContext, spec: RunSpec): RunLimits {
  const settings = agentSettings(context, spec.agent);
  const { killGraceMs, maxOutputBytes, leftovers } = settings;
  return { killGraceMs, maxOutputBytes, leftovers, output: spec.command === undefined ? outputOf(settings) : "text" };
}

/** A task may only name what the config allows; the agent's own `workdir` is the config. */
function workingDirectory(context: AdapterContext, spec: RunSpec, directory: string): string {
  const { workspaceRoots, dataDirectory } = context.config();
  if (spec.workspace !== null) return resolveWorkspace(spec.workspace, workspaceRoots, dataDirectory);
  const { workdir } = agentSettings(context, spec.agent);
  if (workdir !== undefined) return resolveDirectory(workdir, "workdir");
  return workFolder(spec.workOf === undefined ? directory : runDirectory(dataDirectory, spec.workOf));
}
