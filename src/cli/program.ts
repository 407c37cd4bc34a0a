/** All commands put together, and how a run of the command ends. */
import { readFileSync } from "node:fs";
import { Command, CommanderError } from "commander";
import { PACKAGE_FILE } from "../location.ts";
import { addAgents } from "./agents.ts";
import type { Context } from "./context.ts";
import { addDispatch } from "./dispatch.ts";
import { addDoctor } from "./doctor.ts";
import { describeFailure, EXIT } from "./failure.ts";
import { addInit } from "./init.ts";
import { addLocks } from "./locks.ts";
import { addLogs } from "./logs.ts";
import { addRepair } from "./repair.ts";
import { addServe } from "./serve.ts";
import { addSessions } from "./sessions.ts";
import { addStatus } from "./status.ts";
import { addTasks } from "./tasks.ts";
import type { Terminal } from "./terminal.ts";
import { addTransfer } from "./transfer.ts";

/** Runs one command line, without the program's name. Resolves to the exit status; never rejects. */
export async function runCommand(args: readonly string[], terminal: Terminal): Promise<number> {
  const program = new Command();
  const context: Context = { terminal, program, exitCode: EXIT.ok };
  describeProgram(program, terminal);
  for (const add of COMMANDS) add(context);
  try {
    await program.parseAsync(args, { from: "user" });
    return context.exitCode;
  } catch (error) {
    // Commander has said already what was wrong with the usage.
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
    const { text, exitCode } = describeFailure(error);
    terminal.complain(text);
    return exitCode;
  }
}

/** In the order in which the help lists them. */
const COMMANDS = [
  addServe,
  addStatus,
  addDispatch,
  addTasks,
  addSessions,
  addLogs,
  addAgents,
  addLocks,
  addInit,
  addDoctor,
  addTransfer,
  addRepair,
];

/** Where no screen says how wide it is. */
const HELP_WIDTH = 80;

function describeProgram(program: Command, terminal: Terminal): void {
  const helpWidth = terminal.isScreen ? terminal.columns : HELP_WIDTH;
  program
    .name("jarvis-orchestrator")
    .description("Hands the tasks of a board to coding agents and brings their results back as comments.")
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print how it is used")
    .helpCommand("help [command]", "print how it, or a command, is used")
    .option("--data <directory>", "the data directory (JARVIS_DATA_DIR; default: ./data)")
    .option("--config <file>", "the config file (JARVIS_CONFIG; default: config.json in the data directory)")
    .option("--url <url>", "the daemon to call (JARVIS_URL; default: where the data directory's daemon listens)")
    .option(
      "--token-file <file>",
      "the operator's token (JARVIS_TOKEN_FILE; default: the file token in the data directory)",
    )
    .exitOverride()
    .showHelpAfterError("(--help shows how it is used)")
    .configureHelp({ helpWidth, showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => terminal.print(text.replace(/\n$/, "")),
      writeErr: (text) => terminal.complain(text.replace(/\n$/, "")),
      getOutHelpWidth: () => helpWidth,
      getErrHelpWidth: () => helpWidth,
    })
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator init && jarvis-orchestrator serve");
}

function version(): string {
  const text = readFileSync(PACKAGE_FILE, "utf8");
  const parsed: unknown = JSON.parse(text);
  return typeof parsed === "object" && parsed !== null && "version" in parsed ? String(parsed.version) : "unknown";
}
