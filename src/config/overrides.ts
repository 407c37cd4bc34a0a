/** The settings that flags and environment variables can give, checked by the same schema as the file's. */
import type { TSchema } from "@sinclair/typebox";
import { checkAgainst } from "./check-settings.ts";
import type { ConfigProblem } from "./config-error.ts";
import { nearest } from "./nearest.ts";
import { LogLevel, Settings } from "./schema.ts";
import { type ConfigSources, variable } from "./sources.ts";

export interface Overrides {
  readonly host?: string;
  readonly port?: number;
  readonly logLevel?: LogLevel;
}

export interface ReadOverrides {
  readonly overrides: Overrides;
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
}

/** Flags before variables. A wrong variable is a problem even where a flag wins over it. */
export function readOverrides(sources: ConfigSources): ReadOverrides {
  const problems: ConfigProblem[] = [];
  const { properties: server } = Settings.properties.server;

  function read<T extends TSchema>(flag: string, given: string | undefined, name: string, schema: T) {
    const fromVariable = check(name, variable(sources, name), schema);
    return check(flag, given, schema) ?? fromVariable;
  }
  function check<T extends TSchema>(name: string, text: string | undefined, schema: T) {
    if (text === undefined) return undefined;
    const checked = checkAgainst(schema, schema.type === "integer" ? wholeNumber(text) : text, name);
    if (checked.ok) return checked.value;
    problems.push(...checked.problems);
    return undefined;
  }

  const host = read("--host", sources.flags.host, "JARVIS_HOST", server.host);
  const port = read("--port", sources.flags.port, "JARVIS_PORT", server.port);
  const logLevel = read("--log-level", sources.flags.logLevel, "JARVIS_LOG_LEVEL", LogLevel);
  const overrides = {
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port }),
    ...(logLevel === undefined ? {} : { logLevel }),
  };
  return { overrides, problems, warnings: mistypedVariables(sources) };
}

/** The number that a text is, or the text itself, which the check then refuses. */
function wholeNumber(text: string): number | string {
  return /^\d{1,15}$/.test(text) ? Number(text) : text;
}

/** What the daemon, the command and the programs that it starts know of. */
const KNOWN_VARIABLES = [
  "JARVIS_DATA_DIR",
  "JARVIS_CONFIG",
  "JARVIS_HOST",
  "JARVIS_PORT",
  "JARVIS_TOKEN",
  "JARVIS_TOKEN_FILE",
  "JARVIS_LOG_LEVEL",
  "JARVIS_URL",
  "JARVIS_TASK_ID",
  "JARVIS_SESSION_ID",
  "JARVIS_CALLBACK_URL",
  "JARVIS_CALLBACK_TOKEN",
];

/** Variables are shared with other programs of the same name's sake, so a near miss is only pointed out. */
function mistypedVariables(sources: ConfigSources): string[] {
  return Object.keys(sources.env).flatMap((name) => {
    if (!name.startsWith("JARVIS_") || KNOWN_VARIABLES.includes(name)) return [];
    const meant = nearest(name, KNOWN_VARIABLES);
    return meant === null ? [] : [`the variable ${name} is not known here; did you mean ${meant}?`];
  });
}
