/** File, environment and flags → one frozen Config, or everything that is wrong with them. */
import { readFileSync, statSync } from "node:fs";
import { applyDefaults } from "./apply-defaults.ts";
import { checkAgainst } from "./check-settings.ts";
import { ConfigError, type ConfigProblem } from "./config-error.ts";
import { crossCheck } from "./cross-check.ts";
import { BUILT_IN_AGENTS } from "./defaults.ts";
import { urlOf } from "./exposure.ts";
import { parseJson } from "./json-text.ts";
import { type Overrides, readOverrides } from "./overrides.ts";
import { type AgentSettings, type Config, Settings } from "./schema.ts";
import { type ConfigSources, findPlaces, type Places } from "./sources.ts";
import { readToken } from "./token.ts";

export interface LoadedConfig {
  /** Frozen through and through. */
  readonly config: Config;
  /** What is allowed but probably not meant. */
  readonly warnings: readonly string[];
}

/**
 * Reads the config file, then what environment and flags say over it. Throws `ConfigError` with all problems at once.
 * Whether the host may be listened on without a token is a question for who listens: see `checkExposure`.
 */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const places = findPlaces(sources);
  const token = readToken(sources, places);
  const { settings, overrides, warnings } = loadSettings(sources, token.problems);
  const crossed = crossCheck(settings);
  if (crossed.problems.length > 0) throw new ConfigError(crossed.problems);

  const config: Config = {
    ...settings,
    server: withPublicUrl(settings.server),
    humans: [...new Set(settings.humans)],
    agents: enabledAgents(settings.agents),
    dataDirectory: places.dataDirectory,
    configFile: places.configFile,
    logLevel: overrides.logLevel ?? "info",
    token: token.token,
  };
  return { config: deepFreeze(config), warnings: [...warnings, ...token.warnings, ...crossed.warnings] };
}

export interface LoadedSettings {
  /** Complete and by the schema; agents that are switched off are still among them. */
  readonly settings: Settings;
  readonly overrides: Overrides;
  readonly warnings: readonly string[];
}

/** The part of `loadConfig` that needs no secrets. Throws `ConfigError` with `known` and its own problems. */
export function loadSettings(sources: ConfigSources, known: readonly ConfigProblem[] = []): LoadedSettings {
  const { overrides, problems, warnings } = readOverrides(sources);
  const file = readConfigFile(findPlaces(sources));
  const checked = file.ok ? checkAgainst(Settings, applyDefaults(Settings, withAgents(file.value))) : file;
  const all = [...(checked.ok ? [] : checked.problems), ...problems, ...known];
  if (!checked.ok || all.length > 0) throw new ConfigError(all);

  const { host, port } = overrides;
  const { server } = checked.value;
  const settings = { ...checked.value, server: { ...server, host: host ?? server.host, port: port ?? server.port } };
  return { settings, overrides, warnings };
}

type FileContent =
  | { readonly ok: true; readonly value: unknown }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

const FILE_BYTES_MAX = 1024 * 1024;

function readConfigFile(places: Places): FileContent {
  const { configFile: path, configNamedBy } = places;
  let text: string;
  try {
    if (statSync(path).size > FILE_BYTES_MAX) return bad(path, "more than 1 MiB", "a config file");
    text = readFileSync(path, "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : String(error);
    if (code === "ENOENT" && configNamedBy === null) return { ok: true, value: {} };
    const found =
      code === "ENOENT" ? `no such file, though ${configNamedBy} names it` : `a file that cannot be read (${code})`;
    return bad(path, found, "a readable JSON file");
  }
  const parsed = parseJson(text);
  return parsed.ok ? parsed : bad(`${path}, line ${parsed.line}, column ${parsed.column}`, parsed.found, parsed.wanted);
}

function bad(path: string, found: string, wanted: string): FileContent {
  return { ok: false, problems: [{ path, found, wanted }] };
}

/**
 * The built-in agents below the file's. An agent that the file only switches off need not say how it would be reached.
 */
function withAgents(file: unknown): unknown {
  if (!isObject(file)) return file;
  const agents = file.agents ?? {};
  if (!isObject(agents) || file.agents === null) return file;
  const written = Object.entries(agents).map(([name, agent]) => [
    name,
    isObject(agent) && agent.enabled === false ? { adapter: "cli", ...agent } : agent,
  ]);
  return { ...file, agents: { ...BUILT_IN_AGENTS, ...Object.fromEntries(written) } };
}

/** Without those that are switched off; without a prototype, so that a task's assignee can be looked up as it is. */
function enabledAgents(agents: Settings["agents"]): Settings["agents"] {
  const enabled: Record<string, AgentSettings> = Object.create(null);
  for (const [name, agent] of Object.entries(agents)) {
    if (agent.enabled) enabled[name] = agent.adapter === "spawn" ? { ...agent, via: agent.via ?? "process" } : agent;
  }
  return enabled;
}

/** Port 0 has no URL before the daemon listens. */
function withPublicUrl(server: Settings["server"]): Settings["server"] {
  if (server.publicUrl !== undefined) return { ...server, publicUrl: server.publicUrl.replace(/\/+$/, "") };
  return server.port === 0 ? server : { ...server, publicUrl: urlOf(server.host, server.port) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function deepFreeze<T>(value: T): T {
  if (typeof value === "object" && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const part of Object.values(value)) deepFreeze(part);
  }
  return value;
}
