import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import t from "tap";
import { isAlive } from "../../src/agents/local/processes.ts";
import { parseProgram } from "../../src/agents/run-records.ts";
import type { Agent } from "../../src/api/orchestrate.ts";
import type { Lock, Session } from "../../src/api/session.ts";
import type { Task } from "../../src/api/task.ts";
import { Home, within } from "../support/daemon.ts";
import { fileSays } from "../support/files.ts";

t.setTimeout(300_000);

/** Waits for a file of its task's name, prints what is in it, and exits with the status that its first word is. */
const WAITING = `#!/bin/sh
echo "at work on $JARVIS_TASK_ID"
until [ -e "$1" ]; do sleep 0.05; done
read -r status word <"$1"
echo "it was told: $word"
exit "$status"
`;

function waitingAgent(home: Home) {
  return { adapter: "cli", command: [home.script("waiting.sh", WAITING), home.path("{taskId}.go")], maxConcurrent: 10 };
}

t.test("a data directory has one daemon", async (t) => {
  const home = new Home(t);
  const first = await home.start();
  const second = home.launch();
  t.same(await second.exited, { code: 1, signal: null });
  t.match(second.stderr, new RegExp(`in use by process ${first.pid} `));
  t.equal((await first.client.status()).status, "ok", "the first goes on");

  const repair = await home.run(["repair"]);
  t.equal(repair.code, 1);
  t.match(repair.stderr, new RegExp(`in use by process ${first.pid} `));
  t.same(await first.stop(), { code: 0, signal: null });
  t.equal(
    (await home.start()).log.filter((entry) => entry.level >= 40).length,
    1,
    "nothing to warn of but the missing token",
  );
});

t.test("SIGTERM answers what is under way, ends streams, and leaves state files that are exact", async (t) => {
  const home = new Home(t);
  home.configure({ agents: { copilot: waitingAgent(home) } });
  const daemon = await home.start();
  const { client } = daemon;
  await client.post("/api/tasks", { id: "open", title: "an open task", assignee: "diego", files: ["src/**"] });
  await client.post("/api/tasks/open/comments", { author: "diego", content: "grüße\u0000" });
  await client.post("/api/tasks", { id: "busy", title: "one at work", assignee: "copilot", files: ["lib/**"] });
  await client.post("/api/tasks", { id: "over", title: "one that is done", assignee: "copilot" });
  writeFileSync(home.path("over.go"), "0 well\n");
  const { dispatched = [] } = await client.dispatch();
  t.same(dispatched.map((one) => one.taskId).sort(), ["busy", "over"]);
  await client.ended(dispatched.find((one) => one.taskId === "over")?.sessionId ?? "");
  await client.until("the pid", async () =>
    (await client.status()).activeSessions.every((session) => session.pid !== undefined),
  );
  const before = {
    status: await client.status(),
    tasks: await Promise.all((await client.all<Task>("tasks")).map(({ id }) => client.task(id))),
    sessions: await Promise.all((await client.all<Session>("sessions")).map(({ id }) => client.session(id))),
    locks: await client.all<Lock>("locks"),
  };

  const stream = await fetch(`${daemon.url}/api/events`);
  const late = request(`${daemon.url}/api/tasks`, {
    method: "POST",
    headers: { "content-type": "application/json", expect: "100-continue" },
  });
  late.flushHeaders();
  await once(late, "continue");
  const stopped = within(10_000, "the end within the promised 10 s", daemon.exited);
  daemon.signal("SIGTERM");
  await daemon.line("stopping; agents at work go on");
  // Ctrl-C under npm comes twice: from the terminal and from npm.
  daemon.signal("SIGTERM");
  daemon.signal("SIGINT");
  late.end(JSON.stringify({ id: "late", title: "asked for before the stop" }));
  const [answer] = await once(late, "response");
  t.equal(answer.statusCode, 201);
  t.equal(answer.headers.connection, "close");
  answer.resume();
  await stream.text();
  t.same(await stopped, { code: 0, signal: null }, "however often it is told");

  const file = (name: string) => JSON.parse(readFileSync(join(home.data, name), "utf8"));
  const tasks = file("tasks.json");
  t.match(
    tasks.tasks.filter((task: Task) => task.id !== "late"),
    before.tasks.map(({ sessions: _, comments, retryAt: _at, ...task }) => ({ ...task, comments })),
  );
  t.match(tasks.tasks.at(-1), { id: "late", title: "asked for before the stop", version: 1 });
  const { sessions, seq } = file("active-sessions.json");
  t.match(
    sessions,
    [...before.sessions]
      .reverse()
      .map(({ id, taskId, status, attempt, startedAt }) => ({ id, taskId, status, attempt, startedAt })),
  );
  t.match(
    file("locks.json").locks,
    before.locks.map(({ id, sessionId, paths, fence }) => ({ id, sessionId, paths, fence })),
  );
  const { totalDispatched, averageCompletionTime, lastUpdated, byAgent } = file("orchestrator-metrics.json");
  const { metrics } = before.status;
  t.same(
    { totalDispatched, averageCompletionTime, lastUpdated },
    { totalDispatched: 2, averageCompletionTime: metrics.averageCompletionTime, lastUpdated: metrics.lastUpdated },
  );
  t.match(byAgent, metrics.byAgent);
  for (const name of ["tasks.json", "locks.json", "orchestrator-metrics.json", "orchestrator.json"]) {
    t.equal(file(name).seq, seq, `${name} is exact`);
  }
  t.notOk(existsSync(join(home.data, "owner.json")), "the directory is given up");

  const next = await home.start();
  t.same(await next.client.all<Lock>("locks"), before.locks);
  t.same((await next.client.status()).metrics, metrics);
});

