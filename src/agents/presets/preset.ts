/** What is known of a program that can be an agent. Command lines as they were seen to work with the versions of late 2026. */
import type { AgentSettings } from "../../config/schema.ts";
import type { OutputFormat } from "../output/formats.ts";

export type PresetName = NonNullable<AgentSettings["preset"]>;
export type Permissions = AgentSettings["permissions"];

export interface Preset {
  readonly program: string;
  /** The prompt always goes to its standard input: an argument holds 128 KiB at most. */
  readonly arguments: (choice: PresetChoice) => readonly string[];
  readonly output: OutputFormat;
  /** In its environment, unless the agent's own `env` says otherwise: no updates by itself, no minutes of retries that nobody sees. */
  readonly env: (permissions: Permissions) => Readonly<Record<string, string>>;
  /** Where its sign-in usually is: files under the user's home, and variables of its environment. */
  readonly credentials: { readonly files: readonly string[]; readonly variables: readonly string[] };
}

export interface PresetChoice {
  /** `null`: the program's own default. */
  readonly model: string | null;
  readonly permissions: Permissions;
  /** The program's own session to go on with. */
  readonly resume: string | null;
  /** What a new session of its own is to be called, where the program lets others choose: a UUID. */
  readonly session: string;
  /** Further arguments of the user's own. */
  readonly args: readonly string[];
}

/** A flag with its value, or nothing. */
export function flag(name: string, value: string | null): readonly string[] {
  return value === null ? [] : [name, value];
}
