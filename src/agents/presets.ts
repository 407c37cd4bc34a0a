/** Known programs: how each is run without a person, answering in plain text, with the prompt on its standard input. */
import { AgentProblem } from "./agent-problem.ts";

type Preset = (model: readonly string[]) => readonly [string, ...string[]];

/** Command lines as seen to work with the versions of late 2026. `model` is what follows the model's flag, or nothing. */
const PRESETS: Readonly<Record<string, { readonly modelFlag: string; readonly command: Preset }>> = {
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

/** Throws `BAD_CONFIG` for a name that is not known. */
export function presetCommand(name: string | undefined, model: string | null): readonly [string, ...string[]] {
  const preset = name !== undefined && Object.hasOwn(PRESETS, name) ? PRESETS[name] : undefined;
  if (preset === undefined) {
    const known = Object.keys(PRESETS).join(", ");
    throw new AgentProblem(
      "BAD_CONFIG",
      name === undefined
        ? 'the agent has neither a "command" nor a "preset"'
        : `there is no preset "${name}"; known: ${known}`,
    );
  }
  return preset.command(model === null ? [] : [preset.modelFlag, model]);
}
