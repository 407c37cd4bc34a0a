/** API.md 5 and 6: sessions, logs, locks, agents, metrics, health. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import t from "tap";
import { runStarted } from "../../src/core/decide/report.ts";
import { testAgent } from "../support/server.ts";
import { type Ask, addTask, serverFor, startTask } from "./ask.ts";

const get = async (ask: Ask, url: string) => (await ask("GET", url)).body;

t.test("sessions are listed newest first, filtered, in pages without a double or a gap", async (t) => {
  const { ask } = await serverFor(t, {
    maxConcurrent: 50,
    agents: [testAgent("claude", { maxConcurrent: 20 }), testAgent("gemini", { maxConcurrent: 20 })],
  });
  const ids: string[] = [];
  for (let number = 0; number < 7; number++) {
    const { taskId, sessionId } = await startTask(ask, { assignee: number % 2 === 0 ? "claude" : "gemini" });
    ids.unshift(sessionId);
    if (number < 3) await ask("PUT", "/api/orchestrate", { body: { taskId, status: "completed", result: "x" } });
  }
  const listed = async (query: string) =>
    (await get(ask, `/api/sessions?${query}`)).sessions.map((one: { id: string }) => one.id);
  t.same(await listed(""), ids);
  t.equal((await listed("status=completed")).length, 3);
  t.equal((await listed("status=starting&agent=gemini")).length, 2);
  t.equal((await listed("agent=gemini")).length, 3);
  const { taskId } = await get(ask, `/api/sessions/${ids[0]}`);
  t.same(await listed(`taskId=${taskId}`), [ids[0]]);
  const seen: string[] = [];
  let cursor: string | undefined;
  do {
    const page = await get(ask, `/api/sessions?limit=2${cursor === undefined ? "" : `&cursor=${cursor}`}`);
    seen.push(...page.sessions.map((one: { id: string }) => one.id));
    cursor = page.nextCursor;
    await startTask(ask);
  } while (cursor !== undefined);
  t.same(seen, ids);
  t.match(await ask("GET", "/api/sessions/ses_nope"), { status: 404, body: { code: "SESSION_NOT_FOUND" } });
});

t.test("a log is read from a byte offset, also in the middle of a character", async (t) => {
  const runsDirectory = t.testdir();
  const { ask } = await serverFor(t, { runsDirectory });
  const { sessionId } = await startTask(ask);
  const log = (query = "") => ask("GET", `/api/sessions/${sessionId}/log?${query}`);
  const none = await log();
  t.same([none.status, none.text, none.headers["x-next-offset"]], [200, "", "0"], "no output yet");
  await mkdir(join(runsDirectory, sessionId));
  const text = "Grüße 🎉\nzwei\n";
  await writeFile(join(runsDirectory, sessionId, "stdout.log"), text);
  await writeFile(join(runsDirectory, sessionId, "stderr.log"), "oh no");
  const size = Buffer.byteLength(text);
  const whole = await log();
  t.same([whole.text, whole.headers["x-next-offset"]], [text, String(size)]);
  t.equal((await log("stream=stderr")).text, "oh no");
  for (let offset = 0; offset <= size; offset++) {
    const part = await log(`offset=${offset}`);
    t.equal(part.text, Buffer.from(text).subarray(offset).toString(), `${offset}`);
    t.equal(part.headers["x-next-offset"], String(size));
  }
  const beyond = await log(`offset=${size + 5}`);
  t.same([beyond.status, beyond.text, beyond.headers["x-next-offset"]], [200, "", String(size + 5)]);
  t.equal((await ask("HEAD", `/api/sessions/${sessionId}/log`)).text, "");
  for (const query of ["offset=-1", "offset=1.5", "offset=x", "stream=stdin", "stream=../../secret", "follow=maybe"]) {
    t.equal((await log(query)).status, 400, query);
  }
  for (const id of ["ses_nope", "..", "..%2F..%2Fsecret", "%2e%2e"]) {
    t.ok([400, 404].includes((await ask("GET", `/api/sessions/${id}/log`)).status), id);
  }
});

t.test("a log is followed to its end, with whole characters, and resumed where it was left", async (t) => {
  const runsDirectory = t.testdir();
  const { ask } = await serverFor(t, { runsDirectory });
  const { taskId, sessionId } = await startTask(ask);
  await ask("PUT", "/api/orchestrate", { body: { taskId, status: "completed" } });
  await mkdir(join(runsDirectory, sessionId));
  const text = "🎉ä€".repeat(30_000);
  await writeFile(
    join(runsDirectory, sessionId, "stdout.log"),
    Buffer.concat([Buffer.from(text), Buffer.from([0xf0, 0x9f])]),
  );
  const size = Buffer.byteLength(text) + 2;
  const follow = async (query: string, headers = {}) => {
    const { text, headers: answered } = await ask("GET", `/api/sessions/${sessionId}/log?follow=true${query}`, {
      headers,
    });
    t.match(answered["content-type"], /^text\/event-stream/);
    return [...text.matchAll(/^id: (\d+)\nevent: (\w+)\ndata: (.*)$/gm)].map(([, id, event, data]) => ({
      id: Number(id),
      event,
      data: JSON.parse(data ?? ""),
    }));
  };
  const events = await follow("");
  const shown = events.filter(({ event }) => event === "log");
  t.ok(shown.length > 3, "in several pieces");
  t.equal(shown.map(({ data }) => data).join(""), `${text}\uFFFD`, "what never became a character is shown damaged");
  t.same(events.at(-1), { id: size, event: "end", data: { status: "completed", offset: size } });
  const middle = shown[2]?.id ?? 0;
  const rest = await follow("", { "last-event-id": String(middle) });
  t.equal(
    shown
      .slice(0, 3)
      .map(({ data }) => data)
      .join("") +
      rest
        .filter(({ event }) => event === "log")
        .map(({ data }) => data)
        .join(""),
    `${text}\uFFFD`,
  );
  t.same(
    (await follow("&stream=stderr")).map(({ event }) => event),
    ["end"],
    "no file: nothing was said",
  );
  t.same(
    (await follow(`&offset=${size}`)).map(({ event }) => event),
    ["end"],
  );
});

t.test("a cancel answers 202 at once, and the task is held in todo", async (t) => {
  const { ask, dispatcher, knobs } = await serverFor(t);
  const spawned = await startTask(ask, { files: ["a"] });
  const cancelled = await ask("POST", `/api/sessions/${spawned.sessionId}/cancel`);
  t.equal(cancelled.status, 202);
  t.match(cancelled.body, { id: spawned.sessionId, status: "cancelled" });
  t.match(await get(ask, `/api/tasks/${spawned.taskId}`), { status: "todo", hold: { code: "CANCELLED" } });
  t.same((await get(ask, "/api/locks")).locks, []);
  t.match(await ask("POST", `/api/sessions/${spawned.sessionId}/cancel`), {
    status: 409,
    body: { code: "SESSION_NOT_ACTIVE" },
  });
  t.match(await ask("POST", "/api/sessions/ses_nope/cancel"), { status: 404, body: { code: "SESSION_NOT_FOUND" } });

  const program = await startTask(ask, { assignee: "copilot", files: ["a"] });
  await dispatcher.execute(runStarted(program.sessionId, { host: "here", pid: 7 }));
  t.match(await ask("POST", `/api/sessions/${program.sessionId}/cancel`), {
    status: 202,
    body: { status: "stopping" },
  });
  t.equal((await ask("POST", `/api/sessions/${program.sessionId}/cancel`)).status, 202, "a second one is no harm");
  t.same(knobs.stopped.includes(program.sessionId), true, "its run is told to stop");
  t.equal((await get(ask, "/api/locks")).locks.length, 1, "its locks stay until the run is gone");
  t.match((await get(ask, "/api/orchestrate")).waiting, [
    { reasons: [{ code: "HELD" }] },
    { reasons: [{ code: "HELD" }] },
  ]);
});

t.test("a run that is no process: its key is the session's", async (t) => {
  const { ask, dispatcher } = await serverFor(t);
  const { sessionId } = await startTask(ask, { assignee: "copilot" });
  await dispatcher.execute(runStarted(sessionId, { host: "gateway:18789", sessionKey: "agent:main:subagent:1" }));
  const session = await get(ask, `/api/sessions/${sessionId}`);
  t.match(session, { status: "running", host: "gateway:18789", sessionKey: "agent:main:subagent:1" });
  t.notOk("pid" in session);
});

t.test("a heartbeat renews the lease of an active session", async (t) => {
  const { ask, knobs, journal } = await serverFor(t);
  const { taskId, sessionId } = await startTask(ask);
  const before = journal.lastSeq;
  knobs.now += 5000;
  t.match(await ask("POST", `/api/sessions/${sessionId}/heartbeat`), {
    status: 200,
    body: { success: true, sessionId },
  });
  t.equal((await get(ask, `/api/sessions/${sessionId}`)).lastSignAt, new Date(knobs.now).toISOString());
  await ask("POST", `/api/sessions/${sessionId}/heartbeat`, { body: { progress: "3 of 7" } });
  t.equal((await get(ask, `/api/sessions/${sessionId}`)).progress, "3 of 7");
  t.equal((await get(ask, "/api/orchestrate")).activeSessions[0].progress, "3 of 7");
  t.equal(journal.lastSeq, before, "signs are not written down");
  t.equal((await ask("POST", `/api/sessions/${sessionId}/heartbeat`, { body: { alive: true } })).status, 400);
  await ask("PUT", "/api/orchestrate", { body: { taskId, status: "completed" } });
  t.match(await ask("POST", `/api/sessions/${sessionId}/heartbeat`), {
    status: 409,
    body: { code: "SESSION_NOT_ACTIVE" },
  });
  t.match(await ask("POST", "/api/sessions/ses_nope/heartbeat"), { status: 404, body: { code: "SESSION_NOT_FOUND" } });
});

t.test("locks: all paths or none, naming each holder; shared ones stand each other", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const a = await startTask(ask, { id: "task-a", files: ["src/**"] });
  const b = await startTask(ask, { id: "task-b" });
  const c = await startTask(ask, { id: "task-c" });
  const lock = (sessionId: string, paths: string[], mode = "exclusive", more = {}) =>
    ask("POST", "/api/locks", { body: { sessionId, paths, mode, ...more } });
  const shared = await lock(b.sessionId, ["docs/*.md", "x"], "shared", { ttlMs: 60_000 });
  t.equal(shared.status, 201);
  t.ok(shared.headers.location);
  t.same(shared.body.expiresAt, new Date(knobs.now + 60_000).toISOString());
  t.type(shared.body.token, "number");
  t.equal((await lock(c.sessionId, ["docs/a.md"], "shared")).status, 201);
  const before = (await get(ask, "/api/locks")).locks;
  const refused = await lock(c.sessionId, ["free", "src/a.ts", "docs/b.md"]);
  t.same([refused.status, refused.body.code], [409, "LOCKED"]);
  t.same(refused.body.heldBy.map((one: { taskId: string }) => one.taskId).sort(), ["task-a", "task-b"]);
  t.match(refused.body.heldBy, [{ sessionId: a.sessionId, agent: "claude", paths: ["src/**"], mode: "exclusive" }]);
  t.same((await get(ask, "/api/locks")).locks, before, "none of its paths was taken");
  t.equal((await lock(a.sessionId, ["src/a.ts"])).status, 201, "its own locks are not in a session's way");

  const free = await lock(c.sessionId, ["free"]);
  t.ok(free.body.token > shared.body.token, "the fence only grows");
  t.equal(free.body.expiresAt, null);
  t.match(
    (await get(ask, "/api/locks")).locks.find((one: { id: string }) => one.id === free.body.id),
    {
      sessionId: c.sessionId,
      taskId: "task-c",
      agent: "claude",
      paths: ["free"],
      mode: "exclusive",
      fence: free.body.token,
    },
  );
  t.equal((await ask("DELETE", `/api/locks/${free.body.id}`)).status, 204);
  t.match(await ask("DELETE", `/api/locks/${free.body.id}`), { status: 404, body: { code: "LOCK_NOT_FOUND" } });
  t.ok((await lock(c.sessionId, ["free"])).body.token > free.body.token);

  knobs.now += 50_000;
  const renewed = await ask("PUT", `/api/locks/${shared.body.id}`);
  t.match(renewed, {
    status: 200,
    body: { id: shared.body.id, expiresAt: new Date(knobs.now + 60_000).toISOString() },
  });
  knobs.now += 60_000;
  t.equal((await ask("PUT", `/api/locks/${shared.body.id}`)).status, 404, "it ran out");
  t.notOk((await get(ask, "/api/locks")).locks.some((one: { id: string }) => one.id === shared.body.id));

  for (const bad of [
    { sessionId: c.sessionId, paths: [], mode: "exclusive" },
    { sessionId: c.sessionId, paths: ["../x"], mode: "exclusive" },
    { sessionId: c.sessionId, paths: ["/x"], mode: "exclusive" },
    { sessionId: c.sessionId, paths: ["x"], mode: "both" },
    { sessionId: c.sessionId, paths: ["x"], mode: "shared", ttlMs: 0 },
    { sessionId: c.sessionId, paths: ["x"], mode: "shared", ttlMs: 1e12 },
    { paths: ["x"], mode: "shared" },
  ]) {
    t.equal((await ask("POST", "/api/locks", { body: bad })).status, 400, JSON.stringify(bad));
  }
  t.match(await lock("ses_nope", ["x"]), { status: 404, body: { code: "SESSION_NOT_FOUND" } });
  await ask("PUT", "/api/orchestrate", { body: { taskId: "task-c", status: "failed" } });
  t.match(await lock(c.sessionId, ["x"]), { status: 409, body: { code: "SESSION_NOT_ACTIVE" } });
  t.notOk(
    (await get(ask, "/api/locks")).locks.some((one: { sessionId: string }) => one.sessionId === c.sessionId),
    "every end releases them",
  );
});

t.test("of many that ask for one path at once, one gets it", async (t) => {
  const { ask } = await serverFor(t, { maxConcurrent: 20, agents: [testAgent("claude", { maxConcurrent: 20 })] });
  const sessions = [];
  for (let number = 0; number < 10; number++) sessions.push((await startTask(ask)).sessionId);
  const answers = await Promise.all(
    sessions.map((sessionId) => ask("POST", "/api/locks", { body: { sessionId, paths: ["one"], mode: "exclusive" } })),
  );
  t.same(answers.map(({ status }) => status).sort(), [201, ...Array(9).fill(409)]);
});

t.test("agents are paused, resumed and checked", async (t) => {
  const { ask, knobs } = await serverFor(t);
  t.same(
    (await get(ask, "/api/agents")).agents.map((one: { agent: string }) => one.agent),
    ["claude", "copilot"],
  );
  const page = await get(ask, "/api/agents?limit=1");
  t.same(
    (await get(ask, `/api/agents?limit=1&cursor=${page.nextCursor}`)).agents.map((one: { agent: string }) => one.agent),
    ["copilot"],
  );
  t.match(await ask("POST", "/api/agents/claude/pause"), {
    status: 200,
    body: { agent: "claude", availability: "paused", canDispatch: false },
  });
  await addTask(ask);
  t.match((await ask("POST", "/api/orchestrate")).body, {
    dispatched: [],
    skipped: [{ reasons: [{ code: "AGENT_PAUSED" }] }],
  });
  t.equal((await ask("POST", "/api/agents/claude/pause")).status, 200, "twice is fine");
  t.match(await ask("POST", "/api/agents/claude/resume"), { status: 200, body: { availability: "available" } });
  t.equal((await ask("POST", "/api/orchestrate")).body.dispatched.length, 1);
  t.match((await ask("POST", "/api/agents/claude/check")).body, { agent: "claude", ok: true });
  knobs.unavailable.set("claude", { reason: "no answer", noticedAt: 1 });
  t.match((await ask("POST", "/api/agents/claude/check")).body, { ok: false, message: "no answer" });
  for (const action of ["pause", "resume", "check"]) {
    t.match(
      await ask("POST", `/api/agents/nobody/${action}`),
      { status: 404, body: { code: "AGENT_NOT_FOUND" } },
      action,
    );
  }
});

t.test("metrics, as JSON and for Prometheus", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const done = await startTask(ask);
  knobs.now += 4000;
  await ask("PUT", "/api/orchestrate", {
    body: { taskId: done.taskId, status: "completed", usage: { inputTokens: 5, outputTokens: 7, costUsd: 0.25 } },
  });
  const failed = await startTask(ask);
  await ask("PUT", "/api/orchestrate", { body: { taskId: failed.taskId, status: "failed" } });
  await startTask(ask);
  const { byAgent, totalDispatched, lastUpdated, budgets } = await get(ask, "/api/metrics");
  t.equal(totalDispatched, 3);
  t.equal(lastUpdated, new Date(knobs.now).toISOString());
  t.type(budgets, Array);
  t.match(byAgent.claude, {
    dispatched: 3,
    completed: 1,
    failed: 1,
    active: 1,
    successRate: 0.5,
    averageCompletionMs: 4000,
    p50CompletionMs: 4000,
    p95CompletionMs: 4000,
    inputTokens: 5,
    outputTokens: 7,
    costUsd: 0.25,
    costUnknown: 1,
  });
  const { text } = await ask("GET", "/metrics");
  for (const line of [
    "jarvis_dispatched_total 3",
    'jarvis_sessions_total{agent="claude",outcome="completed"} 1',
    'jarvis_active_sessions{agent="claude"} 1',
    "jarvis_healthy 1",
  ]) {
    t.ok(text.split("\n").includes(line), line);
  }
  t.match(text, /^# HELP jarvis_dispatched_total .+\n# TYPE jarvis_dispatched_total \w+$/m);
});

t.test("health", async (t) => {
  const { ask, knobs } = await serverFor(t);
  t.match(await ask("GET", "/healthz"), { status: 200, body: { status: "ok" } });
  t.match(await ask("GET", "/readyz"), { status: 200, body: { status: "ok" } });
  knobs.draining = true;
  t.equal((await ask("GET", "/healthz")).status, 200);
  t.match(await ask("GET", "/readyz"), { status: 503, body: { code: "DRAINING" } });
});
