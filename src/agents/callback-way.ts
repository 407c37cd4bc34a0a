/** How an agent can tell what became of its task, if it is to tell at all. */
import type { AgentSettings } from "../config/schema.ts";

/**
 * True when the prompt is to say how to report: where the agent's `callback` says so (default: only what is handed out by heartbeat,
 * since elsewhere the exit tells), and never on an SSH host that could not reach this daemon anyway.
 */
export function wantsCallback(
  settings: Pick<AgentSettings, "adapter" | "via" | "callback">,
  publicUrl: string,
): boolean {
  const wanted = settings.callback ?? (settings.adapter === "spawn" && settings.via === "heartbeat");
  return wanted && !(settings.adapter === "ssh" && isLoopback(publicUrl));
}

function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127\.\d+\.\d+\.\d+$/.test(hostname)
  );
}
