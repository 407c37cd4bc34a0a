/**
 * The daemon as its user has it: `dist/cli.js serve` in a process of its own, on a data directory of its own. All that a
 * test started is gone at its end, the runs of agents that outlive their daemon among it.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { isAlive, isGroupAlive, signal } from "../../src/agents/local/processes.ts";
import { parseProgram, parseWrapper } from "../../src/agents/run-records.ts";
import { Client } from "./client.ts";

export const COMMAND = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));

/** Nothing that a test waits for takes so long, on a machine that is busy with other things. */
export const LIMIT_MS = 30_000;

export interface LogEntry {
  readonly level: number;
  readonly msg: string;
  readonly url?: string;
  readonly [key: string]: unknown;
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export interface StartOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A program with its arguments that becomes the daemon, in the same process: `strace -D`, `setpriv`. */
  readonly through?: readonly string[];
}

/** Who has it ended: a test, or whatever else begins one. */
export interface Teardown {
  teardown(handler: () => Promise<void>): unknown;
}

/** A data directory, and the daemons on it, one after the other or at once. */
export class Home {
  /** Everything that the test puts on disk; gone at its end. */
  readonly directory: string;
  readonly data: string;
  readonly #processes = new Set<DaemonProcess>();

  constructor(t: Teardown, config: object = {}) {
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), "jarvis-test-")));
    this.data = join(this.directory, "data");
    mkdirSync(this.data);
    this.configure(config);
    t.teardown(() => this.#tearDown());
  }

  configure(config: object | string): void {
    writeFileSync(this.path("data/config.json"), typeof config === "string" ? config : JSON.stringify(config, null, 2));
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** An executable file with this text. */
  script(name: string, text: string): string {
    const path = this.path(name);
    writeFileSync(path, text, { mode: 0o755 });
    return path;
  }

  /** A daemon that listens. Rejects with what it said when it ends instead. */
  async start(options: StartOptions = {}): Promise<DaemonProcess> {
    const daemon = this.launch(options);
    await daemon.listening;
    return daemon;
  }

  /** A daemon that may still be starting, or never come up. */
  launch({ args = ["--port", "0"], env = {}, through = [] }: StartOptions = {}): DaemonProcess {
    const daemon = new DaemonProcess(this.command(["serve", ...args], env, through));
    this.#processes.add(daemon);
    void daemon.exited.then(() => this.#processes.delete(daemon));
    return daemon;
  }

  /** Runs a command on this data directory to its end. */
  async run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Exit & Output> {
    const child = this.command(args, env);
    const output = collect(child);
    return { ...(await ended(child)), ...(await output) };
  }

  command(
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    through: readonly string[] = [],
  ): ChildProcess {
    // Not the environment of the test: its runner loads itself into every Node process through NODE_OPTIONS, which it puts
    // into each environment that is handed to spawn, too. With that, a start takes three times as long.
    const { PATH = "", HOME = "" } = process.env;
    const command = [...through, process.execPath, COMMAND, ...args, "--data", this.data];
    return spawn("/usr/bin/env", ["-u", "NODE_OPTIONS", ...command], {
      cwd: this.directory,
      env: { PATH, HOME, LANG: "C.UTF-8", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** The sessions whose processes are not all gone, with what of them is left. */
  livingRuns(): readonly string[] {
    return this.#runs().flatMap(({ sessionId, wrapper, program }) => [
      ...(wrapper !== null && isAlive(wrapper.wrapper) ? [`${sessionId}: wrapper ${wrapper.wrapper.pid}`] : []),
      ...(wrapper !== null && isAlive(wrapper.guard) ? [`${sessionId}: guard ${wrapper.guard.pid}`] : []),
      ...(program !== null && (isAlive(program) || isGroupAlive(program.pid)) ? [`${sessionId}: ${program.pid}`] : []),
    ]);
  }

  async #tearDown(): Promise<void> {
    await Promise.all([...this.#processes].map((daemon) => daemon.kill()));
    for (const { wrapper, program } of this.#runs()) {
      if (program !== null && isAlive(program)) signal(-program.pid, "SIGKILL");
      for (const process of wrapper === null ? [] : [wrapper.wrapper, wrapper.guard]) {
        if (isAlive(process)) signal(process.pid, "SIGKILL");
      }
    }
    // A wrapper that was killed in the middle of a write may still be dying.
    rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 50 });
  }

  #runs() {
    const runs = join(this.data, "runs");
    const read = (sessionId: string, name: string) => readIfThere(join(runs, sessionId, name));
    return listIfThere(runs).map((sessionId) => ({
      sessionId,
      wrapper: parseWrapper(read(sessionId, "wrapper")),
      program: parseProgram(read(sessionId, "pid")),
    }));
  }
}

export class DaemonProcess {
  readonly pid: number;
  readonly log: LogEntry[] = [];
  stderr = "";
  /** Where it listens; rejects when it ends before. */
  readonly listening: Promise<string>;
  /** Never rejects. */
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #waiting = new Set<() => void>();
  #url: string | null = null;
  #exit: Exit | null = null;

  constructor(child: ChildProcess) {
    this.#child = child;
    this.pid = child.pid ?? 0;
    this.exited = ended(child);
    void this.exited.then((exit) => {
      this.#exit = exit;
      this.#wake();
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      this.log.push(JSON.parse(line));
      this.#wake();
    });
    this.listening = this.line("listening").then((entry) => {
      this.#url = entry.url ?? "";
      return this.#url;
    });
    this.listening.catch(() => {});
  }

  /** Once it listens. */
  get url(): string {
    if (this.#url === null) throw new Error("the daemon does not listen yet");
    return this.#url;
  }

  get client(): Client {
    return new Client(this.url);
  }

  /** The first line of its log with this message, or the `nth`. Rejects when it ends without. */
  line(msg: string, nth = 1): Promise<LogEntry> {
    return this.#until(`the log line "${msg}"`, () => this.log.filter((entry) => entry.msg === msg)[nth - 1]);
  }

  /** SIGTERM, and its end. */
  async stop(): Promise<Exit> {
    this.signal("SIGTERM");
    return within(LIMIT_MS, "the end of the daemon", this.exited);
  }

  /** SIGKILL, and its end. */
  async kill(): Promise<Exit> {
    this.signal("SIGKILL");
    return this.exited;
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name);
  }

  #until<T>(what: string, look: () => T | undefined): Promise<T> {
    const found = new Promise<T>((resolve, reject) => {
      const tryAgain = () => {
        const value = look();
        if (value === undefined && this.#exit === null) return;
        this.#waiting.delete(tryAgain);
        if (value !== undefined) resolve(value);
        else
          reject(
            new Error(`the daemon ended (${this.#exit?.code ?? this.#exit?.signal}) without ${what}: ${this.#said()}`),
          );
      };
      this.#waiting.add(tryAgain);
      tryAgain();
    });
    return within(LIMIT_MS, what, found);
  }

  #wake(): void {
    for (const tryAgain of [...this.#waiting]) tryAgain();
  }

  #said(): string {
    return `${this.stderr}${this.log
      .slice(-5)
      .map((entry) => `\n${JSON.stringify(entry)}`)
      .join("")}`;
  }
}

interface Output {
  readonly stdout: string;
  readonly stderr: string;
}

async function collect(child: ChildProcess): Promise<Output> {
  const [stdout, stderr] = await Promise.all(
    [child.stdout, child.stderr].map((stream) => stream?.setEncoding("utf8").toArray()),
  );
  return { stdout: stdout?.join("") ?? "", stderr: stderr?.join("") ?? "" };
}

/** Its end, after its last word. */
function ended(child: ChildProcess): Promise<Exit> {
  return new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", (code, signal) => resolve({ code, signal }));
  });
}

/** The promise, or after `ms` an error that says what was waited for. */
export async function within<T>(ms: number, what: string, promise: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms in vain for ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function listIfThere(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return null;
  }
}
