/** What every command gets: the terminal, the global options, and from them the way to the daemon. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { type Client, createClient } from "../api/client.ts";
import type { ConfigFlags, ConfigSources } from "../config/sources.ts";
import { Failure } from "./failure.ts";
import { findDaemon } from "./find-daemon.ts";
import type { Terminal } from "./terminal.ts";
import { jsonText } from "./text.ts";

export interface Context {
  readonly terminal: Terminal;
  readonly program: Command;
  /** What the process ends with when nothing was thrown. */
  exitCode: number;
}

interface GlobalOptions {
  readonly data?: string;
  readonly config?: string;
  readonly tokenFile?: string;
  readonly url?: string;
}

/** Where settings are to be read from, with a command's own flags among them. */
export function sourcesOf(context: Context, flags: ConfigFlags = {}): ConfigSources {
  const { data, config, tokenFile } = context.program.opts<GlobalOptions>();
  return {
    flags: { data, config, tokenFile, ...flags },
    env: context.terminal.env,
    cwd: context.terminal.cwd,
  };
}

/** The client of the daemon that the options, variables or files name. */
export function connect(context: Context): Client {
  return createClient(findDaemon(sourcesOf(context), context.program.opts<GlobalOptions>().url));
}

/** The text of a file, or of standard input for `-`. */
export async function readText(context: Context, file: string): Promise<string> {
  if (file === "-") return context.terminal.readInput();
  try {
    return await readFile(path.resolve(context.terminal.cwd, file), "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : error;
    throw new Failure(`${file} cannot be read (${code})`);
  }
}

export function printJson(context: Context, value: unknown): void {
  context.terminal.print(jsonText(value));
}
