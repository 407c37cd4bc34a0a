/** opencode. */
import { flag, type Permissions, type Preset } from "./preset.ts";

export const opencode: Preset = {
  program: "opencode",
  arguments: ({ model, permissions, resume, args }) => [
    "run",
    "--format",
    "json",
    ...flag("-m", model),
    ...PERMISSIONS[permissions],
    ...flag("-s", resume),
    ...args,
  ],
  output: "opencode",
  env: { OPENCODE_DISABLE_AUTOUPDATE: "1" },
  credentials: {
    files: [".local/share/opencode/auth.json"],
    variables: ["ANTHROPIC_API_KEY", "OPENAI_API_KEY", "GEMINI_API_KEY", "OPENCODE_CONFIG_CONTENT"],
  },
};

/** By itself it edits and runs what it likes inside its folder, and refuses what lies outside; `--auto` allows that too. */
const PERMISSIONS: Readonly<Record<Permissions, readonly string[]>> = {
  read: ["--agent", "plan"],
  edit: [],
  work: [],
  full: ["--auto"],
};
