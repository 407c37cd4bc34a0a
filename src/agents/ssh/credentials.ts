/** How the daemon proves to a host who it is: a private key file, or the SSH agent. */
import { readFile } from "node:fs/promises";
import type { ConnectConfig } from "ssh2";
import { AgentProblem } from "../agent-problem.ts";
import { expandHome } from "../paths.ts";
import { type SshTarget, targetName } from "./target.ts";

export type Credentials = Pick<ConnectConfig, "privateKey" | "passphrase" | "agent">;

/** `agentSocket`: SSH_AUTH_SOCK. Throws `BAD_CONFIG` where there is nothing to prove it with. */
export async function readCredentials(target: SshTarget, agentSocket: string | undefined): Promise<Credentials> {
  if (target.privateKeyFile === undefined) {
    if (agentSocket) return { agent: agentSocket };
    throw new AgentProblem("BAD_CONFIG", noKey(target));
  }
  const privateKey = await readSecret(target.privateKeyFile, "ssh.privateKeyFile");
  if (target.passphraseFile === undefined) return { privateKey };
  const passphrase = await readSecret(target.passphraseFile, "ssh.passphraseFile");
  return { privateKey, passphrase: passphrase.replace(/\r?\n$/, "") };
}

export function noKey(target: SshTarget): string {
  return `there is no key for ${targetName(target)}: set ssh.privateKeyFile, or start the daemon where SSH_AUTH_SOCK leads to an SSH agent`;
}

/** What is wrong with a key that ssh2 could not read, in its words `why`. */
export function keyProblem(target: SshTarget, why: string): string {
  const key = `ssh.privateKeyFile ${target.privateKeyFile}`;
  if (/no passphrase/i.test(why))
    return `${key} is encrypted: put its passphrase into a file and name that in ssh.passphraseFile`;
  if (/bad passphrase|integrity|bad decrypt/i.test(why))
    return `${key} cannot be opened with the passphrase in ${target.passphraseFile}`;
  return `${key} is no private key that can be used: ${why}`;
}

async function readSecret(path: string, setting: string): Promise<string> {
  try {
    return await readFile(expandHome(path), "utf8");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    throw new AgentProblem("BAD_CONFIG", `${setting} ${path} cannot be read (${code})`, { cause: error });
  }
}
