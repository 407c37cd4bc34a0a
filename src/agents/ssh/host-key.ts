/** Whether a host is the one that is meant: its key must be in known_hosts, and a refusal says what to do. */
import { readFile } from "node:fs/promises";
import type { ConnectConfig } from "ssh2";
import { AgentProblem } from "../agent-problem.ts";
import { expandHome } from "../paths.ts";
import {
  fingerprint,
  hostKeyAlgorithms,
  hostName,
  judgeHostKey,
  type KnownHost,
  keyType,
  parseKnownHosts,
} from "./known-hosts.ts";
import type { SshTarget } from "./target.ts";

export interface HostKeyCheck {
  readonly options: Pick<ConnectConfig, "hostVerifier" | "algorithms">;
  /** Why the key was refused, once it was. */
  readonly problem: () => AgentProblem | null;
}

export async function checkHostKey(target: SshTarget): Promise<HostKeyCheck> {
  const entries = parseKnownHosts(await readKnownHosts(target));
  const algorithms = hostKeyAlgorithms(entries, target.host, target.port);
  let problem: AgentProblem | null = null;
  const hostVerifier = (key: Buffer): boolean => {
    problem = refusal(target, entries, key);
    return problem === null;
  };
  // With no key on record the host may show any: it is refused, but its fingerprint can be told.
  const options =
    algorithms.length === 0 ? { hostVerifier } : { hostVerifier, algorithms: { serverHostKey: algorithms } };
  return { options, problem: () => problem };
}

async function readKnownHosts(target: SshTarget): Promise<string> {
  try {
    return await readFile(expandHome(target.knownHostsFile), "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "";
    throw new AgentProblem("BAD_CONFIG", `ssh.knownHostsFile ${target.knownHostsFile} cannot be read`, {
      cause: error,
    });
  }
}

function refusal(target: SshTarget, entries: readonly KnownHost[], key: Buffer): AgentProblem | null {
  const verdict = judgeHostKey(entries, target.host, target.port, key);
  const shown = `${keyType(key)} ${fingerprint(key)}`;
  const name = hostName(target.host, target.port);
  const file = target.knownHostsFile;
  switch (verdict.status) {
    case "known":
      return null;
    case "unknown":
      return new AgentProblem(
        "HOST_KEY_UNKNOWN",
        `the host key of ${name} is not in ${file}. It shows ${shown}: compare that with the host itself ` +
          `(there: ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub, or the key of that type), then: ${keyscan(target)}`,
      );
    case "revoked":
      return new AgentProblem(
        "HOST_KEY_CHANGED",
        `${name} shows a host key that line ${verdict.line} of ${file} marks as revoked (${shown}): it must not be trusted`,
      );
    case "changed":
      return new AgentProblem(
        "HOST_KEY_CHANGED",
        `the host key of ${name} has CHANGED: it shows ${shown}, and line ${verdict.line} of ${file} has another one. Either the host was ` +
          "set up anew, or somebody stands between. Only if you know why, and the fingerprint is the host's own: " +
          `ssh-keygen -R '${name}' -f ${file} && ${keyscan(target)}`,
      );
  }
}

/** The line that puts a host's keys on record. */
export function keyscan({ host, port, knownHostsFile }: SshTarget): string {
  return `ssh-keyscan -p ${port} ${host} >> ${knownHostsFile}`;
}
