import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { Home, within } from "../support/daemon.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const LIMIT_MS = 120_000;

t.setTimeout(2 * LIMIT_MS);

t.test("npm run demo -- --exit ends by itself with all tasks done, and leaves nothing behind", async (t) => {
  const { demo, lines, left } = start(t, "--", "--exit");
  const [code] = await within(LIMIT_MS, "the end of the demo", once(demo, "close"));
  t.equal(code, 0, lines.join("\n"));
  for (const method of ["ssh", "sessions_spawn", "cli"])
    t.ok(
      lines.some((line) => line.startsWith("  → ") && line.includes(` ${method} `)),
      `one by ${method}`,
    );
  t.equal(lines.filter((line) => /^ {2}done {2}/.test(line)).length, 6, "six tasks are done");
  t.ok(lines.some((line) => /^ {8}claude: The tests are written; all pass\.$/.test(line)));
  t.same(left(), { directories: [], processes: [] });
});

t.test("without --exit the board stays open until Ctrl-C, which leaves nothing behind either", async (t) => {
  const { demo, lines, left, line } = start(t);
  const url = / at (http:\S+) until/.exec(await within(LIMIT_MS, "the open board", line(/^The board is open/)))?.[1];
  t.equal((await fetch(`${url}/readyz`)).status, 200);
  // As a terminal does: to all of them.
  process.kill(-(demo.pid ?? 0), "SIGINT");
  await within(LIMIT_MS, "the end of the demo", once(demo, "close"));
  t.ok(lines.length > 0);
  t.same(left(), { directories: [], processes: [] });
});

interface Demo {
  readonly demo: ChildProcess;
  readonly lines: string[];
  line(pattern: RegExp): Promise<string>;
  /** What it made in the directory for temporary files, and processes that know of that directory. */
  left(): { readonly directories: readonly string[]; readonly processes: readonly string[] };
}

function start(t: Test, ...args: readonly string[]): Demo {
  const home = new Home(t);
  const temporary = home.path("tmp");
  mkdirSync(temporary);
  const { PATH, HOME } = process.env;
  const demo = spawn("npm", ["run", "--silent", "demo", ...args], {
    cwd: ROOT,
    env: { PATH, HOME, TMPDIR: temporary },
    stdio: ["ignore", "pipe", "inherit"],
    detached: true,
  });
  t.teardown(() => {
    if (demo.exitCode === null && demo.signalCode === null) process.kill(-(demo.pid ?? 0), "SIGKILL");
  });
  const lines: string[] = [];
  const reader = createInterface({ input: demo.stdout });
  reader.on("line", (line) => lines.push(line));
  const line = (pattern: RegExp) =>
    new Promise<string>((resolve) => {
      reader.on("line", (said) => {
        if (pattern.test(said)) resolve(said);
      });
    });
  const left = () => ({
    directories: readdirSync(temporary).filter((name) => name.startsWith("jarvis-")),
    processes: processesThatKnow(temporary),
  });
  return { demo, lines, line, left };
}

/** Where there is no /proc, none. */
function processesThatKnow(directory: string): readonly string[] {
  return listOf("/proc").flatMap((name) => {
    const of = (file: string) => textOf(`/proc/${name}/${file}`);
    const knows = /^\d+$/.test(name) && (of("environ").includes(directory) || of("cmdline").includes(directory));
    return knows ? [`${name} ${of("cmdline").replaceAll("\0", " ")}`] : [];
  });
}

function listOf(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
