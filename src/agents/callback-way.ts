/** How an agent can tell what became of its task, if it is to tell at all. */
import type { AgentSettings } from "../config/schema.ts";

/**
 * True when the prompt is to say how to report: where the agent's `callback` says so (default: where a gateway starts it, by heartbeat or
 * by our call, since elsewhere the exit tells), and never on another machine that could not reach this daemon anyway.
 */
export function wantsCallback(
  settings: Pick<AgentSettings, "adapter" | "via" | "callback" | "openclaw">,
  publicUrl: string,
): boolean {
  const wanted = settings.callback ?? hasNoEnvironment(settings);
  return wanted && !(isElsewhere(settings) && isLoopback(publicUrl));
}

/** True when the prompt is all that the agent gets, so that URL and token of the callback must stand in it. */
export function hasNoEnvironment({ adapter, via }: Pick<AgentSettings, "adapter" | "via">): boolean {
  return adapter === "spawn" && (via === "heartbeat" || via === "openclaw");
}

function isElsewhere({ adapter, via, openclaw }: Pick<AgentSettings, "adapter" | "via" | "openclaw">): boolean {
  if (adapter === "ssh") return true;
  return adapter === "spawn" && via === "openclaw" && openclaw !== undefined && !isLoopback(openclaw.url);
}

/** True for a URL that leads to this very machine only. */
export function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127\.\d+\.\d+\.\d+$/.test(hostname)
  );
}