t.test("a request that never comes whole does not hold up the stop for more than 10 s", async (t) => {
  const home = new Home(t);
  const daemon = await home.start();
  await daemon.client.post("/api/tasks", { id: "before", title: "acknowledged before" });
  const stuck = request(`${daemon.url}/api/tasks`, {
    method: "POST",
    headers: { "content-length": 1000, expect: "100-continue" },
  });
  stuck.flushHeaders();
  const broken = once(stuck, "error");
  await once(stuck, "continue");
  const at = performance.now();
  daemon.signal("SIGINT");
  t.same(await daemon.exited, { code: 0, signal: null });
  t.ok(performance.now() - at < 10_000);
  await broken;
  t.match(JSON.parse(readFileSync(join(home.data, "tasks.json"), "utf8")), { tasks: [{ id: "before" }] });
});

t.test("agents go on without a daemon, and the next one settles them with what really came of them", async (t) => {
  const home = new Home(t);
  home.configure({ agents: { copilot: waitingAgent(home) }, retry: { initialDelayMs: 60_000 } });
  let daemon = await home.start();
  const ids = ["good", "bad", "slow", "killed"];
  for (const id of ids)
    await daemon.client.post("/api/tasks", { id, title: id, assignee: "copilot", files: [`${id}/**`] });
  const { dispatched = [] } = await daemon.client.dispatch();
  const sessionOf = (taskId: string) => dispatched.find((one) => one.taskId === taskId)?.sessionId ?? "";
  await daemon.client.until("four pids", async () =>
    (await daemon.client.status()).activeSessions.every(({ pid }) => pid !== undefined),
  );
  await Promise.all(ids.map((id) => fileSays(join(home.data, "runs", sessionOf(id), "stdout.log"), /at work/)));
  const programs = ids.map((id) => parseProgram(readFileSync(join(home.data, "runs", sessionOf(id), "pid"), "utf8")));
  t.equal((await daemon.stop()).code, 0);
  t.ok(
    programs.every((program) => program !== null && isAlive(program)),
    "the stop ended no agent",
  );

  const exitOf = (id: string) => fileSays(join(home.data, "runs", sessionOf(id), "exit.json"), /\}/);
  writeFileSync(home.path("good.go"), "0 well\n");
  writeFileSync(home.path("bad.go"), "7 badly\n");
  await Promise.all([exitOf("good"), exitOf("bad")]);
  daemon = await home.start();
  const { client } = daemon;
  t.match(await client.ended(sessionOf("good")), {
    status: "completed",
    exitCode: 0,
    result: "at work on good\nit was told: well",
    locks: [],
  });
  t.match(await client.ended(sessionOf("bad")), { status: "failed", exitCode: 7, error: { code: "EXIT_STATUS" } });
  t.match(await client.task("good"), {
    status: "done",
    comments: [{ author: "copilot", content: "at work on good\nit was told: well" }],
  });
  t.match(await client.task("bad"), { status: "todo", attempts: 1 });
  t.ok((await client.task("bad")).retryAt, "to be tried again");
  t.match((await client.status()).activeSessions.map((session) => [session.taskId, session.status]).sort(), [
    ["killed", "running"],
    ["slow", "running"],
  ]);

  await daemon.kill();
  writeFileSync(home.path("slow.go"), "0 at-last\n");
  await exitOf("slow");
  const [, , , killed] = programs;
  if (killed !== null && killed !== undefined) process.kill(-killed.pid, "SIGKILL");
  await exitOf("killed");
  daemon = await home.start();
  t.match(await daemon.client.ended(sessionOf("slow")), {
    status: "completed",
    result: "at work on slow\nit was told: at-last",
  });
  t.match(await daemon.client.ended(sessionOf("killed")), {
    status: "failed",
    signal: "SIGKILL",
    error: { code: "SIGNAL" },
  });
  const { metrics } = await daemon.client.status();
  t.match(metrics.byAgent, { copilot: { dispatched: 4, completed: 2, failed: 2, cancelled: 0 } });
  t.same(home.livingRuns(), []);
});

