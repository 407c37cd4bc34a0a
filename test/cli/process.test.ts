import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import t from "tap";
import { task } from "./samples.ts";
import { stubDaemon } from "./stub-daemon.ts";

const CLI = fileURLToPath(new URL("../../src/cli.ts", import.meta.url));
const RUN = `"${process.execPath}" --import tsx "${CLI}"`;

/** Runs a line of shell in which $RUN is the command; resolves to its status and output. */
async function shell(line: string, env: Record<string, string> = {}) {
  const { PATH = "" } = process.env;
  const options = { env: { PATH, ...env }, maxBuffer: 64 * 1024 * 1024 };
  try {
    const { stdout, stderr } = await promisify(execFile)("sh", ["-c", line.replaceAll("$RUN", RUN)], options);
    return { status: 0, stdout, stderr };
  } catch (error) {
    if (error instanceof Error && "stdout" in error && "stderr" in error && "code" in error) {
      return { status: error.code, stdout: error.stdout, stderr: error.stderr };
    }
    throw error;
  }
}

t.test("the process ends by itself, with its status", async (t) => {
  t.match(await shell("$RUN --version"), { status: 0, stdout: /^\d+\.\d+\.\d+\n$/, stderr: "" });
  t.match(await shell("$RUN task move x"), { status: 2, stdout: "", stderr: /missing required argument 'status'/ });
  const unused = await stubDaemon(t, {});
  await unused.stop();
  t.match(await shell("$RUN status", { JARVIS_URL: unused.url }), {
    status: 1,
    stdout: "",
    stderr: /^error: nothing listens at /,
  });
});

t.test("standard input is read, also for import", async (t) => {
  const daemon = await stubDaemon(t, { "POST /api/tasks": { status: 201, json: task() } });
  const run = await shell(`printf '[{"title": "grüße"}]' | $RUN import -`, { JARVIS_URL: daemon.url });
  t.match(run, { status: 0, stdout: "1 of 1 tasks added\n", stderr: "" });
  t.same(daemon.requests[0]?.body, { title: "grüße" });
});

t.test("a reader that has seen enough is no error, and a slow one gets everything", async (t) => {
  const tasks = Array.from({ length: 400 }, (_, index) => task({ id: `tsk_${index}`, title: "t".repeat(500) }));
  const daemon = await stubDaemon(t, { "GET /api/tasks": { json: { tasks } } });
  const env = { JARVIS_URL: daemon.url };
  t.match(await shell("$RUN task list --all --json | head -n 1", env), { status: 0, stdout: "{\n", stderr: "" });
  const { stdout } = await shell("$RUN task list --all --json | cat", env);
  t.equal(JSON.parse(String(stdout)).tasks.length, 400);
});

t.test("a table that no screen shows is whole; output that cannot be written is said", async (t) => {
  const daemon = await stubDaemon(t, { "GET /api/tasks": { json: { tasks: [task({ title: "t".repeat(300) })] } } });
  const env = { JARVIS_URL: daemon.url, COLUMNS: "40" };
  t.match((await shell("$RUN task list | cat", env)).stdout, "t".repeat(300));
  const full = { skip: existsSync("/dev/full") ? false : "no /dev/full" };
  await t.test("a full disk", full, async (t) => {
    t.same(await shell("$RUN task list > /dev/full", env), {
      status: 1,
      stdout: "",
      stderr: "error: standard output cannot be written (ENOSPC)\n",
    });
  });
});
