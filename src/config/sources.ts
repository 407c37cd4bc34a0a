/** Where settings come from besides the file, and the two places that must be known before the file can be read. */
import { statSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { ConfigError } from "./config-error.ts";

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
  /** Somebody said where; else it is whatever lies in `./data`, perhaps of a repository that was checked out here. */
  readonly areNamed: boolean;
}

/**
 * The data directory and the config file: flag, else variable, else `./data` and the `config.json` in it. Throws
 * `ConfigError` where nobody named them and the file is another user's: it says which programs are run.
 */
export function findPlaces(sources: ConfigSources): Places {
  const { flags } = sources;
  const directory = flags.data ?? variable(sources, "JARVIS_DATA_DIR");
  const dataDirectory = toAbsolute(directory ?? "data", sources);
  const named = flags.config ?? variable(sources, "JARVIS_CONFIG");
  const configFile = named === undefined ? path.join(dataDirectory, "config.json") : toAbsolute(named, sources);
  const areNamed = directory !== undefined || named !== undefined;
  if (!areNamed && isForeign(configFile)) {
    const found = "a file of another user, which nobody named";
    throw new ConfigError([{ path: configFile, found, wanted: "one of your own, or --data or --config to name it" }]);
  }
  return {
    dataDirectory,
    configFile,
    areNamed,
    configNamedBy: named === undefined ? null : flags.config === undefined ? "JARVIS_CONFIG" : "--config",
  };
}

/** Another user's who is not root; `false` where there is no such file, or no users. */
export function isForeign(file: string): boolean {
  const user = process.getuid?.();
  if (user === undefined) return false;
  const owner = statSync(file, { throwIfNoEntry: false })?.uid;
  return owner !== undefined && owner !== user && owner !== 0;
}

/** Where `serve` writes the URL that it listens at, `{ url, pid }`, for as long as it does. */
export function listeningFileOf(dataDirectory: string): string {
  return path.join(dataDirectory, "listening.json");
}

/** ", given by --host" and its like, for a problem with the setting; nothing where the config file gave it. */
export function givenBy(sources: ConfigSources, setting: "host" | "port"): string {
  if (sources.flags[setting] !== undefined) return `, given by --${setting}`;
  const name = `JARVIS_${setting.toUpperCase()}`;
  return variable(sources, name) === undefined ? "" : `, given by ${name}`;
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
