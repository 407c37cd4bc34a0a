/** One SSH connection: verified host, authenticated user, kept alive, with a limited number of channels. */
import type { Client, ClientChannel, ConnectConfig } from "ssh2";
import { AgentProblem, hostWords } from "../agent-problem.ts";
import { keyProblem, readCredentials } from "./credentials.ts";
import { checkHostKey, keyscan } from "./host-key.ts";
import { hostName } from "./known-hosts.ts";
import { type SshTarget, targetName } from "./target.ts";

/** Keepalives that may be unanswered when the next one is due: after three of their intervals the link is dead. */
const KEEPALIVES_MAX = 2;

export class SshConnection {
  readonly #client: Client;
  readonly #target: SshTarget;
  #inUse = 0;
  #channelsMax: number;
  #isOpen = true;

  private constructor(client: Client, target: SshTarget) {
    this.#client = client;
    this.#target = target;
    this.#channelsMax = target.maxSessionsPerConnection;
  }

  /**
   * Connects. `onClose` is called once when the connection is gone, however that came. Throws an `AgentProblem`.
   * `agentSocket`: the SSH agent's (SSH_AUTH_SOCK).
   */
  static async open(target: SshTarget, agentSocket: string | undefined, onClose: () => void): Promise<SshConnection> {
    // Loaded with the first connection: a daemon without ssh agents does without it.
    const { default: ssh2 } = await import("ssh2");
    const client = new ssh2.Client();
    const hostKey = await checkHostKey(target);
    const credentials = await readCredentials(target, agentSocket);
    const connection = new SshConnection(client, target);
    let isReady = false;
    client.once("close", () => {
      connection.#isOpen = false;
      if (isReady) onClose();
    });
    await connect(client, target, { ...credentials, ...hostKey.options }, hostKey.problem);
    isReady = true;
    return connection;
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  get hasRoom(): boolean {
    return this.#isOpen && this.#inUse < this.#channelsMax;
  }

  /**
   * Starts a command on the host; `onFree` is called when its channel is gone. `null` when the host lets this connection have no
   * further channel: its MaxSessions is lower than what the config says, and from now on so is `hasRoom`.
   */
  async exec(command: string, onFree: () => void): Promise<ClientChannel | null> {
    this.#inUse += 1;
    const free = () => {
      this.#inUse -= 1;
      onFree();
    };
    return new Promise((resolve, reject) => {
      const fail = (error: Error & { reason?: unknown }) => {
        free();
        // 1: administratively prohibited, 2: connect failed. OpenSSH answers so when MaxSessions is reached.
        if (this.#isOpen && (error.reason === 1 || error.reason === 2)) {
          this.#channelsMax = Math.max(1, this.#inUse);
          // The host still counts a channel that is gone for us. Nothing is lost with this connection.
          if (this.#inUse === 0) this.close();
          resolve(null);
        } else {
          reject(
            new AgentProblem(
              "HOST_UNREACHABLE",
              `${targetName(this.#target)} took no command: ${hostWords(error.message)}`,
            ),
          );
        }
      };
      try {
        this.#client.exec(command, (error, channel) => {
          if (error !== undefined) return fail(error);
          channel.once("close", free);
          resolve(channel);
        });
      } catch (error) {
        fail(error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  close(): void {
    this.#isOpen = false;
    this.#client.end();
    this.#client.destroy();
  }
}

async function connect(
  client: Client,
  target: SshTarget,
  options: ConnectConfig,
  hostKeyProblem: () => AgentProblem | null,
): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    let agentProblem: string | null = null;
    const fail = (error: Error & { level?: string }) => {
      // The SSH agent did not answer; what comes next tells whether that matters.
      if (error.level === "agent") agentProblem = error.message;
      else reject(hostKeyProblem() ?? toProblem(target, error, agentProblem));
    };
    // Stays: after the connection is up an error is followed by "close", which is what counts.
    client.on("error", fail);
    client.once("ready", resolve);
    client.once("close", () => fail(new Error("the host closed the connection")));
    try {
      client.connect({
        host: target.host,
        port: target.port,
        username: target.username,
        readyTimeout: target.connectTimeoutMs,
        keepaliveInterval: target.keepaliveMs,
        keepaliveCountMax: KEEPALIVES_MAX,
        ...options,
      });
    } catch (error) {
      // A private key that cannot be read as one.
      const why = error instanceof Error ? error.message : String(error);
      reject(new AgentProblem("BAD_CONFIG", keyProblem(target, why), { cause: error }));
    }
  }).catch((error: unknown) => {
    client.destroy();
    throw error;
  });
}

function toProblem(target: SshTarget, error: Error & { level?: string }, agentProblem: string | null): AgentProblem {
  const name = targetName(target);
  if (error.level === "client-authentication") {
    const with_ = target.privateKeyFile === undefined ? "any key of the SSH agent" : `the key ${target.privateKeyFile}`;
    const also = agentProblem === null ? "" : ` (the SSH agent: ${agentProblem})`;
    return new AgentProblem(
      "AUTHENTICATION_FAILED",
      `${name} does not accept ${with_}${also}: add the public key to ~/.ssh/authorized_keys there, or mend ssh.username or ssh.privateKeyFile`,
    );
  }
  if (/no matching host key/i.test(error.message)) {
    return new AgentProblem(
      "HOST_KEY_CHANGED",
      `${hostName(target.host, target.port)} has no host key of a type that ${target.knownHostsFile} knows of it. Compare its fingerprint with ` +
        `the host itself, then: ${keyscan(target)}`,
    );
  }
  return new AgentProblem("HOST_UNREACHABLE", `${name} cannot be reached: ${hostWords(error.message)}`, {
    cause: error,
  });
}
