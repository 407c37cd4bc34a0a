/** A session's log made readable, whole and in parts; and what tasks and sessions show of how their work is done and judged. */
import { appendFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import { lineFormat, type OutputFormat } from "../../src/agents/output/formats.ts";
import { Transcriber } from "../../src/agents/output/transcriber.ts";
import { runEnded, runStarted } from "../../src/core/decide/report.ts";
import { testAgent } from "../support/server.ts";
import { type Ask, addTask, serverFor, startTask } from "./ask.ts";

const recorded = (path: string) =>
  readFileSync(fileURLToPath(new URL(`../agents/output/fixtures/${path}.stdout.jsonl`, import.meta.url)));

function transcriptOf(format: OutputFormat, bytes: Buffer): string {
  const transcriber = new Transcriber(lineFormat(format)?.understand ?? (() => []));
  return transcriber.add(bytes).text + transcriber.end();
}

/** A program's session with its run directory, as the adapter makes it. */
async function aRun(t: Test, output: OutputFormat, log: Buffer | string) {
  const runsDirectory = t.testdir({});
  const server = await serverFor(t, { runsDirectory });
  const { taskId, sessionId } = await startTask(server.ask, { assignee: "copilot" });
  const directory = join(runsDirectory, sessionId);
  mkdirSync(directory);
  const settings = { version: 1, agent: "copilot", killGraceMs: 1, maxOutputBytes: 1e6, leftovers: "kill", output };
  writeFileSync(join(directory, "run.json"), JSON.stringify({ ...settings, mark: "m" }));
  writeFileSync(join(directory, "stdout.log"), log);
  return {
    ...server,
    taskId,
    sessionId,
    stdout: join(directory, "stdout.log"),
    log: (query = "", headers = {}) =>
      server.ask("GET", `/api/sessions/${sessionId}/log?format=readable${query}`, { headers }),
    end: async () => {
      const outcome = { status: "completed", result: "done" } as const;
      await server.dispatcher.execute(runEnded({ sessionId, exit: { exitCode: 0 }, outcome }));
    },
  };
}

const eventsIn = (text: string) =>
  [...text.matchAll(/^id: (\d+)\nevent: (\w+)\ndata: (.*)$/gm)].map(([, id, event, data]) => ({
    id: Number(id),
    event,
    data: JSON.parse(data ?? ""),
  }));

for (const path of ["claude/tool", "gemini/plain"]) {
  const format = path.split("/")[0] as OutputFormat;

  t.test(`${path}: a log that is over is told whole, and from the beginning of any line on`, async (t) => {
    const bytes = recorded(path);
    const { log, end } = await aRun(t, format, bytes);
    await end();
    const whole = transcriptOf(format, bytes);
    const answer = await log();
    t.same([answer.status, answer.text, answer.headers["x-next-offset"]], [200, whole, String(bytes.length)]);
    t.match(answer.headers["content-type"], "text/plain; charset=utf-8");
    for (let at = 0; at < bytes.length; at = bytes.indexOf(10, at) + 1) {
      const rest = await log(`&offset=${at}`);
      const before = new Transcriber(lineFormat(format)?.understand ?? (() => []));
      t.equal(before.add(bytes.subarray(0, at)).text + rest.text, whole, `from ${at}`);
      t.equal(rest.headers["x-next-offset"], String(bytes.length));
    }
    t.same((await log(`&offset=${bytes.length}`)).text, "");
  });

  t.test(`${path}: of a log that is being written, half a line is held back`, async (t) => {
    const bytes = recorded(path);
    const { log, end, stdout } = await aRun(t, format, "");
    let [text, next, written] = ["", 0, 0];
    const step = Math.ceil(bytes.length / 23);
    for (; written < bytes.length; written = Math.min(bytes.length, written + step)) {
      appendFileSync(stdout, bytes.subarray(written, written + step));
      const isThere = Math.min(bytes.length, written + step);
      const part = await log(`&offset=${next}`);
      text += part.text;
      next = Number(part.headers["x-next-offset"]);
      t.equal(next, bytes.subarray(0, isThere).lastIndexOf(10) + 1, "behind the last whole line");
    }
    appendFileSync(stdout, '{"type":"half');
    t.same([(await log(`&offset=${next}`)).text, next], ["", bytes.length]);
    t.equal(text, transcriptOf(format, bytes), "the parts are the whole");
    await end();
    const last = await log(`&offset=${next}`);
    t.same([last.text, last.headers["x-next-offset"]], ["", String(bytes.length + 13)], "what broke off says nothing");
  });

  t.test(`${path}: a log is followed, and whoever comes back misses nothing`, async (t) => {
    const bytes = recorded(path);
    const { log, end } = await aRun(t, format, bytes.subarray(0, -1));
    await end();
    const whole = transcriptOf(format, bytes);
    const followed = eventsIn((await log("&follow=true")).text);
    const textOf = (events: typeof followed) =>
      events.flatMap(({ event, data }) => (event === "log" ? [data] : [])).join("");
    t.equal(textOf(followed), whole);
    t.match(followed.at(-1), { id: bytes.length - 1, event: "end", data: { status: "completed" } });
    for (let at = bytes.indexOf(10) + 1; at > 0; at = bytes.indexOf(10, at) + 1) {
      const before = new Transcriber(lineFormat(format)?.understand ?? (() => []));
      const seen = before.add(bytes.subarray(0, at)).text;
      const rest = eventsIn((await log("&follow=true", { "last-event-id": String(at) })).text);
      if (at < bytes.length) t.equal(seen + textOf(rest), whole, `come back at ${at}`);
    }
  });
}

t.test("a transcript is followed while it is written, line by line", async (t) => {
  const bytes = recorded("gemini/plain");
  const cut = bytes.indexOf('"er has 41"');
  const { log, end, stdout, sessionId, dispatcher } = await aRun(t, "gemini", bytes.subarray(0, cut));
  await dispatcher.execute(runStarted(sessionId, { host: "here", pid: 7 }));
  const following = log("&follow=true");
  const seen = await log();
  t.match(seen.text, /All done: the pars$/, "a message that is under way has no end yet");
  appendFileSync(stdout, bytes.subarray(cut));
  await end();
  const events = eventsIn((await following).text);
  const told = events.filter(({ event }) => event === "log");
  t.equal(told.map(({ data }) => data).join(""), transcriptOf("gemini", bytes));
  for (const { id } of told.slice(0, -1)) t.equal(bytes[id - 1], 10, "each event ends with a line");
});

t.test("plain text, stderr and a raw log are what they are", async (t) => {
  const text = '{"type":"system"}\nhalf a li';
  const { log, ask, sessionId, stdout } = await aRun(t, "text", text);
  writeFileSync(stdout.replace("stdout", "stderr"), text);
  for (const query of ["", "&stream=stderr"]) {
    const answer = await log(query);
    t.same([answer.text, answer.headers["x-next-offset"]], [text, String(text.length)], `${query}: also while it runs`);
  }
  t.equal((await ask("GET", `/api/sessions/${sessionId}/log?format=raw`)).text, text);
  const known = await aRun(t, "claude", text);
  t.equal((await known.ask("GET", `/api/sessions/${known.sessionId}/log`)).text, text, "raw is the default");
  t.equal((await known.log("&stream=stderr")).text, "");
  t.equal((await ask("GET", `/api/sessions/${sessionId}/log?format=pretty`)).status, 400);
});

t.test("a task names only verifiers that there are", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const verifying = (verify: unknown) =>
    ask("POST", "/api/tasks", { body: { title: "a", assignee: "claude", verify } });
  t.match(await verifying(["tests"]), {
    status: 400,
    body: { code: "INVALID_REQUEST", detail: /the config has none/ },
  });
  const verifier = { timeoutMs: 1000, command: ["true"] };
  knobs.config = { ...knobs.config, verifiers: { tests: verifier, lint: verifier } };
  for (const name of ["test", "__proto__", "constructor"]) {
    t.match(
      await verifying(["tests", name]),
      { status: 400, body: { detail: /verify\/1.*there are tests, lint/s } },
      name,
    );
  }
  const made = await verifying(["lint", "tests", "lint"]);
  t.match(made, { status: 201, body: { verify: ["lint", "tests"] } });
  const url = `/api/tasks/${made.body.id}`;
  t.match(await ask("PATCH", url, { body: { verify: ["nope"] } }), { status: 400 });
  const changed = await ask("PATCH", url, { body: { verify: [], isolation: "worktree" } });
  t.match(changed, { status: 200, body: { isolation: "worktree" } });
  t.notOk("verify" in changed.body, "none are not shown");
  t.match((await ask("GET", url)).body, { isolation: "worktree" });
  t.match(await ask("PATCH", url, { body: { isolation: "vm" } }), { status: 400 });
});

