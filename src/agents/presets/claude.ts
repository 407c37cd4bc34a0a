/** Claude Code. */
import { flag, type Permissions, type Preset } from "./preset.ts";

export const claude: Preset = {
  program: "claude",
  arguments: ({ model, permissions, resume, args }) => [
    "-p",
    "--output-format",
    "stream-json",
    // Without it, -p refuses stream-json.
    "--verbose",
    ...flag("--model", model),
    ...PERMISSIONS[permissions],
    ...flag("--resume", resume),
    ...args,
  ],
  output: "claude",
  env: () => ({
    DISABLE_AUTOUPDATER: "1",
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
    // By itself it would go on for three minutes, even where nobody is signed in.
    CLAUDE_CODE_MAX_RETRIES: "3",
  }),
  credentials: {
    files: [".claude/.credentials.json"],
    variables: ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"],
  },
};

/** `acceptEdits` alone lets some commands pass that change files. `full` is refused to the superuser. */
const PERMISSIONS: Readonly<Record<Permissions, readonly string[]>> = {
  read: ["--permission-mode", "dontAsk", "--disallowedTools", "Bash,Write,Edit,NotebookEdit"],
  edit: ["--permission-mode", "acceptEdits", "--disallowedTools", "Bash"],
  work: ["--permission-mode", "acceptEdits", "--allowedTools", "Bash"],
  full: ["--permission-mode", "bypassPermissions"],
};
