/** SIGHUP: the settings read again, and what of them can change while the daemon runs. */
import { isDeepStrictEqual } from "node:util";
import { ConfigError } from "./config-error.ts";
import { checkExposure } from "./exposure.ts";
import { loadConfig } from "./load.ts";
import type { Config } from "./schema.ts";
import type { ConfigSources } from "./sources.ts";

export type Reloaded =
  | {
      /** What holds from now on: all that is new but what needs a restart. Frozen. */
      readonly config: Config;
      /** The paths of the keys that changed and hold now; a token's path, never its value. */
      readonly changed: readonly string[];
      /** The paths of the keys that changed and wait for a restart. */
      readonly restart: readonly string[];
      readonly warnings: readonly string[];
    }
  | { readonly error: ConfigError };

/** Where the daemon listens and keeps its data is settled at its start. */
const FIXED_KEYS = ["server", "dataDirectory", "configFile", "historyDays"] as const;

/** Reads the same sources again; with anything wrong in them, `error` says what, and `current` goes on to hold. */
export function reloadConfig(current: Config, sources: ConfigSources): Reloaded {
  try {
    const { config: fresh, warnings } = loadConfig(sources);
    const { server, dataDirectory, configFile, historyDays } = current;
    const config = Object.freeze({ ...fresh, server, dataDirectory, configFile, historyDays });
    const exposed = checkExposure(config);
    if (exposed !== null) throw new ConfigError([exposed]);
    const all = changedPaths(current, fresh, "");
    const restart = all.filter(needsRestart);
    return { config, changed: all.filter((path) => !needsRestart(path)), restart, warnings };
  } catch (error) {
    if (error instanceof ConfigError) return { error };
    throw error;
  }
}

function needsRestart(path: string): boolean {
  return FIXED_KEYS.some((key) => path === key || path.startsWith(`${key}.`));
}

/** The deepest keys that differ; an object that is new or gone counts as one. */
function changedPaths(before: unknown, after: unknown, path: string): string[] {
  if (!isObject(before) || !isObject(after)) return isDeepStrictEqual(before, after) ? [] : [path];
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].flatMap((key) => changedPaths(before[key], after[key], path === "" ? key : `${path}.${key}`));
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
