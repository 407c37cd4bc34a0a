/** API.md 2, Idempotency-Key: the same request again gets the first answer again and does nothing again. */
import t from "tap";
import { callbackToken } from "../../src/http/callback-token.ts";
import { testServer } from "../support/server.ts";
import { type Ask, type Asking, addTask, askerOf, serverFor, startTask, turnUntil } from "./ask.ts";

const keyed = (key: string, body?: unknown, headers = {}): Asking => ({
  headers: { "idempotency-key": key, ...headers },
  ...(body === undefined ? {} : { body }),
});
const replayed = "idempotency-replayed";

t.test("every POST that changes something replays its first answer", async (t) => {
  const { ask, journal } = await serverFor(t);
  const { taskId, sessionId } = await startTask(ask);
  const other = await startTask(ask);
  for (const [url, body] of [
    ["/api/tasks", { title: "once" }],
    ["/api/orchestrate", undefined],
    ["/api/orchestrate", { limit: 1 }],
    [`/api/tasks/${taskId}/comments`, { author: "diego", content: "once" }],
    ["/api/locks", { sessionId, paths: ["once"], mode: "exclusive" }],
    [`/api/sessions/${sessionId}/heartbeat`, { progress: "half" }],
    [`/api/sessions/${other.sessionId}/cancel`, undefined],
    ["/api/agents/copilot/pause", { reason: "once" }],
    ["/api/agents/copilot/resume", undefined],
    ["/api/agents/claude/check", undefined],
  ] as const) {
    const key = `${url} ${JSON.stringify(body)}`;
    const first = await ask("POST", url, keyed(key, body));
    t.ok(first.status >= 200 && first.status < 300, `${url} ${first.status}`);
    t.equal(first.headers[replayed], undefined);
    const before = journal.lastSeq;
    const again = await ask("POST", url, keyed(key, body));
    t.equal(journal.lastSeq, before, `${url}: nothing was done again`);
    t.same([again.status, again.text, again.headers.location], [first.status, first.text, first.headers.location], url);
    t.equal(again.headers["content-type"], first.headers["content-type"]);
    t.equal(again.headers[replayed], "true");
  }
});

t.test("over a restart, too", async (t) => {
  const before = await testServer();
  const ask = askerOf(t, before);
  const made = await ask("POST", "/api/tasks", keyed("k", { title: "once", assignee: "claude" }));
  const dispatched = await ask("POST", "/api/orchestrate", keyed("d"));
  await before.app.close();
  const after = await serverFor(t, { restartOf: { ...before, now: before.knobs.now } });
  const again = await after.ask("POST", "/api/tasks", keyed("k", { title: "once", assignee: "claude" }));
  t.same(
    [again.status, again.text, again.headers.location, again.headers[replayed]],
    [201, made.text, made.headers.location, "true"],
  );
  t.equal((await after.ask("GET", "/api/tasks")).body.tasks.length, 1);
  t.equal((await after.ask("POST", "/api/tasks", keyed("k", { title: "twice" }))).status, 422);
  const handed = await after.ask("POST", "/api/orchestrate", keyed("d"));
  t.equal(handed.text, dispatched.text);
  const [{ sessionId, spawn }] = handed.body.dispatched;
  t.ok(spawn.args.task.includes(callbackToken(after.secret, sessionId)), "with the token, which was not stored");
});

t.test("with another body it is 422, whether the first is over or under way", async (t) => {
  const { ask, journal } = await serverFor(t);
  const open = journal.hold();
  const first = ask("POST", "/api/tasks", keyed("k", { title: "a" }));
  const other = ask("POST", "/api/tasks", keyed("k", { title: "b" }));
  open();
  t.equal((await first).status, 201);
  t.match(await other, { status: 422, body: { code: "IDEMPOTENCY_KEY_REUSED" } });
  t.equal((await ask("POST", "/api/tasks", keyed("k"))).status, 400, "a bad request is bad first");
  t.equal((await ask("POST", "/api/tasks", keyed("k", { title: "b" }))).status, 422);
  t.equal((await ask("GET", "/api/tasks")).body.tasks.length, 1);
});

t.test("the second waits while the first is under way", async (t) => {
  const { ask, journal } = await serverFor(t);
  const open = journal.hold();
  const answers = Array.from({ length: 10 }, () => ask("POST", "/api/tasks", keyed("k", { title: "once" })));
  const unrelated = ask("POST", "/api/tasks", { body: { title: "another" } });
  open();
  const all = await Promise.all(answers);
  t.same(new Set(all.map(({ status, text }) => `${status} ${text}`)).size, 1);
  t.equal(all.filter(({ headers }) => headers[replayed] === undefined).length, 1);
  t.equal((await unrelated).status, 201);
  t.equal((await ask("GET", "/api/tasks")).body.tasks.length, 2);
});

t.test("also when both came while another write held up the disk", async (t) => {
  const { ask, journal } = await serverFor(t);
  for (const status of [201, 409]) {
    const open = journal.hold();
    const before = journal.appends;
    const busy = ask("POST", "/api/tasks", { body: { id: "busy", title: "busy" } });
    if (status === 201) await turnUntil(() => journal.appends > before);
    const both = [1, 2].map(() => ask("POST", "/api/tasks", keyed("k", { title: "once" })));
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    open();
    t.equal((await busy).status, status);
    const [first, second] = await Promise.all(both);
    t.equal(second?.text, first?.text);
  }
  t.equal((await ask("GET", "/api/tasks")).body.tasks.length, 2);
});

