/** A real OpenSSH server on loopback, with keys and a port of its own, run as the user who runs the tests. */
import { execFileSync, spawn } from "node:child_process";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import type { SshSettings } from "../../src/config/schema.ts";
import { until } from "./agents.ts";

/** Where distributions put it, which is on nobody's PATH. */
const SSHD = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd", "/opt/homebrew/sbin/sshd"].find(existsSync);

/** What tap's `skip` takes: false where sshd is there. In CI it has to be. */
export function skipWithoutSshd(): string | false {
  if (SSHD !== undefined) return false;
  if (process.env["CI"]) throw new Error("sshd is not installed, and in CI it must be: apt-get install openssh-server");
  return "sshd not installed";
}

export interface TestSshd {
  readonly directory: string;
  readonly port: number;
  /** An agent's `ssh` that works. */
  readonly settings: SshSettings;
  readonly userKeyFile: string;
  /** Of the host, in one line. */
  readonly hostKey: string;
  log(): string;
  /** How often somebody was let in. */
  logins(): number;
  /** The server's processes that serve a connection each. */
  connections(): readonly number[];
  /** Kills these processes, so that the connections are gone at once. */
  cut(): void;
  /** The host is away: nobody listens, and all connections are gone. */
  leave(): Promise<void>;
  /** The host is back. */
  listen(): Promise<void>;
  /** Ends the server and all connections. */
  stop(): Promise<void>;
}

/** Where it listens, and what starts it there. */
export interface SshdPlace {
  readonly address: string;
  readonly through: readonly string[];
}

/** `options`: further lines of sshd_config. */
export async function startSshd(
  options: readonly string[] = [],
  { address, through }: SshdPlace = { address: "127.0.0.1", through: [] },
): Promise<TestSshd> {
  if (SSHD === undefined) throw new Error("sshd not installed");
  const sshd = SSHD;
  const directory = mkdtempSync(join(tmpdir(), "jarvis-sshd-"));
  const port = await freePort();
  const file = (name: string) => join(directory, name);
  for (const key of ["host", "user"]) execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", file(key)]);
  const hostKey = readFileSync(file("host.pub"), "utf8").split(" ").slice(0, 2).join(" ");
  writeFileSync(file("authorized_keys"), readFileSync(file("user.pub")), { mode: 0o600 });
  writeFileSync(file("known_hosts"), `[${address}]:${port} ${hostKey}\n`);
  writeFileSync(file("log"), "");
  const lines = [
    `Port ${port}`,
    `ListenAddress ${address}`,
    `HostKey ${file("host")}`,
    `AuthorizedKeysFile ${file("authorized_keys")}`,
    `PidFile ${file("pid")}`,
    // The system's folder for temporary files is everybody's.
    "StrictModes no",
    "UsePAM no",
    "PasswordAuthentication no",
    "KbdInteractiveAuthentication no",
    "PermitRootLogin prohibit-password",
    "LogLevel VERBOSE",
    "MaxStartups 100",
    ...options,
  ];
  writeFileSync(file("config"), `${lines.join("\n")}\n`);
  // Where it puts the less trusted half of itself, if it is started by root.
  if (userInfo().uid === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });

  let server: ReturnType<typeof spawn> | null = null;
  const listen = async () => {
    const [program = "", ...args] = [...through, sshd, "-D", "-f", file("config"), "-E", file("log")];
    const child = spawn(program, args, { stdio: "ignore" });
    server = child;
    const exited = new Promise<never>((_, reject) => {
      child.once("error", reject);
      child.once("exit", () => reject(new Error(`sshd does not start: ${readFileSync(file("log"), "utf8")}`)));
    });
    exited.catch(() => {});
    await Promise.race([accepts(address, port), exited]);
  };
  const connections = () => (server?.pid === undefined ? [] : childrenOf(server.pid));
  // A connection may be served by two processes, the one of them the other's parent; a command's own are left alone.
  const serving = () => connections().flatMap((pid) => [pid, ...childrenOf(pid).filter(isSshd)]);
  const killAll = (pids: readonly number[]) => {
    for (const pid of pids) if (isSshd(pid)) kill(pid, "SIGKILL");
  };
  const stopListening = async () => {
    const child = server;
    if (child === null || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await gone;
  };
  const leave = async () => {
    // Asked before: without the server nobody would be their parent any more.
    const served = serving();
    await stopListening();
    killAll(served);
    await until("the connections are gone", () => !served.some(isSshd));
  };
  await listen();
  return {
    directory,
    port,
    settings: {
      host: address,
      port,
      privateKeyFile: file("user"),
      knownHostsFile: file("known_hosts"),
      runDirectory: `${directory}/runs`,
      maxSessionsPerConnection: 8,
      keepaliveMs: 300,
      connectTimeoutMs: 20_000,
    },
    userKeyFile: file("user"),
    hostKey,
    log: () => readFileSync(file("log"), "utf8"),
    logins: () => readFileSync(file("log"), "utf8").split("Accepted publickey").length - 1,
    connections,
    cut: () => killAll(serving()),
    leave,
    listen,
    async stop() {
      await leave();
      rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/** Lets another user's key in too. */
export function authorize(sshd: TestSshd, publicKeyFile: string): void {
  appendFileSync(join(sshd.directory, "authorized_keys"), readFileSync(publicKeyFile));
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

async function accepts(host: string, port: number): Promise<void> {
  let isOpen = false;
  let isTrying = false;
  await until("sshd accepts connections", () => {
    if (!isTrying && !isOpen) {
      isTrying = true;
      const socket = createConnection({ port, host });
      socket.once("connect", () => {
        isOpen = true;
        socket.destroy();
      });
      socket.once("error", () => {
        isTrying = false;
      });
    }
    return isOpen;
  });
}

function processes(): readonly { pid: number; parent: number; state: string; name: string }[] {
  const lines = execFileSync("ps", ["-A", "-o", "pid=,ppid=,stat=,comm="], { encoding: "utf8" }).trim().split("\n");
  return lines.map((line) => {
    const [pid, parent, state, ...name] = line.trim().split(/\s+/);
    return { pid: Number(pid), parent: Number(parent), state: state ?? "", name: name.join(" ") };
  });
}

function childrenOf(parent: number): number[] {
  return processes()
    .filter((one) => one.parent === parent && !one.state.startsWith("Z"))
    .map((one) => one.pid);
}

function isSshd(pid: number): boolean {
  return processes().some((one) => one.pid === pid && !one.state.startsWith("Z") && one.name.includes("sshd"));
}

function kill(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It was gone already.
  }
}
