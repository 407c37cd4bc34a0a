/** What an agent's preset says of it, where its own settings say nothing. */
import type { AgentSettings } from "../config/schema.ts";
import type { OutputFormat } from "./output/formats.ts";
import { PRESETS } from "./presets/presets.ts";

/** How its output is read. A command of the user's own prints what it likes, unless he says otherwise. */
export function outputOf({
  output,
  preset,
  command,
}: Pick<AgentSettings, "output" | "preset" | "command">): OutputFormat {
  if (output !== undefined) return output;
  return preset === undefined || command !== undefined ? "text" : PRESETS[preset].output;
}

/** What its environment is to hold: the preset's, below the agent's own. */
export function environmentOf({
  preset,
  env,
  permissions,
}: Pick<AgentSettings, "preset" | "env" | "permissions">): Readonly<Record<string, string>> {
  return preset === undefined ? env : { ...PRESETS[preset].env(permissions), ...env };
}
