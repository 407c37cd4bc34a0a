/** What is wrong with the configuration: a list of facts, and the lines that show them to a person. */

/** One thing that stops the start. */
export interface ConfigProblem {
  /** Where: a key's path such as `agents.gemini.ssh.port`, the name of a flag or variable, or a file and position. */
  readonly path: string;
  readonly found: string;
  readonly wanted: string;
  /** The known key or value that was probably meant. */
  readonly meant?: string | undefined;
}

const PROBLEMS_SHOWN_MAX = 30;

/** The configuration cannot be used. Its message is made for a terminal: one line for each problem. */
export class ConfigError extends Error {
  readonly code = "CONFIG_INVALID";
  /** The status that a command ends with: wrong usage. */
  readonly exitCode = 2;
  readonly problems: readonly ConfigProblem[];

  constructor(problems: readonly ConfigProblem[]) {
    super(problemLines(problems).join("\n"));
    this.name = "ConfigError";
    this.problems = problems;
  }
}

export function problemLine(problem: ConfigProblem): string {
  const found = `${problem.path}: found ${problem.found}`;
  return problem.meant === undefined
    ? `${found}, wanted ${problem.wanted}`
    : `${found}, wanted ${problem.wanted}; did you mean "${problem.meant}"?`;
}

function problemLines(problems: readonly ConfigProblem[]): string[] {
  const shown = problems.slice(0, PROBLEMS_SHOWN_MAX).map(problemLine);
  const hidden = problems.length - shown.length;
  return hidden > 0 ? [...shown, `and ${hidden} more`] : shown;
}

const SHOWN_CHARACTERS_MAX = 60;

/** A found value as a message shows it: its JSON with control characters escaped, cut when long. */
export function showValue(value: unknown): string {
  if (value === undefined) return "nothing";
  if (Array.isArray(value)) return value.length === 0 ? "an empty list" : "a list";
  if (typeof value === "object" && value !== null) return "an object";
  const text = escapeControls(JSON.stringify(value) ?? String(value));
  return text.length <= SHOWN_CHARACTERS_MAX ? text : `${text.slice(0, SHOWN_CHARACTERS_MAX)}…`;
}

/** A key as a step of a path: bare where it can be, quoted where it has odd characters. */
export function showKey(key: string): string {
  return /^[A-Za-z0-9_-]{1,64}$/.test(key) ? `.${key}` : `[${showValue(key)}]`;
}

/** JSON leaves DEL, C1 and bidirectional controls bare; a terminal would act on them. */
function escapeControls(json: string): string {
  return json.replace(
    /[\p{Cc}\p{Cf}\u2028\u2029]/gu,
    (char) => `\\u${(char.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`,
  );
}
