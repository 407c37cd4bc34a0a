/** The agents that a first start shows: the mission's table, as data. */
import type { AgentSettings, SshSettings } from "./schema.ts";

/** An agent as a person writes it down: what has a default may be left out. */
export type WrittenAgent = Pick<AgentSettings, "adapter"> &
  Partial<Omit<AgentSettings, "ssh">> & { readonly ssh?: Pick<SshSettings, "host"> & Partial<SshSettings> };

/** An agent of the same name in the config file replaces its entry here entirely. */
export const BUILT_IN_AGENTS: Readonly<Record<string, WrittenAgent>> = {
  gemini: {
    adapter: "ssh",
    model: "gemini-2.5-pro",
    costMultiplier: 1,
    maxConcurrent: 2,
    bestFor: ["research", "planning", "summaries"],
    preset: "gemini",
    ssh: {
      host: "mac",
      port: 22,
      username: "diego",
      privateKeyFile: "~/.ssh/id_ed25519",
      knownHostsFile: "~/.ssh/known_hosts",
    },
  },
  claude: {
    adapter: "spawn",
    via: "heartbeat",
    model: "sonnet",
    costMultiplier: 3,
    maxConcurrent: 3,
    bestFor: ["coding", "analysis", "writing"],
  },
  copilot: {
    adapter: "cli",
    model: "gpt-4",
    costMultiplier: 2,
    maxConcurrent: 1,
    bestFor: ["git", "shell", "coding"],
    preset: "copilot",
  },
};

/** Someone who is listed with their model and cost, and never dispatched to. */
export interface ListedAgent {
  readonly model: string;
  readonly costMultiplier: number;
  readonly bestFor: readonly string[];
}

/** Jarvis itself: it dispatches, so nothing is dispatched to it. */
export const NOT_DISPATCHABLE_AGENTS: Readonly<Record<string, ListedAgent>> = {
  jarvis: { model: "claude-opus", costMultiplier: 10, bestFor: ["orchestration"] },
};
