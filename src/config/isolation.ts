/** Which agents can be given a git worktree of their own for each task. */
import type { AgentSettings } from "./schema.ts";

/**
 * True where the daemon itself starts the program, on this machine: only then is there a moment before it in which a worktree can be made.
 */
export function canIsolate({ adapter, via }: Pick<AgentSettings, "adapter" | "via">): boolean {
  return adapter === "cli" || (adapter === "spawn" && (via === undefined || via === "process"));
}
