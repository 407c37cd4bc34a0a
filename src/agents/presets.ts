/** Known programs: how each is run without a person, answering in plain text, with the prompt on its standard input. */
import type { AgentSettings } from "../config/schema.ts";

export type PresetName = NonNullable<AgentSettings["preset"]>;

interface Preset {
  readonly modelFlag: string;
  /** `model`: the flag and the model's name, or nothing. */
  readonly command: (model: readonly string[]) => readonly [string, ...string[]];
}

/** Command lines as seen to work with the versions of late 2026. */
const PRESETS: Readonly<Record<PresetName, Preset>> = {
  gemini: {
    modelFlag: "-m",
    command: (model) => ["gemini", ...model, "-o", "text", "--approval-mode", "yolo", "--skip-trust"],
  },
  copilot: {
    modelFlag: "--model",
    command: (model) => [
      "copilot",
      ...model,
      "-s",
      "--allow-all-tools",
      "--no-ask-user",
      "--no-auto-update",
      "--no-color",
    ],
  },
  claude: {
    modelFlag: "--model",
    command: (model) => [
      "claude",
      "-p",
      ...model,
      "--permission-mode",
      "acceptEdits",
      "--allowedTools",
      "Bash",
      "--output-format",
      "text",
    ],
  },
  codex: {
    modelFlag: "-m",
    // Its sandbox lets tools reach no network, not even this machine's, unless told so: a callback needs it.
    command: (model) => {
      const sandbox = ["-s", "workspace-write", "-c", "sandbox_workspace_write.network_access=true"];
      return ["codex", "exec", "--skip-git-repo-check", ...sandbox, ...model, "-"];
    },
  },
  opencode: {
    modelFlag: "-m",
    command: (model) => ["opencode", "run", ...model],
  },
};

export function presetCommand(name: PresetName, model: string | null): readonly [string, ...string[]] {
  const { modelFlag, command } = PRESETS[name];
  return command(model === null ? [] : [modelFlag, model]);
}
