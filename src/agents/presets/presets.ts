/** The known programs by the names that the config has for them. */
import { claude } from "./claude.ts";
import { codex } from "./codex.ts";
import { copilot } from "./copilot.ts";
import { gemini } from "./gemini.ts";
import { opencode } from "./opencode.ts";
import type { Preset, PresetName } from "./preset.ts";

export const PRESETS: Readonly<Record<PresetName, Preset>> = { claude, gemini, copilot, codex, opencode };
