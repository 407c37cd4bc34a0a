/** An agent's command line: an array with places that are filled in, never a shell's line. */
import { createHash } from "node:crypto";
import type { AgentSettings } from "../config/schema.ts";
import type { RunSpec } from "../dispatcher/ports.ts";
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

export type SessionChoice = Pick<PresetChoice, "resume" | "session">;
/** For whoever only looks which program it is. */
const ANY_SESSION: SessionChoice = { resume: null, session: "00000000-0000-4000-8000-000000000000" };

/** The agent's own session of a run: the one that it goes on with, or else the name for a new one. */
export function sessionChoice({ sessionId, resumes }: Pick<RunSpec, "sessionId" | "resumes">): SessionChoice {
  return { resume: resumes?.id ?? null, session: uuidOf(sessionId) };
}

/** What the agent's own session is called, should its program not come to say so. */
export function ownSession(spec: Pick<RunSpec, "sessionId" | "resumes">): string {
  const { resume, session } = sessionChoice(spec);
  return resume ?? session;
}

/** Always the same for a session of ours, so that nobody needs to remember it. */
function uuidOf(sessionId: string): string {
  const hex = createHash("sha256").update(sessionId).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** The configured command, or the preset's, and the agent's further arguments. Throws `BAD_CONFIG` where there is neither. */
export function commandTemplate(
  settings: Pick<AgentSettings, "command" | "preset" | "permissions" | "args">,
  model: string | null,
  { resume, session }: SessionChoice = ANY_SESSION,
): readonly [string, ...string[]] {
  const { command, preset, permissions, args } = settings;
  if (command === undefined && preset === undefined) throw bad('the agent has neither a "command" nor a "preset"');
  const [program, ...rest] =
    command ?? (preset === undefined ? [] : presetCommand(preset, { model, permissions, resume, session, args }));
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
