/** `repair`: rebuilds damaged files of a data directory that no daemon is using. */
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import { type Context, printJson, sourcesOf } from "./context.ts";
import { loadDaemon } from "./daemon.ts";
import { EXIT } from "./failure.ts";
import { table } from "./table.ts";

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
  const daemon = await loadDaemon();
  const repaired = await daemon.repairDirectory(config);
  if (repaired.some(({ lost }) => lost !== null)) context.exitCode = EXIT.failure;
  if (options.json) return printJson(context, { repaired });
  if (repaired.length === 0) return context.terminal.print(`nothing is damaged in ${config.dataDirectory}`);
  context.terminal.print(
    table(
      context.terminal,
      [
        { title: "FILE", of: ({ file }) => file },
        { title: "DONE", of: ({ action }) => action },
        { title: "LOST", of: ({ lost }) => lost ?? "nothing", style: ({ lost }) => (lost === null ? "green" : "red") },
      ],
      repaired,
    ),
  );
}
