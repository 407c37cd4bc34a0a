/** How the command fails: one clear line that says what to do, and an exit status. */
import { ApiError, ConnectionError, InvalidId } from "../api/client.ts";
import { ConfigError } from "../config/config-error.ts";
import { manyLines } from "./text.ts";

export const EXIT = { ok: 0, failure: 1, usage: 2, interrupted: 130 } as const;

/** Something that the command has to say and that ends it. */
export class Failure extends Error {
  readonly exitCode: number;

  constructor(message: string, exitCode: number = EXIT.failure) {
    super(message);
    this.name = "Failure";
    this.exitCode = exitCode;
  }
}

/** The lines for standard error, and the exit status, of anything that was thrown. */
export function describeFailure(error: unknown): { readonly text: string; readonly exitCode: number } {
  if (error instanceof Failure) return { text: `error: ${error.message}`, exitCode: error.exitCode };
  if (error instanceof ConfigError) return { text: describeConfig(error), exitCode: error.exitCode };
  if (error instanceof ApiError) return { text: manyLines(`error: ${describeRefusal(error)}`), exitCode: EXIT.failure };
  if (error instanceof ConnectionError) return { text: `error: ${error.message}`, exitCode: EXIT.failure };
  if (error instanceof InvalidId) return { text: `error: ${error.message}`, exitCode: EXIT.usage };
  const message = error instanceof Error ? error.message : String(error);
  return { text: manyLines(`error: ${message}`), exitCode: EXIT.failure };
}

function describeConfig(error: ConfigError): string {
  return ["error: the configuration cannot be used", ...error.message.split("\n").map((line) => `  ${line}`)].join(
    "\n",
  );
}

/** What the daemon said, its code, which fields it named, and what helps against it. */
export function describeRefusal(error: ApiError): string {
  // Where it names fields, the daemon's sentence only repeats the first of them.
  const detail = error.errors.length > 0 ? "the request is not valid" : error.detail;
  const fields = error.errors.map(({ path, message }) => `\n  ${path}: ${message.replace(PATTERN, "")}`).join("");
  return `${detail} (${error.code})${remedy(error)}${fields}`;
}

/** The regular expression behind words that say the same. */
const PATTERN = / \([\^\\].*\)$/;

function remedy(error: ApiError): string {
  if (error.status === 401)
    return "; give the daemon's token in JARVIS_TOKEN or JARVIS_TOKEN_FILE, or with --token-file";
  return error.outcome === "unknown" ? "; look whether it was done before you repeat it" : "";
}
