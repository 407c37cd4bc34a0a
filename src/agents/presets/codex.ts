/** OpenAI's Codex. */
import { flag, type Permissions, type Preset } from "./preset.ts";

export const codex: Preset = {
  program: "codex",
  arguments: ({ model, permissions, resume, args }) => [
    "exec",
    "--json",
    "--skip-git-repo-check",
    ...SANDBOX[permissions],
    ...flag("-m", model),
    ...args,
    // The prompt comes on standard input.
    ...(resume === null ? ["-"] : ["resume", resume, "-"]),
  ],
  output: "codex",
  env: () => ({}),
  credentials: { files: [".codex/auth.json"], variables: ["OPENAI_API_KEY", "CODEX_API_KEY"] },
};

/** Its sandbox lets tools reach no network, not even this machine's, unless told so: a callback and a download need it. */
const SANDBOX: Readonly<Record<Permissions, readonly string[]>> = {
  read: ["-s", "read-only"],
  edit: ["-s", "workspace-write"],
  work: ["-s", "workspace-write", "-c", "sandbox_workspace_write.network_access=true"],
  full: ["--dangerously-bypass-approvals-and-sandbox"],
};
