/** The connections to one host: as few as its channels need, each command on one that has room. */
import type { ClientChannel } from "ssh2";
import { AgentProblem } from "../agent-problem.ts";
import { SshConnection } from "./connection.ts";
import { type SshTarget, targetName } from "./target.ts";

/** Together with `maxSessionsPerConnection` the bound of what is under way at once; more waits. */
const CONNECTIONS_MAX = 4;
/** Of one command, by hosts that allow fewer sessions than we thought. */
const REFUSALS_MAX = 10;

export class SshPool {
  readonly #target: SshTarget;
  readonly #agentSocket: string | undefined;
  readonly #connections = new Set<SshConnection>();
  readonly #waiting: (() => void)[] = [];
  #opening: Promise<void> | null = null;
  #isClosed = false;

  constructor(target: SshTarget, agentSocket: string | undefined) {
    this.#target = target;
    this.#agentSocket = agentSocket;
  }

  /** Starts a command on the host, as soon as there is room for it. Throws an `AgentProblem`. */
  async exec(command: string): Promise<ClientChannel> {
    for (let refusals = 0; refusals <= REFUSALS_MAX; ) {
      if (this.#isClosed) break;
      const connection = [...this.#connections].find(({ hasRoom }) => hasRoom);
      if (connection !== undefined) {
        const channel = await connection.exec(command, () => this.#wake());
        if (channel !== null) return channel;
        refusals += 1;
      } else if (this.#opening !== null || this.#connections.size < CONNECTIONS_MAX) {
        await this.#open();
      } else {
        await new Promise<void>((resolve) => this.#waiting.push(resolve));
      }
    }
    const why = this.#isClosed ? "the connection was closed" : "it allows no session";
    throw new AgentProblem("HOST_UNREACHABLE", `${targetName(this.#target)} took no command: ${why}`);
  }

  /** Ends all connections; what runs on the host goes on. The next command connects again. */
  disconnect(): void {
    for (const connection of this.#connections) connection.close();
  }

  /** As `disconnect`, for good. */
  close(): void {
    this.#isClosed = true;
    this.disconnect();
    this.#wake();
  }

  /** One at a time: whoever comes meanwhile may find room on the one that is being opened. */
  async #open(): Promise<void> {
    this.#opening ??= this.#connect().finally(() => {
      this.#opening = null;
    });
    await this.#opening;
  }

  async #connect(): Promise<void> {
    const connection = await SshConnection.open(this.#target, this.#agentSocket, () => {
      this.#connections.delete(connection);
      this.#wake();
    });
    if (this.#isClosed) connection.close();
    else if (connection.isOpen) this.#connections.add(connection);
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}
