/** `run.sh`, as it is called here and on an SSH host. */
import { fileURLToPath } from "node:url";
import { ASSETS } from "../location.ts";

export const WRAPPER_FILE = fileURLToPath(new URL("agents/run.sh", ASSETS));
/** Its status when another one had begun the run before. */
export const BEGUN_BEFORE = 75;

/** Its clock has whole seconds: times are rounded up, so that nothing ends early. */
export function wholeSeconds(ms: number): string {
  return String(Math.max(0, Math.ceil(ms / 1000)));
}

/** Its arguments to end all that is left of a run whose wrapper was killed: TERM, KILL after the grace. */
export function sweepArguments(directory: string, mark: string, graceMs: number): readonly string[] {
  return ["sweep", directory, mark, wholeSeconds(graceMs)];
}

/** Its word for what the program's standard input is. */
export function inputName(promptOnStdin: boolean): string {
  return promptOnStdin ? "prompt.md" : "/dev/null";
}
