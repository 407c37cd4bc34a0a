/** GitHub Copilot CLI. */
import { flag, type Permissions, type Preset } from "./preset.ts";

export const copilot: Preset = {
  program: "copilot",
  arguments: ({ model, permissions, resume, session, args }) => [
    ...flag("--model", model),
    "--output-format",
    "json",
    "--no-ask-user",
    "--no-auto-update",
    "--no-color",
    "--usage-output-file",
    "{usageFile}",
    ...PERMISSIONS[permissions],
    // It tells its session's id at its very end only: whoever may have to go on without that end gives it one.
    ...(resume === null ? ["--session-id", session] : [`--resume=${resume}`]),
    ...args,
  ],
  output: "copilot",
  env: () => ({ COPILOT_AUTO_UPDATE: "false" }),
  credentials: {
    files: [".copilot/config.json", ".config/github-copilot/hosts.json", ".config/gh/hosts.yml"],
    variables: ["COPILOT_GITHUB_TOKEN", "GH_TOKEN", "GITHUB_TOKEN", "COPILOT_PROVIDER_API_KEY"],
  },
};

/** What is not allowed is refused, since nobody is there to be asked. */
const PERMISSIONS: Readonly<Record<Permissions, readonly string[]>> = {
  read: ["--allow-all-tools", "--available-tools", "view,grep,glob"],
  edit: ["--allow-tool", "write"],
  work: ["--allow-all-tools"],
  full: ["--allow-all"],
};
