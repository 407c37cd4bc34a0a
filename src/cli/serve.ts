/** `serve`: the daemon itself. */
import type { Command } from "commander";
import { loadConfig } from "../config/load.ts";
import type { ConfigFlags } from "../config/sources.ts";
import { type Context, sourcesOf } from "./context.ts";
import { loadDaemon } from "./daemon.ts";

type ServeOptions = Pick<ConfigFlags, "host" | "port" | "logLevel">;

export function addServe(context: Context): Command {
  return context.program
    .command("serve")
    .description("run the daemon until it is told to stop (SIGTERM, Ctrl-C); agents go on running without it")
    .option("--host <host>", "the address to listen on (JARVIS_HOST; default: 127.0.0.1)")
    .option("--port <port>", "the port to listen on, 0 for a free one (JARVIS_PORT; default: 3333)")
    .option("--log-level <level>", "fatal, error, warn, info, debug, trace or silent (JARVIS_LOG_LEVEL; default: info)")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator serve --data ./data --port 3333")
    .action((options: ServeOptions) => serve(context, options));
}

async function serve(context: Context, options: ServeOptions): Promise<void> {
  const sources = sourcesOf(context, options);
  const { config, warnings } = loadConfig(sources);
  const daemon = await loadDaemon();
  context.exitCode = await daemon.serve(config, { sources, warnings });
}