t.test("SIGHUP puts a good config in force and keeps the old one where the new is bad", async (t) => {
  const home = new Home(t, { agents: { copilot: { adapter: "cli", command: ["/bin/true"], maxConcurrent: 2 } } });
  const daemon = await home.start();
  const agents = async () =>
    (await daemon.client.get<{ agents: Agent[] }>("/api/agents")).agents
      .map(({ agent, maxConcurrent }) => [agent, maxConcurrent])
      .sort();
  t.strictSame(await agents(), [
    ["claude", 3],
    ["copilot", 2],
    ["gemini", 2],
    ["jarvis", 0],
  ]);

  home.configure({
    agents: {
      copilot: { adapter: "cli", command: ["/bin/true"], maxConcurrent: 5 },
      extra: { adapter: "cli", command: ["/bin/true"] },
    },
    server: { publicUrl: "http://jarvis" },
  });
  daemon.signal("SIGHUP");
  const read = await daemon.line("config read again");
  t.same(read.changed, ["agents.copilot.maxConcurrent", "agents.extra"]);
  t.same(read.needRestart, ["server.publicUrl"]);
  t.strictSame(await agents(), [
    ["claude", 3],
    ["copilot", 5],
    ["extra", 1],
    ["gemini", 2],
    ["jarvis", 0],
  ]);

  const refused = "the config is wrong; the old settings go on to hold";
  home.configure({ agents: { copilot: { adapter: "cli", comand: ["/bin/true"] } } });
  daemon.signal("SIGHUP");
  t.match(JSON.stringify(await daemon.line(refused)), /agents\.copilot\.comand/);
  home.configure("{ not json");
  daemon.signal("SIGHUP");
  t.match(JSON.stringify(await daemon.line(refused, 2)), /config\.json, line 1, column 3/);
  rmSync(join(home.data, "config.json"));
  mkdirSync(join(home.data, "config.json"));
  daemon.signal("SIGHUP");
  t.match(JSON.stringify(await daemon.line(refused, 3)), /cannot be read \(EISDIR\)/);
  t.strictSame(await agents(), [
    ["claude", 3],
    ["copilot", 5],
    ["extra", 1],
    ["gemini", 2],
    ["jarvis", 0],
  ]);
  await daemon.client.post("/api/tasks", { title: "still there", assignee: "copilot" });
  t.match((await daemon.client.dispatch()).dispatched, [{ agent: "copilot" }]);
  t.equal((await daemon.stop()).code, 0);
});

t.test("wrong settings stop the start with status 2 and say which", async (t) => {
  const home = new Home(t);
  const open = home.launch({ args: ["--host", "0.0.0.0", "--port", "0"] });
  t.same(await open.exited, { code: 2, signal: null });
  t.match(open.stderr, /server\.host: found "0\.0\.0\.0".*without a token/);

  home.configure({ agents: { gemini: { adapter: "ssh", ssh: { hots: "mac" } } } });
  const unknown = home.launch();
  t.same(await unknown.exited, { code: 2, signal: null });
  t.match(unknown.stderr, /agents\.gemini\.ssh\.hots: found an unknown key.*did you mean "host"/);

  home.configure({});
  const unknownFlag = home.launch({ args: ["--prot", "1"] });
  t.equal((await unknownFlag.exited).code, 2);
  const token = { JARVIS_TOKEN: "a-token-of-some-length" };
  const guarded = await home.start({ args: ["--host", "0.0.0.0", "--port", "0"], env: token });
  t.equal((await guarded.client.send("GET", "/api/tasks")).status, 401);
  t.equal(
    (await guarded.client.send("GET", "/api/tasks", undefined, { authorization: `Bearer ${token.JARVIS_TOKEN}` }))
      .status,
    200,
  );
  t.notMatch(JSON.stringify(guarded.log), token.JARVIS_TOKEN, "the token is in no log");
});

