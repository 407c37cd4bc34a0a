/** `doctor`: looks at everything that a working set-up needs, and says what is wrong with it. */
import { accessSync, constants, existsSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { type Command, Option } from "commander";
import { ApiError, type Client } from "../api/client.ts";
import { ConfigError } from "../config/config-error.ts";
import { checkExposure } from "../config/exposure.ts";
import { loadConfig } from "../config/load.ts";
import { findPlaces } from "../config/sources.ts";
import { type Context, connect, sourcesOf } from "./context.ts";
import { type Finding, Report } from "./doctor-report.ts";
import { runAgents } from "./doctor-run.ts";
import { describeFailure } from "./failure.ts";
import { selfTest } from "./self-test.ts";
import { oneLine } from "./text.ts";
import { parseDuration } from "./time.ts";

interface DoctorOptions {
  readonly run?: true | readonly string[];
  readonly timeout?: number;
  readonly selfTest?: boolean;
  readonly json?: boolean;
}

/** Long enough for a program that starts slowly and a model that thinks, short enough to wait for. */
const TIMEOUT_MS = 180_000;

const HELP = `
With --run, each agent gets one small task ("Reply with the single word OK") the
whole way: dispatch, its real program, result, comment, lock, metrics. It starts
without asking. IT COSTS what that one answer of the model costs, and says how
much. The task is deleted afterwards, also on Ctrl-C. It works in the agent's
own "workdir" where there is one, else in a fresh directory. Agents that Jarvis
starts at a heartbeat are left out; one that is busy is waited for.

With --self-test, a daemon of its own on temporary data works with stand-in
agents made of sh: no agent's program is needed, nothing is paid, nothing is
left. It takes some seconds, a minute at most.

It ends with 0 when all is well or only warned of, with 1 when something fails:
agents that were named and could not be run among it.

Example:
  $ jarvis-orchestrator doctor
  $ jarvis-orchestrator doctor --self-test
  $ jarvis-orchestrator doctor --run copilot gemini --timeout 2m`;

export function addDoctor(context: Context): Command {
  return context.program
    .command("doctor")
    .description("check the config, the data directory, the daemon and each agent, or try the whole path")
    .addOption(
      new Option(
        "--run [agents...]",
        "also send a small task through these agents (default: all); costs money",
      ).conflicts("selfTest"),
    )
    .option("--timeout <duration>", "how long each agent's --run may take (default: 3m)", parseDuration)
    .option("--self-test", "instead, try the orchestrator itself with stand-in agents; needs no daemon")
    .option("--json", "print JSON")
    .addHelpText("after", HELP)
    .action((options: DoctorOptions) => doctor(context, options));
}

async function doctor(context: Context, options: DoctorOptions): Promise<void> {
  const report = new Report(context, options.json === true);
  if (options.selfTest) {
    await selfTest(context, report);
  } else {
    for (const finding of [...checkConfig(context), checkDataDirectory(context), ...(await checkDaemon(context))])
      report.add(finding);
    if (options.run !== undefined) await runAgents(context, report, options.run, options.timeout ?? TIMEOUT_MS);
  }
  report.end();
}

function checkConfig(context: Context): Finding[] {
  const about = "config";
  try {
    const { config, warnings } = loadConfig(sourcesOf(context));
    const exposed = checkExposure(config);
    if (exposed !== null) throw new ConfigError([exposed]);
    const agents = Object.keys(config.agents);
    const file = existsSync(config.configFile) ? config.configFile : "no config file; built-in settings";
    return [
      { about, state: "ok", message: `${file}: agents ${agents.join(", ") || "none"}` },
      ...warnings.map((message): Finding => ({ about, state: "warn", message })),
      ...(config.token === null ? [{ about, state: "warn" as const, message: NO_TOKEN }] : []),
    ];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.split("\n").map((message): Finding => ({ about, state: "fail", message }));
  }
}

const NO_TOKEN = "there is no token: every program on this machine may do everything (`init` makes one)";

function checkDataDirectory(context: Context): Finding {
  const about = "data directory";
  const { dataDirectory } = findPlaces(sourcesOf(context));
  try {
    const { uid, mode } = statSync(dataDirectory);
    accessSync(dataDirectory, constants.R_OK | constants.W_OK | constants.X_OK);
    const owner = uid === process.getuid?.() ? "yours" : `of the user with id ${uid}`;
    if ((mode & 0o077) !== 0) {
      const message = `${dataDirectory}: ${owner}, and open to other users (mode ${(mode & 0o777).toString(8)}): chmod 700 it`;
      return { about, state: "warn", message };
    }
    return { about, state: "ok", message: `${dataDirectory}: ${owner}, ${userOf(dataDirectory)}` };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : error;
    if (code === "ENOENT") {
      return { about, state: "warn", message: `${dataDirectory} is not there yet: \`init\` or \`serve\` makes it` };
    }
    return { about, state: "fail", message: `${dataDirectory} cannot be used (${code}): look who owns it` };
  }
}

/** The daemon that uses it names itself in there. */
function userOf(dataDirectory: string): string {
  try {
    const owner: unknown = JSON.parse(readFileSync(path.join(dataDirectory, "owner.json"), "utf8"));
    if (typeof owner !== "object" || owner === null || !("pid" in owner)) return "in use by some process";
    const since = "ownedSince" in owner ? `, since ${owner.ownedSince}` : "";
    return oneLine(`in use by process ${owner.pid}${since}`);
  } catch {
    return "not in use";
  }
}

async function checkDaemon(context: Context): Promise<Finding[]> {
  const about = "daemon";
  try {
    const client = connect(context);
    const { status, agents } = await client.status();
    const state = status === "ok" ? "ok" : "warn";
    const checks = agents.filter(({ availability }) => availability !== "not_dispatchable");
    return [
      { about, state, message: `${client.url}: ${status}` },
      ...(await Promise.all(checks.map(({ agent }) => checkAgent(client, agent)))).flat(),
    ];
  } catch (error) {
    return [{ about, state: "fail", message: describeFailure(error).text.replace(/^error: /, "") }];
  }
}

/** All that was looked at; where there is nothing to look at, that. */
async function checkAgent(client: Client, agent: string): Promise<readonly Finding[]> {
  try {
    const { ok, message, findings = [] } = await client.check(agent);
    if (findings.length === 0) return [{ about: agent, state: ok ? "ok" : "warn", message: oneLine(message) }];
    // One that cannot be used is no failure of the rest.
    return findings.map((one) => ({
      about: agent,
      state: one.state === "ok" ? "ok" : "warn",
      message: oneLine(`${one.about}: ${one.message}`),
    }));
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return [{ about: agent, state: "warn", message: oneLine(error.message) }];
  }
}
