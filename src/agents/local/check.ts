/** Whether an agent's program is on this machine, without starting what it is there for. */
import { accessSync, constants, statfsSync, statSync } from "node:fs";
import { delimiter, isAbsolute, join } from "node:path";
import { execa } from "execa";
import type { AgentSettings } from "../../config/schema.ts";
import type { Finding } from "../../dispatcher/ports.ts";
import { type AdapterContext, agentSettings } from "../adapter-context.ts";
import { AgentProblem, hostWords } from "../agent-problem.ts";
import { commandTemplate } from "../command.ts";
import { localEnvironment } from "../environment.ts";
import { diskFinding } from "../findings.ts";
import { signInFinding, superuserFinding } from "./sign-in.ts";
import { resolveDirectory } from "./workspace.ts";

const VERSION_TIMEOUT_MS = 20_000;

/** The program, of a known one also its version and whether it is signed in, and the disk that its output goes to. */
export async function inspectLocally(context: AdapterContext, agent: string): Promise<readonly Finding[]> {
  const missing = findMissing(context, agent);
  if (missing !== null) return [{ about: "program", state: "fail", message: missing }];
  const settings = agentSettings(context, agent);
  const [program] = commandTemplate(settings, settings.model ?? null);
  const there: Finding = { about: "program", state: "ok", message: `${program} is there` };
  const disk = diskFinding("the data directory", freeBytes(context.config().dataDirectory));
  // A command of the user's own may take --version for work; a known program does not.
  if (settings.command !== undefined || settings.preset === undefined) return [there, disk];
  const refused = superuserFinding(settings.preset, settings, process.getuid?.());
  return [
    there,
    await askVersion(context, settings),
    signInFinding(settings.preset, settings, context.environment),
    ...(refused === null ? [] : [refused]),
    disk,
  ];
}

/** `null`: it cannot be written. */
function freeBytes(directory: string): number | null {
  try {
    accessSync(directory, constants.W_OK);
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize;
  } catch {
    return null;
  }
}

/** What can be seen without starting anything; `null` = nothing is missing. */
export function findMissing(context: AdapterContext, agent: string): string | null {
  try {
    const settings = agentSettings(context, agent);
    const [program] = commandTemplate(settings, settings.model ?? null);
    if (settings.workdir !== undefined) resolveDirectory(settings.workdir, "workdir");
    const { PATH } = localEnvironment(context.environment, settings, {});
    return findProgram(program, PATH ?? "");
  } catch (error) {
    if (error instanceof AgentProblem) return error.message;
    throw error;
  }
}

function findProgram(program: string, path: string): string | null {
  if (program.includes("/")) {
    // A relative one starts in the workspace, which every task brings along.
    if (!isAbsolute(program) || isExecutable(program)) return null;
    return `${program} is not there, or is not an executable file`;
  }
  const directories = path.split(delimiter).filter((directory) => directory !== "");
  if (directories.some((directory) => isExecutable(join(directory, program)))) return null;
  return `${program} is not on the PATH of its agent: install it, give its absolute path in "command", or set PATH in the agent's "env"`;
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return statSync(file).isFile();
  } catch {
    return false;
  }
}

async function askVersion(context: AdapterContext, settings: AgentSettings): Promise<Finding> {
  const [program] = commandTemplate(settings, null);
  const result = await execa(program, ["--version"], {
    extendEnv: false,
    env: localEnvironment(context.environment, settings, {}),
    stdin: "ignore",
    reject: false,
    timeout: VERSION_TIMEOUT_MS,
    forceKillAfterDelay: 1000,
    maxBuffer: 64 * 1024,
  });
  const about = "version";
  if (!result.failed) return { about, state: "ok", message: hostWords(result.stdout.split("\n", 1)[0] ?? "") };
  const said = result.stderr.trim().slice(0, 500) || result.shortMessage;
  return { about, state: "fail", message: `${program} is there, but "${program} --version" fails: ${said}` };
}
