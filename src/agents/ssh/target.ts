/** Where an `ssh` agent lives, with everything that a connection to it needs. */
import { userInfo } from "node:os";
import type { SshSettings } from "../../config/schema.ts";
import { AgentProblem } from "../agent-problem.ts";

/** Goes into run.json, so that a run is found again when the config names another host by then. Nothing secret. */
export interface SshTarget extends SshSettings {
  readonly username: string;
}

/** Throws `BAD_CONFIG` for a run directory that could not stand in a command line as it is. */
export function sshTarget(settings: SshSettings): SshTarget {
  if (!isRemotePath(settings.runDirectory)) {
    throw new AgentProblem(
      "BAD_CONFIG",
      `ssh.runDirectory is ${JSON.stringify(settings.runDirectory)}: letters, digits and . _ - / only, since every login shell must read it alike`,
    );
  }
  return { ...settings, username: settings.username ?? userInfo().username };
}

/** True for what can stand in a command line as it is. */
export function isRemotePath(text: string): boolean {
  return /^[A-Za-z0-9._/][A-Za-z0-9._/-]*$/.test(text);
}

/** Agents with the same key share connections. */
export function targetKey(target: SshTarget): string {
  return JSON.stringify(Object.entries(target).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** For sentences: `user@host`, with the port where it is not 22. */
export function targetName({ username, host, port }: Pick<SshTarget, "username" | "host" | "port">): string {
  return `${username}@${host}${port === 22 ? "" : `:${port}`}`;
}
