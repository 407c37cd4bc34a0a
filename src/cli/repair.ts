/** `repair`: rebuilds damaged files of a data directory that no daemon is using. */
import { statSync } from "node:fs";
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { type Context, printJson, sourcesOf } from "./context.ts";
import { loadDaemon } from "./daemon.ts";
import { EXIT, Failure } from "./failure.ts";
import { oneLine } from "./text.ts";

export function addRepair(context: Context): Command {
  return context.program
    .command("repair")
    .description("rebuild damaged files of the data directory, and say what could not be (stop the daemon before)")
    .option("--json", "print JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator repair --data ./data")
    .action((options: { json?: boolean }) => repair(context, options));
}

async function repair(context: Context, options: { json?: boolean }): Promise<void> {
  const { config } = loadConfig(sourcesOf(context));
  if (!statSync(config.dataDirectory, { throwIfNoEntry: false })?.isDirectory()) {
    throw new Failure(`there is no data directory ${config.dataDirectory}`);
  }
  const daemon = await loadDaemon();
  const repaired = await daemon.repairDirectory(config);
  if (repaired.some(({ lost }) => lost !== null)) context.exitCode = EXIT.failure;
  if (options.json) return printJson(context, { repaired });
  if (repaired.length === 0) return context.terminal.print(`nothing is damaged in ${config.dataDirectory}`);
  // Lines, no table: each says much.
  for (const { file, action, lost } of repaired) {
    const loss = context.terminal.paint(lost === null ? "green" : "red", oneLine(lost ?? "nothing"));
    context.terminal.print(`${oneLine(file)}  ${oneLine(action)}; lost: ${loss}`);
  }
}
