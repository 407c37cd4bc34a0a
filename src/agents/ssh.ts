/** The `ssh` adapter: a program on another machine, run to its end there, whatever becomes of the connection. */
import { accessSync, constants } from "node:fs";
import type { AgentAdapter, Finding, RunListener, RunSpec } from "../dispatcher/ports.ts";
import { type AdapterContext, agentSettings, reporting } from "./adapter-context.ts";
import { AgentProblem, hostWords } from "./agent-problem.ts";
import { commandTemplate, fillIn, sessionChoice } from "./command.ts";
import { remoteEnvironment } from "./environment.ts";
import { clockFinding, diskFinding } from "./findings.ts";
import { outputOf } from "./known-program.ts";
import { expandHome } from "./paths.ts";
import { logFile, workFolder } from "./run-directory.ts";
import { noKey } from "./ssh/credentials.ts";
import { SshHost } from "./ssh/host.ts";
import { type RemotePlan, type RemoteSettings, SshRun } from "./ssh/run.ts";
import { type SshTarget, sshTarget, targetKey, targetName } from "./ssh/target.ts";

export function createSshAdapter(context: AdapterContext): AgentAdapter {
  const hosts = new Map<string, SshHost>();
  const hostOf = (target: SshTarget): SshHost => {
    const key = targetKey(target);
    const host = hosts.get(key) ?? new SshHost(target, context.environment["SSH_AUTH_SOCK"], context.clock);
    hosts.set(key, host);
    return host;
  };

  return {
    method: "ssh",
    open: (spec, listener) => openRun(context, hostOf, spec, reporting(context, spec.agent, listener)),
    inspect: (agent) => inspectHost(context, hostOf, agent),
    close: async () => {
      await Promise.all([...hosts.values()].map((host) => host.close()));
      hosts.clear();
    },
  };
}

type HostOf = (target: SshTarget) => SshHost;

function openRun(context: AdapterContext, hostOf: HostOf, spec: RunSpec, listener: RunListener): SshRun {
  let host: SshHost | null = null;
  const run: SshRun = new SshRun({
    clock: context.clock,
    spec,
    listener,
    dataDirectory: context.config().dataDirectory,
    settings: () => remoteSettings(context, spec.agent, spec.command !== undefined),
    plan: (target, home) => planRun(context, spec, target, home),
    onGivenUp: (left) => host?.giveUp(run.id, left),
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

/** `isCheck`: of a verifier, whose output is plain text whatever the agent's is. */
function remoteSettings(context: AdapterContext, agent: string, isCheck = false): RemoteSettings {
  const settings = agentSettings(context, agent);
  const { ssh, killGraceMs, maxOutputBytes, leftovers } = settings;
  if (ssh === undefined) throw new AgentProblem("BAD_CONFIG", `the agent ${agent} has no "ssh" with a host`);
  return {
    target: sshTarget(ssh),
    killGraceMs,
    maxOutputBytes,
    leftovers,
    output: isCheck ? "text" : outputOf(settings),
  };
}

function planRun(context: AdapterContext, spec: RunSpec, target: SshTarget, home: string): RemotePlan {
  const settings = agentSettings(context, spec.agent);
  const runs = target.runDirectory.replace(/\/+$/, "");
  const directory = absolute(`${runs}/${spec.sessionId}`, home);
  const { workOf } = spec;
  const path =
    spec.workspace ?? settings.workdir ?? (workOf === undefined ? undefined : workFolder(`${runs}/${workOf}`));
  const command = fillIn(spec.command ?? commandTemplate(settings, spec.model, sessionChoice(spec)), {
    prompt: spec.prompt,
    promptFile: `${directory}/prompt.md`,
    usageFile: logFile(directory, "usage"),
    model: spec.model,
    taskId: spec.taskId,
    sessionId: spec.sessionId,
    workdir: path === undefined ? workFolder(directory) : absolute(path, home),
  });
  return {
    ...command,
    place: path === undefined ? { kind: "run" } : { kind: spec.workspace === null ? "workdir" : "workspace", path },
    roots: context.config().workspaceRoots,
    env: (mark) => remoteEnvironment(context.environment, settings, { ...spec.env, JARVIS_RUN_MARK: mark }),
  };
}

async function inspectHost(context: AdapterContext, hostOf: HostOf, agent: string): Promise<readonly Finding[]> {
  try {
    const settings = agentSettings(context, agent);
    const [program] = commandTemplate(settings, settings.model ?? null);
    const { target } = remoteSettings(context, agent);
    const name = targetName(target);
    // A command of the user's own may take --version for work; a known program does not.
    const isKnown = settings.command === undefined && settings.preset !== undefined;
    const found = await hostOf(target).inspect({ program, path: settings.env["PATH"] ?? "", asksVersion: isKnown });
    return [
      { about: "connection", state: "ok", message: `${name} can be reached, is the host that it says, and let us in` },
      programFinding(name, program, found.isThere),
      ...(isKnown && found.isThere ? [versionFinding(program, found.version)] : []),
      diskFinding(`${target.runDirectory} on ${target.host}`, found.freeBytes),
      clockFinding(found.clockOffMs, found.askedMs),
    ];
  } catch (error) {
    if (error instanceof AgentProblem) return [{ about: "connection", state: "fail", message: error.message }];
    throw error;
  }
}

function programFinding(host: string, program: string, isThere: boolean): Finding {
  const about = "program";
  if (isThere) return { about, state: "ok", message: `${program} is there` };
  // A relative one starts in the workspace, which every task brings along.
  if (program.includes("/") && !program.startsWith("/"))
    return { about, state: "ok", message: `${program} is looked for in each task's workspace` };
  const where = program.startsWith("/") ? "there" : "on the PATH of its agent there";
  const message = `${host} can be reached, but ${program} is not ${where}: install it, give its absolute path in "command", or set PATH in the agent's "env"`;
  return { about, state: "fail", message };
}

function versionFinding(program: string, version: string | null): Finding {
  const about = "version";
  if (version !== null) return { about, state: "ok", message: hostWords(version) };
  return { about, state: "fail", message: `${program} is there, but "${program} --version" fails` };
}

/** What can be seen without connecting; `null` = nothing is missing. */
export function findMissingKey(context: AdapterContext, agent: string): string | null {
  try {
    const settings = agentSettings(context, agent);
    commandTemplate(settings, settings.model ?? null);
    const { target } = remoteSettings(context, agent);
    if (target.privateKeyFile === undefined) return context.environment["SSH_AUTH_SOCK"] ? null : noKey(target);
    accessSync(expandHome(target.privateKeyFile), constants.R_OK);
    return null;
  } catch (error) {
    if (error instanceof AgentProblem) return error.message;
    return `its ssh.privateKeyFile ${context.config().agents[agent]?.ssh?.privateKeyFile} is not there, or cannot be read`;
  }
}

function absolute(path: string, home: string): string {
  if (path === "~") return home;
  if (path.startsWith("~/")) return `${home}/${path.slice(2)}`;
  return path.startsWith("/") ? path : `${home}/${path}`;
}
