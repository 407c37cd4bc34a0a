/** An agent's command line: an array with places that are filled in, never a shell's line. */
import type { AgentSettings } from "../config/schema.ts";
import { AgentProblem } from "./agent-problem.ts";
import type { PresetChoice, PresetName } from "./presets/preset.ts";
import { PRESETS } from "./presets/presets.ts";

/** What the places stand for. */
export interface CommandValues {
  readonly prompt: string;
  /** Absolute. */
  readonly promptFile: string;
  /** Absolute: where a program can write what it used. */
  readonly usageFile: string;
  readonly model: string | null;
  readonly taskId: string;
  readonly sessionId: string;
  /** Absolute. */
  readonly workdir: string;
}

export interface Command {
  /** The program and its arguments. */
  readonly argv: readonly [string, ...string[]];
  /** False where an argument holds the prompt or names its file. */
  readonly promptOnStdin: boolean;
}

/** Linux takes no argument over 128 KiB (MAX_ARG_STRLEN, its final zero byte included). */
const ARGUMENT_BYTES_MAX = 128 * 1024 - 1;
const PLACE = /\{(prompt|promptFile|usageFile|model|taskId|sessionId|workdir)\}/g;

/** The configured command, or the preset's, and the agent's further arguments. Throws `BAD_CONFIG` where there is neither. */
export function commandTemplate(
  settings: Pick<AgentSettings, "command" | "preset" | "permissions" | "args">,
  model: string | null,
  resume: string | null = null,
): readonly [string, ...string[]] {
  const { command, preset, permissions, args } = settings;
  if (command === undefined && preset === undefined) throw bad('the agent has neither a "command" nor a "preset"');
  const [program, ...rest] =
    command ?? (preset === undefined ? [] : presetCommand(preset, { model, permissions, resume, args }));
  if (!program) throw bad("the agent's command names no program");
  if (program.startsWith("-")) throw bad(`the agent's command begins with ${program}, which is no program`);
  return [program, ...rest];
}

function presetCommand(name: PresetName, choice: PresetChoice): readonly string[] {
  const { program, arguments: argumentsFor } = PRESETS[name];
  return [program, ...argumentsFor(choice)];
}

/**
 * Fills in every `{place}` in one pass: what was filled in is never looked at again. Throws `ARGUMENT_TOO_LONG`, and `BAD_CONFIG` for
 * a `{model}` that the agent does not have.
 */
export function fillIn(template: readonly [string, ...string[]], values: CommandValues): Command {
  let promptOnStdin = true;
  const fill = (argument: string): string => {
    const filled = argument.replace(PLACE, (_place, name: keyof CommandValues) => {
      if (name === "prompt" || name === "promptFile") promptOnStdin = false;
      const value = values[name];
      if (value === null) throw bad("the agent's command has {model}, but the agent has no model");
      // No argument can hold a zero byte.
      return value.replaceAll("\0", "\uFFFD");
    });
    const bytes = Buffer.byteLength(filled);
    if (bytes > ARGUMENT_BYTES_MAX) {
      throw new AgentProblem(
        "ARGUMENT_TOO_LONG",
        `the argument made from ${JSON.stringify(argument.slice(0, 100))} has ${bytes} bytes, and a program can be given at most ` +
          `${ARGUMENT_BYTES_MAX}: use {promptFile} in the agent's command, or leave {prompt} out and the prompt goes to standard input`,
      );
    }
    return filled;
  };
  const [program, ...rest] = template;
  const argv = [fill(program), ...rest.map(fill)] as const;
  return { argv: [...argv], promptOnStdin };
}

function bad(message: string): AgentProblem {
  return new AgentProblem("BAD_CONFIG", message);
}
