/** Where settings come from besides the file, and the two places that must be known before the file can be read. */
import { homedir } from "node:os";
import path from "node:path";

/** What was given on the command line, as text. */
export interface ConfigFlags {
  readonly data?: string | undefined;
  readonly config?: string | undefined;
  readonly host?: string | undefined;
  readonly port?: string | undefined;
  readonly logLevel?: string | undefined;
  readonly tokenFile?: string | undefined;
}

export interface ConfigSources {
  readonly flags: ConfigFlags;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** What relative paths start from. */
  readonly cwd: string;
}

export interface Places {
  /** Absolute. */
  readonly dataDirectory: string;
  /** Absolute. */
  readonly configFile: string;
  /** The flag or variable that names the config file, which then must exist; `null` = it may be absent. */
  readonly configNamedBy: string | null;
}

/** The data directory and the config file: flag, else variable, else `./data` and the `config.json` in it. */
export function findPlaces(sources: ConfigSources): Places {
  const { flags } = sources;
  const dataDirectory = toAbsolute(flags.data ?? variable(sources, "JARVIS_DATA_DIR") ?? "data", sources);
  const named = flags.config ?? variable(sources, "JARVIS_CONFIG");
  return {
    dataDirectory,
    configFile: named === undefined ? path.join(dataDirectory, "config.json") : toAbsolute(named, sources),
    configNamedBy: named === undefined ? null : flags.config === undefined ? "JARVIS_CONFIG" : "--config",
  };
}

/** A variable's value; one that is set to nothing counts as absent, as service managers and compose files leave it. */
export function variable(sources: ConfigSources, name: string): string | undefined {
  const value = sources.env[name];
  return value === "" ? undefined : value;
}

/** An absolute path, `~` being the user's home. */
export function toAbsolute(file: string, sources: ConfigSources): string {
  if (file === "~" || file.startsWith("~/")) return path.join(sources.env.HOME ?? homedir(), file.slice(1));
  return path.resolve(sources.cwd, file);
}
