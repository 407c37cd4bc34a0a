/** A daemon that a command starts for itself: this same program, on temporary data, gone without a trace afterwards. */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { type Client, createClient } from "../api/client.ts";
import { ASSETS } from "../location.ts";

/** Of its environment nothing else counts, so that no JARVIS_* variable of the caller's leads it elsewhere. */
const PASSED_ON = ["PATH", "LANG", "TMPDIR"];
const START_MS = 20_000;
const STOP_MS = 12_000;
/** Enough to tell why one did not start. */
const SAID_MAX = 2000;

export class OwnDaemon {
  /** All that there is of it on disk. */
  readonly directory: string;
  readonly #env: NodeJS.ProcessEnv;
  readonly #token = randomBytes(32).toString("hex");
  #process: ChildProcess | null = null;
  #url: URL | null = null;

  /** `settings`: its config, made for the directory in which it and its agents live. */
  constructor(env: Readonly<Record<string, string | undefined>>, settings: (directory: string) => object) {
    this.directory = realpathSync(mkdtempSync(join(tmpdir(), "jarvis-self-test-")));
    const passed = PASSED_ON.flatMap((name) => (env[name] === undefined ? [] : [[name, env[name]]]));
    this.#env = { ...Object.fromEntries(passed), HOME: this.directory, JARVIS_TOKEN: this.#token };
    mkdirSync(this.#path("data"), { mode: 0o700 });
    writeFileSync(this.#path("data/config.json"), JSON.stringify(settings(this.directory)), { mode: 0o600 });
  }

  /** Of the daemon that listens, whichever that is: they all use the port of the first. */
  get client(): Client {
    if (this.#url === null) throw new Error("the daemon was not started");
    return createClient({ url: this.#url.origin, token: this.#token });
  }

  /** Resolves to its pid once it listens; rejects with what it said where it does not. */
  async start(): Promise<number> {
    const port = this.#url?.port ?? "0";
    const args = ["serve", "--data", this.#path("data"), "--host", "127.0.0.1", "--port", port, "--log-level", "info"];
    const child = spawn(process.execPath, [...process.execArgv, commandFile(), ...args], {
      cwd: this.directory,
      env: this.#env,
      stdio: ["ignore", "pipe", "pipe"],
      // A Ctrl-C of the terminal is for the command, which then stops its daemon in order.
      detached: true,
    });
    this.#process = child;
    this.#url = await listening(child);
    return child.pid ?? 0;
  }

  /** What `kill -9` does: nothing is finished or written any more. */
  async kill(): Promise<void> {
    await this.#end("SIGKILL");
  }

  /** Stops it, and takes everything away that was made. Never rejects. */
  async remove(): Promise<string | null> {
    await this.#end("SIGTERM");
    try {
      rmSync(this.directory, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
      return null;
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }

  async #end(signal: "SIGTERM" | "SIGKILL"): Promise<void> {
    const child = this.#process;
    if (child === null) return;
    this.#process = null;
    if (child.exitCode !== null || child.signalCode !== null) return;
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill(signal);
    const timer = setTimeout(() => child.kill("SIGKILL"), STOP_MS);
    await ended;
    clearTimeout(timer);
  }

  #path(name: string): string {
    return join(this.directory, name);
  }
}

/** Of the build, or of the sources. */
function commandFile(): string {
  const files = ["cli.js", "cli.ts"].map((name) => fileURLToPath(new URL(name, ASSETS)));
  const file = files.find(existsSync);
  if (file === undefined) throw new Error("the program does not find its own file");
  return file;
}

function listening(child: ChildProcess): Promise<URL> {
  return new Promise((resolve, reject) => {
    let said = "";
    const fail = (what: string) => reject(new Error(`its daemon ${what}${said === "" ? "" : `: ${said.trim()}`}`));
    const timer = setTimeout(() => fail(`did not listen within ${START_MS / 1000} s`), START_MS);
    child.once("error", ({ message }) => fail(`could not be started (${message})`));
    child.once("close", (code, signal) => {
      clearTimeout(timer);
      fail(`ended (${code ?? signal}) instead of listening`);
    });
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-SAID_MAX);
    });
    // Read to its end, or the daemon would wait for room in the pipe.
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on("line", (line) => {
      const entry = parsed(line);
      if (entry.msg !== "listening" || typeof entry.url !== "string") return;
      clearTimeout(timer);
      resolve(new URL(entry.url));
    });
  });
}

function parsed(line: string): { readonly msg?: unknown; readonly url?: unknown } {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