t.test("a session shows how it works and is judged, and what came of that", async (t) => {
  const agents = [testAgent("copilot", { adapter: "cli", method: "cli", resume: true })];
  const { ask, dispatcher, knobs } = await serverFor(t, { agents });
  knobs.config = { ...knobs.config, verifiers: { tests: { timeoutMs: 1000, command: ["true"] } } };
  const view = async (ask: Ask, id: string) => (await ask("GET", `/api/sessions/${id}`)).body;
  const taskId = await addTask(ask, { assignee: "copilot", verify: ["tests"], isolation: "worktree" });
  const dispatched = async () =>
    (await ask("POST", "/api/orchestrate", { body: { taskIds: [taskId] } })).body.dispatched[0].sessionId as string;
  const first = await dispatched();
  t.match(await view(ask, first), { verify: ["tests"], isolation: "worktree", status: "starting" });
  const resetAt = knobs.now + 60_000;
  await dispatcher.execute(
    runEnded({
      sessionId: first,
      exit: { exitCode: 1 },
      outcome: { status: "failed", error: { code: "RATE_LIMIT", message: "later", resetAt } },
      agentSession: { id: "own-1", totals: { inputTokens: 5, costUsd: 0.5 } },
    }),
  );
  t.match(await view(ask, first), {
    status: "failed",
    error: { code: "RATE_LIMIT", class: "rate_limit", message: "later", resetAt: new Date(resetAt).toISOString() },
    agentSession: "own-1",
    cost: { usd: 0.5, basis: "measured" },
  });
  t.match((await ask("GET", `/api/tasks/${taskId}`)).body, { retryAt: new Date(resetAt).toISOString() });
  knobs.now = resetAt;
  const second = await dispatched();
  t.match(await view(ask, second), { resumes: "own-1", attempt: 2 });
  const warnings = [{ code: "TOOLS_REFUSED", message: "it was not allowed to use Bash" }];
  await dispatcher.execute(
    runEnded({
      sessionId: second,
      exit: { exitCode: 0 },
      outcome: { status: "completed", result: "done" },
      toolCalls: 0,
      warnings,
      verification: { ok: true },
    }),
  );
  const ended = await view(ask, second);
  t.match(ended, { status: "completed", warnings: [...warnings, { code: "ZERO_WORK" }] });
  t.notOk("error" in ended);
  const comment = (await ask("GET", `/api/tasks/${taskId}`)).body.comments.at(-1).content;
  t.match(comment, /^done\n\nNote: it was not allowed to use Bash\n\nNote: done within 1 s/);
});
