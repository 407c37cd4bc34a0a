/** Gemini CLI. */
import { flag, type Permissions, type Preset } from "./preset.ts";

export const gemini: Preset = {
  program: "gemini",
  arguments: ({ model, permissions, resume, args }) => [
    ...flag("-m", model),
    "-o",
    "stream-json",
    "--approval-mode",
    APPROVAL[permissions],
    // A folder that it does not know would put it back to asking, which means refusing here.
    "--skip-trust",
    ...flag("--resume", resume),
    ...args,
  ],
  output: "gemini",
  // One process instead of two: the first does not pass signals on.
  env: () => ({ GEMINI_CLI_NO_RELAUNCH: "true" }),
  credentials: {
    files: [".gemini/oauth_creds.json", ".gemini/gemini-credentials.json"],
    variables: ["GEMINI_API_KEY", "GOOGLE_API_KEY", "GOOGLE_APPLICATION_CREDENTIALS"],
  },
};

/** Below `yolo` it is offered no shell at all. */
const APPROVAL: Readonly<Record<Permissions, string>> = {
  read: "plan",
  edit: "auto_edit",
  work: "yolo",
  full: "yolo",
};
