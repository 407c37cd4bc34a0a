/**
 * `npm run demo`: the daemon on a data directory of its own, three stand-in agents, one per adapter, and a few tasks that
 * go out and come back. `--exit` ends when all of them are done; otherwise the board stays open until Ctrl-C.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { type DemoSshServer, startSshServer } from "./demo/ssh-server.ts";

const HELP = `npm run demo [-- --exit]

  --exit   end with status 0 when all tasks are done, 1 when they are not within a minute
`;
const LIMIT_MS = 60_000;
const AGENT = fileURLToPath(new URL("demo/agent.mjs", import.meta.url));
const COMMAND = fileURLToPath(new URL("../dist/cli.js", import.meta.url));

interface Task {
  readonly id: string;
  readonly title: string;
  readonly status: string;
  readonly assignee: string;
}
interface Dispatched {
  readonly taskId: string;
  readonly agent: string;
  readonly sessionId: string;
  readonly method: string;
  readonly spawn?: { readonly args: { readonly task: string } };
}

const { values } = parseArgs({ options: { exit: { type: "boolean" }, help: { type: "boolean", short: "h" } } });
if (values.help) {
  process.stdout.write(HELP);
  process.exit(0);
}
process.exitCode = await demo(values.exit === true);

async function demo(exit: boolean): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), "jarvis-demo-"));
  const interrupted = new Promise<"interrupted">((resolve) => {
    // On every one of them: npm passes a Ctrl-C on that the terminal has sent already.
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => resolve("interrupted"));
  });
  let ssh: DemoSshServer | undefined;
  let daemon: ChildProcess | undefined;
  try {
    const remoteHome = join(directory, "remote-home");
    mkdirSync(remoteHome);
    ssh = await startSshServer(remoteHome);
    const data = join(directory, "data");
    mkdirSync(data);
    writeFileSync(join(data, "config.json"), JSON.stringify(settings(ssh), null, 2));
    const started = await startDaemon(data);
    daemon = started.process;
    say(`daemon   ${started.url}   (data in ${data})`);
    const outcome = await Promise.race([work(started.url), interrupted]);
    if (outcome === "interrupted") return 130;
    if (!exit) {
      say(`\nThe board is open at ${started.url} until Ctrl-C.`);
      await interrupted;
    }
    return outcome ? 0 : 1;
  } finally {
    await stopDaemon(daemon);
    ssh?.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** The mission's three agents, each with a stand-in for its program. */
