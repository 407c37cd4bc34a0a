/** The daemon's own code, which only `serve` and `repair` load. */
import type { Config } from "../config/schema.ts";
import type { ConfigSources } from "../config/sources.ts";

export interface Daemon {
  /** Runs until told to stop; resolves to the exit status. The sources are read again on SIGHUP. */
  serve(
    config: Config,
    more: { readonly sources: ConfigSources; readonly warnings: readonly string[] },
  ): Promise<number>;
  /** Rebuilds what is damaged in the data directory. */
  repairDirectory(config: Config): Promise<readonly RepairedFile[]>;
}

export interface RepairedFile {
  readonly file: string;
  readonly action: string;
  /** What could not be rebuilt, in words; `null` = nothing is missing. */
  readonly lost: string | null;
}

export function loadDaemon(): Promise<Daemon> {
  return import("../main.ts");
}
