/** Which daemon a command calls, and with whose token. */
import { readFileSync } from "node:fs";
import { ConfigError } from "../config/config-error.ts";
import { isLoopbackHost, urlOf } from "../config/exposure.ts";
import { loadSettings } from "../config/load.ts";
import {
  type ConfigSources,
  findPlaces,
  isForeign,
  listeningFileOf,
  type Places,
  variable,
} from "../config/sources.ts";
import { readToken } from "../config/token.ts";
import { EXIT, Failure } from "./failure.ts";

export interface DaemonFound {
  readonly url: string;
  readonly token: string | null;
}

/**
 * The URL: `--url`, else `JARVIS_URL`, else where the daemon of the data directory says that it listens (unless variables
 * name host or port), else host and port of the config.
 */
export function findDaemon(sources: ConfigSources, flag: string | undefined): DaemonFound {
  const places = findPlaces(sources);
  const named = flag ?? variable(sources, "JARVIS_URL");
  if (named !== undefined) {
    const url = checkUrl(named);
    return { url, token: tokenForNamed(sources, places, url) };
  }
  const isElsewhere = variable(sources, "JARVIS_HOST") !== undefined || variable(sources, "JARVIS_PORT") !== undefined;
  const url = (isElsewhere ? null : listeningUrl(places)) ?? configuredUrl(sources);
  return { url, token: tokenForFound(sources, places, url) };
}

function checkUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url === null || !/^https?:$/.test(url.protocol) || url.username !== "" || url.search !== "" || url.hash !== "") {
    throw new Failure(`"${text}" is not the URL of a daemon: wanted one such as http://127.0.0.1:3333`, EXIT.usage);
  }
  return url.href.replace(/\/+$/, "");
}

/** What `serve` wrote, while its process lives: a killed one leaves the file behind. */
function listeningUrl(places: Places): string | null {
  const file = listeningFileOf(places.dataDirectory);
  try {
    if (!places.areNamed && isForeign(file)) return null;
    const { url, pid } = JSON.parse(readFileSync(file, "utf8"));
    return Number.isInteger(pid) && pid > 0 && isAlive(pid) ? checkUrl(String(url)) : null;
  } catch {
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
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

/** A token that nobody named is the local daemon's own: it is never sent to a URL that was named, except on this machine. */
function tokenForNamed(sources: ConfigSources, places: Places, url: string): string | null {
  const read = readToken(sources, places);
  if (!read.ofDataDirectory && read.problems.length > 0) throw new ConfigError(read.problems);
  return read.ofDataDirectory && !isOnThisMachine(url) ? null : read.token;
}

/** A `./data` that nobody named may be anybody's: it must not say to which machine a token goes. */
function tokenForFound(sources: ConfigSources, places: Places, url: string): string | null {
  const { token, ofDataDirectory, problems } = readToken(sources, places);
  if (!ofDataDirectory && problems.length > 0) throw new ConfigError(problems);
  const isTrusted = places.areNamed || variable(sources, "JARVIS_HOST") !== undefined || isOnThisMachine(url);
  if (token === null || isTrusted) return token;
  throw new Failure(
    `the token would be sent to ${url}, which only ${places.dataDirectory} names: if that is meant, say so with --data or --url`,
    EXIT.usage,
  );
}

function isOnThisMachine(url: string): boolean {
  return isLoopbackHost(new URL(url).hostname.replace(/^\[|\]$/g, ""));
}