function settings(ssh: DemoSshServer) {
  const command = (name: string) => [process.execPath, AGENT, name];
  return {
    agents: {
      gemini: {
        adapter: "ssh",
        model: "gemini-2.5-pro",
        costMultiplier: 1,
        maxConcurrent: 2,
        bestFor: ["research", "planning", "summaries"],
        command: command("gemini"),
        ssh: {
          host: "127.0.0.1",
          port: ssh.port,
          username: "demo",
          privateKeyFile: ssh.privateKeyFile,
          knownHostsFile: ssh.knownHostsFile,
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
        command: command("copilot"),
      },
    },
  };
}

/** Puts tasks on the board, then is Jarvis: looks, dispatches, starts the sub-agents. True when all tasks got done. */
async function work(url: string): Promise<boolean> {
  const tasks = [
    { title: "Compare three job queues", assignee: "gemini", priority: "high", labels: ["research"] },
    { title: "Summarise the release notes", assignee: "gemini", labels: ["summaries"] },
    { title: "Write the parser's tests", assignee: "claude", priority: "urgent", labels: ["coding"] },
    { title: "Squash the branch's commits", assignee: "copilot", labels: ["git"] },
    { title: "Tag the release", assignee: "copilot", priority: "low", labels: ["git"] },
    { title: "Whoever is free: list the open questions", assignee: "auto", labels: ["planning"] },
  ];
  for (const task of tasks) await call(url, "POST", "/api/tasks", task);
  say(`tasks    ${tasks.length} put on the board\n`);
  const until = Date.now() + LIMIT_MS;
  for (;;) {
    const heartbeat = await fetch(`${url}/api/orchestrate?format=heartbeat`).then((answer) => answer.text());
    if (heartbeat !== "HEARTBEAT_OK") {
      say(`heartbeat  ${heartbeat}`);
      const { dispatched } = await call<{ dispatched: Dispatched[] }>(url, "POST", "/api/orchestrate");
      for (const one of dispatched) {
        say(`  → ${one.agent.padEnd(8)} ${one.method.padEnd(14)} ${one.sessionId}`);
        if (one.spawn !== undefined) void subAgent(one.spawn.args.task);
      }
    }
    const { tasks: all } = await call<{ tasks: Task[] }>(url, "GET", "/api/tasks");
    if (all.every((task) => task.status === "done") || Date.now() > until) {
      await report(url, all);
      return all.every((task) => task.status === "done");
    }
    await wait(200);
  }
}

/** What Jarvis' sessions_spawn would start: follows its prompt, which says how to call back. */
async function subAgent(prompt: string): Promise<void> {
  const calls = [
    ...prompt.matchAll(/curl -sS -X PUT '([^']+)' -H 'Authorization: Bearer ([^']+)' .* --data-binary '(\{.*\})'/g),
  ];
  for (const [, url = "", token = "", body = ""] of calls.slice(0, 2)) {
    const filledIn = body
      .replace("<your session key>", "agent:main:subagent:demo")
      .replace("<your result>", "The tests are written; all pass.");
    await fetch(url, {
      method: "PUT",
      headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
      body: filledIn,
    });
    await wait(400);
  }
}

async function report(url: string, tasks: readonly Task[]): Promise<void> {
  say("\nresults");
  for (const task of tasks) {
    const { comments } = await call<{ comments: { author: string; content: string }[] }>(
      url,
      "GET",
      `/api/tasks/${task.id}/comments`,
    );
    say(`  ${task.status.padEnd(5)} ${task.title}`);
    for (const comment of comments) say(`        ${comment.author}: ${comment.content.trim().split("\n").at(-1)}`);
  }
  const { metrics } = await call<{
    metrics: {
      byAgent: Record<string, { dispatched: number; completed: number }>;
      averageCompletionTime: Record<string, number>;
    };
  }>(url, "GET", "/api/orchestrate");
  say("\nmetrics");
  for (const [agent, { dispatched, completed }] of Object.entries(metrics.byAgent)) {
    say(
      `  ${agent.padEnd(8)} dispatched ${dispatched}, completed ${completed}, on average ${metrics.averageCompletionTime[agent] ?? 0} ms`,
    );
  }
}

async function call<T>(url: string, method: string, path: string, body?: object): Promise<T> {
  const answer = await fetch(url + path, {
    method,
    ...(body === undefined ? {} : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${await answer.text()}`);
  return (await answer.json()) as T;
}

async function startDaemon(data: string): Promise<{ process: ChildProcess; url: string }> {
  const { JARVIS_TOKEN: _token, JARVIS_TOKEN_FILE: _file, JARVIS_CONFIG: _config, ...env } = process.env;
  const daemon = spawn(process.execPath, [COMMAND, "serve", "--data", data, "--port", "0"], {
    env,
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const line of createInterface({ input: daemon.stdout })) {
    const entry = JSON.parse(line) as { msg?: string; url?: string };
    if (entry.msg !== "listening" || entry.url === undefined) continue;
    daemon.stdout.resume();
    return { process: daemon, url: entry.url };
  }
  throw new Error("the daemon did not start");
}

async function stopDaemon(daemon: ChildProcess | undefined): Promise<void> {
  if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return;
  const ended = new Promise((resolve) => daemon.once("exit", resolve));
  daemon.kill("SIGTERM");
  await ended;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