t.test("a port that is taken stops the start with status 1 and a way out", async (t) => {
  const home = new Home(t);
  const other = createServer().listen(0, "127.0.0.1");
  t.teardown(() => other.close());
  await once(other, "listening");
  const { port } = other.address() as AddressInfo;
  const daemon = home.launch({ args: ["--port", String(port)] });
  t.same(await daemon.exited, { code: 1, signal: null });
  t.match(daemon.stderr, new RegExp(`^jarvis-orchestrator: .*127\\.0\\.0\\.1:${port}.*--port\n$`));
  t.notOk(existsSync(join(home.data, "owner.json")), "the data directory is free again");
});

t.test("a damaged file stops the start, is not touched, and is mended by repair", async (t) => {
  const home = new Home(t);
  const first = await home.start();
  for (const id of ["one", "two", "three"]) await first.client.post("/api/tasks", { id, title: `task ${id}` });
  await first.client.post("/api/tasks/two/comments", { author: "diego", content: "a comment" });
  const before = await Promise.all(["one", "two", "three"].map((id) => first.client.task(id)));
  await first.stop();
  const path = join(home.data, "tasks.json");
  const damaged = readFileSync(path, "utf8").replace('"task two"', '"task twx"');
  writeFileSync(path, damaged);

  const refused = home.launch();
  t.same(await refused.exited, { code: 1, signal: null });
  t.match(refused.stderr, /tasks\.json is damaged at byte \d+: .*"jarvis-orchestrator repair"/);
  t.equal(readFileSync(path, "utf8"), damaged, "the file is as it was");

  const repair = await home.run(["repair"]);
  t.equal(repair.code, 0, repair.stderr);
  t.match(repair.stdout, /tasks\.json .*rebuilt.* nothing/);
  const second = await home.start();
  t.same(await Promise.all(["one", "two", "three"].map((id) => second.client.task(id))), before);
  await second.stop();

  appendFileSync(path, "garbage");
  const again = home.launch();
  t.equal((await again.exited).code, 1);
  t.match(again.stderr, /tasks\.json is damaged at byte \d+/);
  writeFileSync(path, "");
  const empty = home.launch();
  t.equal((await empty.exited).code, 1, "an empty file is damage, too");
  t.equal(readFileSync(path, "utf8"), "");
  const json = await home.run(["repair", "--json"]);
  t.match(JSON.parse(json.stdout), { repaired: [{ file: "tasks.json", lost: null }] });
  const third = await home.start();
  t.same(await Promise.all(["one", "two", "three"].map((id) => third.client.task(id))), before);
});

t.test("systemd is told of the start, of every sign of life, and of the stop", async (t) => {
  const home = new Home(t);
  const said = home.path("notified");
  writeFileSync(said, "");
  mkdirSync(home.path("bin"));
  home.script("bin/systemd-notify", `#!/bin/sh\necho "$*" >>'${said}'\n`);
  const env = {
    PATH: `${home.path("bin")}:${process.env.PATH}`,
    NOTIFY_SOCKET: "/run/nowhere",
    WATCHDOG_USEC: "200000",
  };
  const daemon = await home.start({ env });
  await fileSays(said, /^--no-block READY=1$/m);
  await fileSays(said, /(--no-block WATCHDOG=1\n.*){3}/s);
  t.equal((await daemon.stop()).code, 0);
  await fileSays(said, /^--no-block STOPPING=1$/m);
  t.match(readFileSync(said, "utf8"), /READY=1\n(.*\n)*.*STOPPING=1/, "in this order");

  const without = await home.start({ env: { ...env, PATH: "/nonexistent" } });
  await without.line("systemd-notify does not work; the service will be taken for hung");
  t.equal((await without.client.status()).status, "ok");
});