t.test("when the first of many is refused, the next one's turn comes, one at a time", async (t) => {
  const { ask } = await serverFor(t);
  await addTask(ask, { id: "there" });
  const wanted = (id: string) => ask("POST", "/api/tasks", keyed("k", { id, title: "x" }));
  const answers = await Promise.all([wanted("there"), wanted("new"), wanted("new"), wanted("new"), wanted("new")]);
  t.same(
    answers.map(({ status }) => status),
    [409, 201, 201, 201, 201],
  );
  t.equal(answers.filter(({ headers }) => headers[replayed] === "true").length, 3);
});

t.test("a replay is not told before the first answer is on disk", async (t) => {
  const { ask, journal, dispatcher } = await serverFor(t);
  const open = journal.hold();
  const writes = [
    ask("PATCH", "/api/tasks/none", { body: { title: "x" } }),
    ask("POST", "/api/tasks", { body: { title: "busy" } }),
    ask("POST", "/api/tasks", keyed("k", { title: "once" })),
    ask("POST", "/api/tasks", keyed("k", { title: "once" })),
  ];
  journal.failing = true;
  open();
  t.same(
    (await Promise.all(writes)).map(({ status }) => status),
    [404, 503, 503, 503],
  );
  journal.failing = false;
  await turnUntil(() => dispatcher.healthy);
  t.same((await ask("GET", "/api/tasks")).body.tasks, []);
});

t.test("a refusal is not kept: the same key may succeed later", async (t) => {
  const { ask } = await serverFor(t);
  const missing = await ask("POST", "/api/tasks/t1/comments", keyed("k", { author: "diego", content: "c" }));
  t.equal(missing.status, 404);
  const bad = await ask("POST", "/api/tasks", keyed("k", { title: "" }));
  t.equal(bad.status, 400);
  await addTask(ask, { id: "t1" });
  t.equal((await ask("POST", "/api/tasks/t1/comments", keyed("k", { author: "diego", content: "c" }))).status, 201);
  t.equal(
    (await ask("POST", "/api/tasks", keyed("k", { title: "another body, for the first was refused" }))).status,
    201,
  );
});

t.test("a 503 is repeated under the same key, and happens once", async (t) => {
  for (const kept of [false, true]) {
    const server = await serverFor(t);
    const { ask, journal, dispatcher } = server;
    journal.failing = true;
    journal.keepsWhatItRefuses = kept;
    const first = await ask("POST", "/api/tasks", keyed("k", { title: "once" }));
    t.match(first, { status: 503, body: { code: "STORAGE_UNAVAILABLE", outcome: "unknown" } });
    journal.failing = false;
    await turnUntil(() => dispatcher.healthy);
    const second = await ask("POST", "/api/tasks", keyed("k", { title: "once" }));
    t.equal(second.status, 201);
    t.equal(second.headers[replayed], kept ? "true" : undefined, "its bytes may have surfaced: then it was done");
    t.equal((await ask("GET", "/api/tasks")).body.tasks.length, 1);
  }
});

t.test("it is kept for 24 hours", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const first = await ask("POST", "/api/tasks", keyed("k", { title: "a" }));
  knobs.now += 24 * 3_600_000 - 1;
  t.equal((await ask("POST", "/api/tasks", keyed("k", { title: "a" }))).text, first.text);
  knobs.now += 1;
  const later = await ask("POST", "/api/tasks", keyed("k", { title: "b" }));
  t.equal(later.status, 201);
  t.not(later.body.id, first.body.id);
});

t.test("keys of other paths, methods and callers are other keys", async (t) => {
  const { ask, secret } = await serverFor(t);
  const a = await startTask(ask);
  const b = await startTask(ask);
  const body = { author: "claude", content: "c" };
  const as = (sessionId?: string) =>
    sessionId === undefined ? {} : { authorization: `Bearer ${callbackToken(secret, sessionId)}` };
  const comment = (ask: Ask, taskId: string, sessionId?: string) =>
    ask("POST", `/api/tasks/${taskId}/comments`, keyed("k", body, as(sessionId)));
  const made = [
    await comment(ask, a.taskId),
    await comment(ask, b.taskId),
    await comment(ask, a.taskId, a.sessionId),
    await comment(ask, b.taskId, b.sessionId),
    await ask("POST", "/api/tasks", keyed("k", { title: "x" })),
  ];
  t.same(
    made.map(({ status, headers }) => [status, headers[replayed]]),
    made.map(() => [201, undefined]),
  );
  t.equal(new Set(made.map(({ body }) => body.id)).size, 5);
  const slash = await ask("POST", "/api/tasks/", keyed("k", { title: "x" }));
  t.equal(slash.headers[replayed], "true", "a slash at the end is no other path");
});

t.test("a key is 1 to 255 characters", async (t) => {
  const { ask } = await serverFor(t);
  t.equal((await ask("POST", "/api/tasks", keyed("", { title: "a" }))).status, 400);
  t.equal((await ask("POST", "/api/tasks", keyed("x".repeat(256), { title: "a" }))).status, 400);
  t.equal((await ask("POST", "/api/tasks", keyed("x".repeat(255), { title: "a" }))).status, 201);
  t.equal((await ask("GET", "/api/tasks")).body.tasks.length, 1);
});

t.test("a dry run is not kept: the dispatch under the same key is done", async (t) => {
  const { ask, journal } = await serverFor(t);
  await addTask(ask);
  const before = journal.lastSeq;
  t.equal((await ask("POST", "/api/orchestrate", keyed("k", { dryRun: true }))).body.wouldDispatch.length, 1);
  t.equal(journal.lastSeq, before);
  t.equal((await ask("POST", "/api/orchestrate", keyed("k", {}))).body.dispatched.length, 1);
});
