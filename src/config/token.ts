/** The operator's token: from a variable or a file, never from the config file or a flag's value. */
import { readFileSync, statSync } from "node:fs";
import path from "node:path";
import type { ConfigProblem } from "./config-error.ts";
import { type ConfigSources, type Places, toAbsolute, variable } from "./sources.ts";

export interface ReadToken {
  readonly token: string | null;
  /** A token that nobody named but that lies in the data directory: no secret of other daemons than that one. */
  readonly ofDataDirectory: boolean;
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
}

export const TOKEN_LENGTH_MIN = 16;

/**
 * `--token-file`, else `JARVIS_TOKEN` or `JARVIS_TOKEN_FILE`, else the file `token` in the data directory where there is
 * one (`init` makes it), else none. A source that is named but gives no good token is a problem, never "no token".
 */
export function readToken(sources: ConfigSources, places: Pick<Places, "dataDirectory">): ReadToken {
  const { env, flags } = sources;
  const named = variable(sources, "JARVIS_TOKEN_FILE");
  if (flags.tokenFile !== undefined) return fromFile("--token-file", toAbsolute(flags.tokenFile, sources));
  if (named !== undefined && variable(sources, "JARVIS_TOKEN") !== undefined) {
    return refused("JARVIS_TOKEN", "both JARVIS_TOKEN and JARVIS_TOKEN_FILE", "one of them");
  }
  if (named !== undefined) return fromFile("JARVIS_TOKEN_FILE", toAbsolute(named, sources));
  // Set to nothing, it is most likely a secret that failed to arrive: never a reason to let everybody in.
  if (env.JARVIS_TOKEN !== undefined) return accept("JARVIS_TOKEN", env.JARVIS_TOKEN);
  const file = tokenFileOf(places.dataDirectory);
  return exists(file) ? { ...fromFile(file, file), ofDataDirectory: true } : none;
}

const none: ReadToken = { token: null, ofDataDirectory: false, problems: [], warnings: [] };

/** Where `init` puts the token. */
export function tokenFileOf(dataDirectory: string): string {
  return path.join(dataDirectory, "token");
}

function fromFile(name: string, file: string): ReadToken {
  try {
    const open = (statSync(file).mode & 0o077) !== 0;
    const accepted = accept(name, readFileSync(file, "utf8"));
    const warning = `${file} can be read by other users of this machine: chmod 600 it`;
    return { ...accepted, warnings: open ? [warning] : [] };
  } catch (error) {
    return refused(name, `${file}, which cannot be read (${errorCode(error)})`, "a readable file that holds the token");
  }
}

function accept(name: string, text: string): ReadToken {
  const token = text.trim();
  if (token.length < TOKEN_LENGTH_MIN) {
    const found = token === "" ? "nothing" : `a token of ${token.length} characters`;
    return refused(name, found, `a token of at least ${TOKEN_LENGTH_MIN} characters`);
  }
  if (!/^[\x21-\x7e]+$/.test(token)) {
    return refused(name, "a token with spaces or special characters", "letters, digits and signs of ASCII only");
  }
  return { ...none, token };
}

function refused(path: string, found: string, wanted: string): ReadToken {
  return { ...none, problems: [{ path, found, wanted }] };
}

function exists(file: string): boolean {
  try {
    statSync(file);
    return true;
  } catch (error) {
    return errorCode(error) !== "ENOENT" && errorCode(error) !== "ENOTDIR";
  }
}

function errorCode(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : String(error);
}
