/** `init`: a data directory to start with. */
import { randomBytes } from "node:crypto";
import { chmod, mkdir, writeFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { applyDefaults } from "../config/apply-defaults.ts";
import { BUILT_IN_AGENTS } from "../config/defaults.ts";
import { Settings } from "../config/schema.ts";
import { findPlaces } from "../config/sources.ts";
import { tokenFileOf } from "../config/token.ts";
import { type Context, sourcesOf } from "./context.ts";
import { Failure } from "./failure.ts";

export function addInit(context: Context): Command {
  return context.program
    .command("init")
    .description("create the data directory, a config file with the defaults, and a token; nothing is overwritten")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator init --data ./data")
    .action(() => init(context));
}

async function init(context: Context): Promise<void> {
  const { terminal } = context;
  const { dataDirectory, configFile } = findPlaces(sourcesOf(context));
  const tokenFile = tokenFileOf(dataDirectory);
  try {
    // chmod as well, for the umask may be stricter or the mode of parents is not meant.
    if ((await mkdir(dataDirectory, { recursive: true, mode: 0o700 })) !== undefined) await chmod(dataDirectory, 0o700);
    await mkdir(path.dirname(configFile), { recursive: true });
    terminal.print(await create(configFile, `${JSON.stringify(startingSettings(), null, 2)}\n`));
    terminal.print(await create(tokenFile, `${randomBytes(32).toString("hex")}\n`));
  } catch (error) {
    throw new Failure(`the data directory was not set up: ${error instanceof Error ? error.message : error}`);
  }
  const places = givenPlaces(context);
  terminal.print(
    [
      "",
      "Next:",
      `  1. say in ${configFile} who your agents are and how they are reached`,
      `  2. jarvis-orchestrator serve${places}`,
      `  3. jarvis-orchestrator doctor${places}   (from another terminal)`,
      "",
      `Callers need the token in ${tokenFile}: this command finds it there, others send it`,
      'as "Authorization: Bearer <token>".',
    ].join("\n"),
  );
}

/** Never over a file that is there, whatever it holds. */
async function create(file: string, text: string): Promise<string> {
  try {
    await writeFile(file, text, { flag: "wx", mode: 0o600 });
    return `created   ${file}`;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return `kept      ${file}`;
    throw error;
  }
}

/** The defaults as a person would write them: the agents without what goes without saying. */
function startingSettings(): unknown {
  const defaults = applyDefaults(Settings, {});
  return { ...(typeof defaults === "object" ? defaults : {}), agents: BUILT_IN_AGENTS };
}

/** The options that name the places, as the next commands need them too. */
function givenPlaces(context: Context): string {
  const { data, config } = context.program.opts<{ data?: string; config?: string }>();
  const words = [
    data === undefined ? "" : ` --data ${quoted(data)}`,
    config === undefined ? "" : ` --config ${quoted(config)}`,
  ];
  return words.join("");
}

function quoted(text: string): string {
  return /^[\w./~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
