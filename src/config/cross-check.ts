/** The rules that a schema cannot say: how settings must fit together. */
import type { ConfigProblem } from "./config-error.ts";
import { showKey } from "./config-error.ts";
import { isWildcardHost } from "./exposure.ts";
import { canIsolate } from "./isolation.ts";
import type { AgentSettings, Settings } from "./schema.ts";

export interface CrossChecked {
  readonly problems: readonly ConfigProblem[];
  readonly warnings: readonly string[];
}

/** `settings` is complete and follows the schema; agents that are not enabled are only checked for their names. */
export function crossCheck(settings: Settings): CrossChecked {
  const agents = Object.entries(settings.agents).filter(([, agent]) => agent.enabled);
  return {
    problems: [
      ...checkHumans(settings),
      ...checkVerifiers(settings),
      ...checkUrls(settings),
      ...agents.flatMap(([name, agent]) => [...checkName(name, settings), ...checkStart(name, agent)]),
    ],
    warnings: [
      ...agents.flatMap(([name, agent]) => [...warnUnused(name, agent), ...warnUnencrypted(name, agent)]),
      ...warnSettings(settings),
    ],
  };
}

function checkHumans(settings: Settings): ConfigProblem[] {
  const index = settings.humans.indexOf("auto");
  if (index < 0) return [];
  return [
    { path: `humans[${index}]`, found: '"auto"', wanted: 'another name ("auto" leaves the choice of the agent open)' },
  ];
}

/** What looks like a URL may be none: a port beyond 65535, for example. */
function checkUrls({ server, wake, agents }: Settings): ConfigProblem[] {
  const urls: readonly (readonly [path: string, url: string | undefined])[] = [
    ["server.publicUrl", server.publicUrl],
    ["wake.url", wake?.url],
    ...Object.entries(agents).map(
      ([name, agent]) => [`agents${showKey(name)}.openclaw.url`, agent.openclaw?.url] as const,
    ),
  ];
  return urls.flatMap(([path, url]) =>
    url === undefined || URL.canParse(url)
      ? []
      : [{ path, found: JSON.stringify(url), wanted: "a URL with a host and a port that exist" }],
  );
}

function checkVerifiers({ verifiers }: Settings): ConfigProblem[] {
  return Object.entries(verifiers)
    .filter(([, { command, files, changed }]) => command === undefined && files === undefined && changed === undefined)
    .map(([name]) => ({
      path: `verifiers${showKey(name)}`,
      found: "nothing to verify",
      wanted: 'a "command", "files" or "changed": true',
    }));
}

function checkName(name: string, settings: Settings): ConfigProblem[] {
  const path = `agents${showKey(name)}`;
  if (name === "auto")
    return [{ path, found: "the name auto", wanted: "another name (it leaves the choice of the agent open)" }];
  if (name in Object.prototype)
    return [{ path, found: `the name ${name}`, wanted: "another name (this one is reserved)" }];
  if (!settings.humans.includes(name)) return [];
  const wanted = `it in one of the two ("humans" without it, or "agents": {"${name}": {"enabled": false}})`;
  return [{ path, found: 'an agent that "humans" lists too', wanted }];
}

/** Every agent must have what starts it, and an agent on another host must say which. */
function checkStart(name: string, agent: AgentSettings): ConfigProblem[] {
  const path = `agents${showKey(name)}`;
  const problems: ConfigProblem[] = [];
  const atGateway = agent.adapter === "spawn" && (agent.via === "heartbeat" || agent.via === "openclaw");
  if (!atGateway && agent.command === undefined && agent.preset === undefined) {
    const wanted =
      agent.adapter === "spawn"
        ? '"via": "heartbeat" or "openclaw", a "command" or a "preset"'
        : 'a "command" or a "preset"';
    problems.push({ path, found: "nothing that starts it", wanted });
  }
  if (agent.adapter === "ssh" && agent.ssh === undefined) {
    problems.push({ path: `${path}.ssh`, found: "nothing", wanted: 'an object with at least "host"' });
  }
  if (agent.adapter !== "spawn" && agent.via !== undefined) {
    problems.push({ path: `${path}.via`, found: `"${agent.via}"`, wanted: `no such key: only "spawn" agents have it` });
  }
  if (agent.isolation === "worktree" && !canIsolate(agent)) {
    const how = agent.via === undefined ? agent.adapter : `${agent.adapter} via ${agent.via}`;
    problems.push({
      path: `${path}.isolation`,
      found: `"worktree" of an agent that is reached by ${how}`,
      wanted:
        '"none": worktrees are made for programs that are started on this machine ("cli", or "spawn" via process)',
    });
  }
  return problems;
}

function warnUnused(name: string, agent: AgentSettings): string[] {
  const atGateway = agent.via === "heartbeat" || agent.via === "openclaw";
  const isPreset = !atGateway && agent.preset !== undefined && agent.command === undefined;
  const unused = [
    agent.adapter !== "ssh" && agent.ssh !== undefined ? "ssh" : null,
    agent.via !== "openclaw" && agent.openclaw !== undefined ? "openclaw" : null,
    atGateway && agent.command !== undefined ? "command" : null,
    atGateway && agent.preset !== undefined ? "preset" : null,
    !atGateway && agent.agentId !== undefined ? "agentId" : null,
  ];
  const ofPresets = [
    agent.args.length > 0 ? "args" : null,
    agent.permissions !== "work" ? "permissions" : null,
    agent.resume ? "resume" : null,
  ];
  const why = (key: string, reason: string) => `agents${showKey(name)}.${key} is not used: ${reason}`;
  const way = `the agent is reached by ${agent.adapter}${atGateway ? ` via ${agent.via}` : ""}`;
  return [
    ...unused.filter((key) => key !== null).map((key) => why(key, way)),
    ...(isPreset ? [] : ofPresets)
      .filter((key) => key !== null)
      .map((key) => why(key, "only an agent that is started by its preset has it")),
  ];
}

/** The token of a gateway is its operator's. */
function warnUnencrypted(name: string, { via, openclaw }: AgentSettings): string[] {
  return via === "openclaw" ? warnUrl(`agents${showKey(name)}.openclaw.url`, openclaw?.url) : [];
}

function warnUrl(path: string, url: string | undefined): string[] {
  if (url === undefined || !url.startsWith("http://")) return [];
  const host = /^http:\/\/(\[[^\]]*\]|[^/:]*)/.exec(url)?.[1] ?? "";
  if (/^(localhost|\[::1\]|127\.[0-9.]+)$/.test(host)) return [];
  return [`${path} is not encrypted: its token can be read on the way to ${host}`];
}

function warnSettings(settings: Settings): string[] {
  const warnings: string[] = [...warnUrl("wake.url", settings.wake?.url)];
  if (settings.budgets.length > 0) warnings.push("budgets are configured but not enforced by this version");
  settings.budgets.forEach((budget, index) => {
    const name = /^agent:(.*)$/s.exec(budget.scope)?.[1];
    if (name === undefined || (Object.hasOwn(settings.agents, name) && settings.agents[name]?.enabled)) return;
    warnings.push(`budgets[${index}].scope names the agent "${name}", which is not configured`);
  });
  if (settings.retry.maxDelayMs < settings.retry.initialDelayMs) {
    warnings.push("retry.maxDelayMs is below retry.initialDelayMs: every retry waits retry.maxDelayMs");
  }
  if (isWildcardHost(settings.server.host) && settings.server.publicUrl === undefined) {
    warnings.push(
      `server.host is ${settings.server.host}, but server.publicUrl does not say by which name: callers from other machines are refused`,
    );
  }
  return warnings;
}
