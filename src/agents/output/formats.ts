/** The formats of output that are known, each with what reads a line of it. */
import { understandClaude } from "./claude.ts";
import { understandCodex } from "./codex.ts";
import { readCopilotUsage, understandCopilot } from "./copilot.ts";
import { understandGemini } from "./gemini.ts";
import { understandOpencode } from "./opencode.ts";
import type { Fields, Said, Understand } from "./said.ts";
import type { KnownExits } from "./trouble.ts";

/** `text`: whatever a program prints is its result. All others are lines of JSON. */
export const OUTPUT_FORMATS = ["text", "claude", "gemini", "copilot", "codex", "opencode"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];

export interface LineFormat {
  readonly understand: Understand;
  /** Where what was used stands in a file of its own. */
  readonly readUsage?: (file: Fields) => readonly Said[];
  /** Its program is told what to call its own session, and says so at its end only. */
  readonly takesSessionId?: true;
  /** What its exit statuses mean, beside 0. */
  readonly exits?: KnownExits;
}

/** `null` for plain text. */
export function lineFormat(format: OutputFormat): LineFormat | null {
  return format === "text" ? null : LINE_FORMATS[format];
}

export function isOutputFormat(value: unknown): value is OutputFormat {
  return OUTPUT_FORMATS.some((format) => format === value);
}

const LINE_FORMATS: Readonly<Record<Exclude<OutputFormat, "text">, LineFormat>> = {
  claude: { understand: understandClaude },
  // An HTTP status is its exit status too, as far as that holds it: 401 becomes 145.
  gemini: {
    understand: understandGemini,
    exits: { 41: "auth", 42: "bad_config", 53: "max_turns", 145: "auth", 173: "rate_limit" },
  },
  copilot: { understand: understandCopilot, readUsage: readCopilotUsage, takesSessionId: true },
  codex: { understand: understandCodex },
  opencode: { understand: understandOpencode },
};
