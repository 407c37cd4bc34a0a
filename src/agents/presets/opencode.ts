/** opencode. */
import { flag, type Permissions, type Preset } from "./preset.ts";

export const opencode: Preset = {
  program: "opencode",
  arguments: ({ model, permissions, resume, args }) => [
    "run",
    "--format",
    "json",
    ...flag("-m", model),
    ...(permissions === "full" ? ["--auto"] : []),
    ...flag("-s", resume),
    ...args,
  ],
  output: "opencode",
  env: (permissions) => ({ OPENCODE_DISABLE_AUTOUPDATE: "1", ...REFUSED[permissions] }),
  credentials: {
    files: [".local/share/opencode/auth.json"],
    variables: ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENCODE_CONFIG_CONTENT"],
  },
};

/**
 * By itself it edits and runs what it likes inside its folder, and refuses what lies outside; `--auto` allows that too. (Its agent
 * "plan" still runs commands.)
 */
const REFUSED: Readonly<Record<Permissions, Readonly<Record<string, string>>>> = {
  read: { OPENCODE_PERMISSION: '{"edit":"deny","bash":"deny"}' },
  edit: { OPENCODE_PERMISSION: '{"bash":"deny"}' },
  work: {},
  full: {},
};
