/** Agents on this machine: what `cli` and `spawn` via process share. */
import type { Method } from "../../core/session.ts";
import type { AgentAdapter, Run, RunListener, RunSpec } from "../../dispatcher/ports.ts";
import { type AdapterContext, agentSettings, reporting } from "../adapter-context.ts";
import { AgentProblem } from "../agent-problem.ts";
import { commandTemplate, fillIn, sessionChoice } from "../command.ts";
import { localEnvironment } from "../environment.ts";
import { outputOf } from "../known-program.ts";
import { logFile, type RunLimits, runDirectory, workFolder } from "../run-directory.ts";
import { IsolatedRun } from "../worktree/isolated-run.ts";
import type { WorktreePlace } from "../worktree/worktrees.ts";
import { inspectLocally } from "./check.ts";
import { type LocalPlan, wasMade } from "./run.ts";
import { LocalRuns } from "./runs.ts";
import { resolveDirectory, resolveWorkspace } from "./workspace.ts";

export function createLocalAdapter(method: Method, context: AdapterContext): AgentAdapter {
  const runs = new LocalRuns(context.clock, () => context.config().dataDirectory);
  return {
    method,
    open(spec, listener) {
      const told = reporting(context, spec, listener);
      const limits = () => limitsOf(context, spec);
      if (spec.isolation !== "worktree") {
        const plan = (directory: string) =>
          planRun(context, spec, directory, workingDirectory(context, spec, directory));
        return runs.open(spec, told, { plan, limits });
      }
      return openIsolated(context, spec, told, (place, listener) => {
        const plan = (directory: string) => planRun(context, spec, directory, workdirOf(place));
        return runs.open(spec, listener, { plan, limits });
      });
    },
    inspect: (agent) => inspectLocally(context, agent),
    close: () => runs.close(),
  };
}

function openIsolated(
  context: AdapterContext,
  spec: RunSpec,
  listener: RunListener,
  open: (place: WorktreePlace | null, listener: RunListener) => Run,
): Run {
  const { clock, worktrees } = context;
  const { taskId } = spec;
  const prepare = async (signal: AbortSignal) => {
    // A check of what was done looks where it was done, and makes nothing.
    if (spec.command !== undefined) return worktrees.find(taskId);
    const timeLimitMs = Math.min(WORKTREE_LIMIT_MS, spec.deadlineAt - clock.now());
    const { taskCreatedAt = null } = spec;
    return worktrees.prepare(taskId, isolatedWorkspace(context, spec), { signal, timeLimitMs, taskCreatedAt });
  };
  return new IsolatedRun({
    clock,
    spec,
    listener,
    wasMade: () => wasMade(runDirectory(context.config().dataDirectory, spec.sessionId)),
    prepare,
    known: () => worktrees.known(taskId),
    open,
  });
}

/** For each call of git that makes a worktree: a large repository takes minutes. */
const WORKTREE_LIMIT_MS = 10 * 60 * 1000;

function workdirOf(place: WorktreePlace | null): string {
  // Its records say that it was made, and then that it was not: somebody took them away meanwhile.
  if (place === null) throw new AgentProblem("START_FAILED", "the records of its run are gone");
  return place.workdir;
}

/** What to start for a session, with the settings of now. Throws an `AgentProblem` where it cannot be started. */
function planRun(context: AdapterContext, spec: RunSpec, directory: string, workdir: string): LocalPlan {
  const settings = agentSettings(context, spec.agent);
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

/** What the worktree is made of. */
function isolatedWorkspace(context: AdapterContext, spec: RunSpec): string {
  if (spec.workspace === null && agentSettings(context, spec.agent).workdir === undefined) {
    throw new AgentProblem(
      "NO_WORKTREE",
      "it is to work in a worktree of its workspace's repository, but has no workspace: give it one, or set isolation to none",
    );
  }
  return workingDirectory(context, spec, "");
}
