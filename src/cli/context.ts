/** What every command gets: the terminal, the global options, and from them the way to the daemon. */
import { readFile } from "node:fs/promises";
import path from "node:path";
import type { Command } from "commander";
import { type Client, createClient } from "../api/client.ts";
import { ConfigError } from "../config/config-error.ts";
import { isLoopbackHost, urlOf } from "../config/exposure.ts";
import { loadSettings } from "../config/load.ts";
import { type ConfigFlags, type ConfigSources, findPlaces, variable } from "../config/sources.ts";
import { readToken } from "../config/token.ts";
import { EXIT, Failure } from "./failure.ts";
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

/** The daemon's client. The URL: `--url`, else `JARVIS_URL`, else host and port of the config. */
export function connect(context: Context): Client {
  const sources = sourcesOf(context);
  const named = context.program.opts<GlobalOptions>().url ?? variable(sources, "JARVIS_URL");
  const url = named === undefined ? configuredUrl(sources) : checkUrl(named);
  return createClient({ url, token: clientToken(sources, named) });
}

function configuredUrl(sources: ConfigSources): string {
  try {
    const { server } = loadSettings(sources).settings;
    if (server.port === 0) throw new Failure("the config leaves the port open: name the daemon with --url", EXIT.usage);
    return urlOf(server.host, server.port);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    throw new Failure(
      `no daemon to call, for the config cannot be used (--url names one without it)\n  ${error.message.replaceAll("\n", "\n  ")}`,
      EXIT.usage,
    );
  }
}

function checkUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "" || url.hash !== "") {
    throw new Failure(`"${text}" is not the URL of a daemon: wanted one such as http://127.0.0.1:3333`, EXIT.usage);
  }
  return url.href.replace(/\/+$/, "");
}

/** A token that nobody named is the local daemon's own: it is never sent to a URL that was named, except on this machine. */
function clientToken(sources: ConfigSources, namedUrl: string | undefined): string | null {
  const read = readToken(sources, findPlaces(sources));
  if (!read.ofDataDirectory && read.problems.length > 0) throw new ConfigError(read.problems);
  if (read.ofDataDirectory && namedUrl !== undefined && !isLoopbackUrl(namedUrl)) return null;
  return read.token;
}

function isLoopbackUrl(url: string): boolean {
  return isLoopbackHost(new URL(url).hostname.replace(/^\[|\]$/g, ""));
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
