/** What an agent's program finds in its environment: an allow-list, so that nothing of the daemon's own reaches it by accident. */
import type { AgentSettings } from "../config/schema.ts";
import { environmentOf } from "./known-program.ts";

/** Of the daemon's own environment. */
const PASSED_ON = ["PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR"];
/** The operator's, and nobody else's, whatever `envPass` says. */
const NEVER = new Set(["JARVIS_TOKEN", "JARVIS_TOKEN_FILE"]);

type EnvironmentSettings = Pick<AgentSettings, "preset" | "permissions" | "env" | "envPass">;
type Variables = Readonly<Record<string, string>>;

/** For a program on this machine. `own`: the run's JARVIS_* variables, which win over everything. */
export function localEnvironment(daemon: NodeJS.ProcessEnv, settings: EnvironmentSettings, own: Variables): Variables {
  return { ...pick(daemon, PASSED_ON), ...remoteEnvironment(daemon, settings, own) };
}

/** For a program on another host, which has its own PATH, HOME and so on: what is added to them. */
export function remoteEnvironment(daemon: NodeJS.ProcessEnv, settings: EnvironmentSettings, own: Variables): Variables {
  const chosen = settings.envPass.filter((name) => !NEVER.has(name));
  return withoutZeros({ ...pick(daemon, chosen), ...environmentOf(settings), ...own });
}

function pick(from: NodeJS.ProcessEnv, names: readonly string[]): Record<string, string> {
  const found = names.map((name) => [name, from[name]] as const);
  return Object.fromEntries(found.filter((entry): entry is readonly [string, string] => entry[1] !== undefined));
}

/** No variable can hold a zero byte. */
function withoutZeros(variables: Record<string, string>): Variables {
  return Object.fromEntries(Object.entries(variables).map(([name, value]) => [name, value.replaceAll("\0", "\uFFFD")]));
}
