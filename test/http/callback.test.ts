/** API.md 3, PUT, and what an agent may do with the token of its session. */
import t from "tap";
import { runEnded, runStarted } from "../../src/core/decide/report.ts";
import { callbackToken } from "../../src/http/callback-token.ts";
import { type TestServer, testAgent } from "../support/server.ts";
import { type Ask, type Asking, addTask, serverFor, startTask } from "./ask.ts";

type Server = TestServer & { readonly ask: Ask };

const put = (ask: Ask, body: object, asking: Asking = {}) => ask("PUT", "/api/orchestrate", { ...asking, body });

/** Asks with the token that the session was started with. */
function agentOf({ ask, secret }: Server, sessionId: string): Ask {
  return (method, url, asking = {}) =>
    ask(method, url, {
      ...asking,
      headers: { authorization: `Bearer ${callbackToken(secret, sessionId)}`, ...asking.headers },
    });
}

const task = async (ask: Ask, id: string) => (await ask("GET", `/api/tasks/${id}`)).body;

t.test("completed: the result becomes a comment, the task is done, its locks are free", async (t) => {
  const { ask } = await serverFor(t);
  const { taskId, sessionId } = await startTask(ask, { files: ["src/**"], assignee: "claude" });
  t.equal((await ask("GET", "/api/locks")).body.locks.length, 1);
  const running = await put(ask, { taskId, status: "running", sessionId, sessionKey: "k", progress: "half" });
  t.same(running.body, { success: true, taskId, sessionId, newStatus: "in_progress" });
  t.match((await ask("GET", `/api/sessions/${sessionId}`)).body, {
    status: "running",
    progress: "half",
    sessionKey: "k",
  });

  const usage = { inputTokens: 10, outputTokens: 20, costUsd: 0.5, model: "sonnet" };
  const { status, body } = await put(ask, {
    taskId,
    status: "completed",
    sessionId,
    sessionKey: "k",
    result: "it works",
    usage,
  });
  t.equal(status, 200);
  t.same(body, { success: true, taskId, sessionId, newStatus: "done" });
  t.match(await task(ask, taskId), {
    status: "done",
    comments: [{ author: "claude", content: "it works", sessionId }],
  });
  t.match((await ask("GET", `/api/sessions/${sessionId}`)).body, {
    status: "completed",
    result: "it works",
    usage,
    cost: { usd: 0.5, basis: "measured" },
    locks: [],
  });
  t.same((await ask("GET", "/api/locks")).body.locks, []);
  const { metrics } = (await ask("GET", "/api/orchestrate")).body;
  t.match(metrics, { totalDispatched: 1, byAgent: { claude: { dispatched: 1, completed: 1, failed: 0 } } });
  t.type(metrics.averageCompletionTime.claude, "number");
});

t.test("completed where a review is asked for: review", async (t) => {
  const { ask } = await serverFor(t);
  const { taskId } = await startTask(ask, { requiresReview: true });
  t.equal((await put(ask, { taskId, status: "completed" })).body.newStatus, "review");
});

t.test("failed: the error becomes a comment, the task waits in todo for its retry", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const { taskId, sessionId } = await startTask(ask);
  const { body } = await put(ask, { taskId, status: "failed", error: "no luck" });
  t.equal(body.newStatus, "todo");
  const after = await task(ask, taskId);
  t.match(after, {
    status: "todo",
    attempts: 1,
    comments: [{ author: "claude", content: /no luck/ }],
    sessions: [{ id: sessionId, status: "failed" }],
  });
  t.ok(Date.parse(after.retryAt) > knobs.now);
  t.match((await ask("GET", "/api/orchestrate")).body.waiting, [
    { taskId, reasons: [{ code: "RETRY_LATER", until: after.retryAt }] },
  ]);
});

t.test("the same report again is a duplicate, and counts once; another one is refused", async (t) => {
  const { ask, journal } = await serverFor(t);
  for (const [first, other] of [
    ["completed", "failed"],
    ["failed", "completed"],
  ] as const) {
    const { taskId, sessionId } = await startTask(ask);
    await put(ask, { taskId, sessionId, status: first, result: "r", error: "e" });
    const before = journal.lastSeq;
    const comments = (await task(ask, taskId)).comments.length;
    for (let times = 0; times < 3; times++) {
      const { status, body } = await put(ask, {
        taskId,
        sessionId,
        status: first,
        result: "another",
        usage: { costUsd: 9 },
      });
      t.equal(status, 200);
      t.match(body, { success: true, sessionId, duplicate: true });
    }
    for (const status of [other, "running"]) {
      const refused = await put(ask, { taskId, sessionId, status });
      t.same([refused.status, refused.body.code], [409, "SESSION_NOT_ACTIVE"], `${first}, then ${status}`);
    }
    t.equal(journal.lastSeq, before, "nothing was written");
    t.equal((await task(ask, taskId)).comments.length, comments);
  }
  t.match((await ask("GET", "/api/metrics")).body.byAgent.claude, {
    dispatched: 2,
    completed: 1,
    failed: 1,
    costUsd: 0,
    costUnknown: 2,
  });
});

t.test("reports at once count once", async (t) => {
  const { ask } = await serverFor(t);
  const { taskId } = await startTask(ask);
  const reports = await Promise.all(
    Array.from({ length: 20 }, () => put(ask, { taskId, status: "completed", result: "r" })),
  );
  t.same(new Set(reports.map(({ status }) => status)), new Set([200]));
  t.equal(reports.filter(({ body }) => body.duplicate !== true).length, 1);
  t.equal((await task(ask, taskId)).comments.length, 1);
});

t.test("a late report of a replaced session never touches the newer attempt", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const { taskId, sessionId: old } = await startTask(ask);
  await put(ask, { taskId, sessionId: old, status: "failed", error: "first" });
  knobs.now += 60_000;
  const { body } = await ask("POST", "/api/orchestrate");
  const [{ sessionId: young, attempt }] = body.dispatched;
  t.equal(attempt, 2);
  t.equal((await put(ask, { taskId, sessionId: old, status: "completed", result: "late" })).status, 409);
  t.equal((await put(ask, { taskId, sessionId: old, status: "failed" })).body.duplicate, true);
  t.equal((await task(ask, taskId)).status, "in_progress");
  t.match((await ask("GET", `/api/sessions/${young}`)).body, { status: "starting" });
  t.equal((await put(ask, { taskId, status: "completed" })).body.sessionId, young, "without sessionId: the active one");
  t.equal((await put(ask, { taskId, status: "completed" })).body.sessionId, young, "else the latest");
});

t.test("the first session key binds", async (t) => {
  const { ask } = await serverFor(t);
  const { taskId } = await startTask(ask);
  t.equal((await put(ask, { taskId, status: "running", sessionKey: "a" })).status, 200);
  const other = await put(ask, { taskId, status: "running", sessionKey: "b" });
  t.same([other.status, other.body.code], [409, "SESSION_CLAIMED"]);
  t.same((await put(ask, { taskId, status: "completed", sessionKey: "b" })).body.code, "SESSION_CLAIMED");
  t.equal((await put(ask, { taskId, status: "completed", sessionKey: "a" })).status, 200);
});

t.test("what was never there is said to be so", async (t) => {
  const { ask } = await serverFor(t);
  t.match(await put(ask, { taskId: "nope", status: "running" }), { status: 404, body: { code: "TASK_NOT_FOUND" } });
  const undispatched = await addTask(ask);
  t.match(await put(ask, { taskId: undispatched, status: "running" }), {
    status: 409,
    body: { code: "SESSION_NOT_ACTIVE" },
  });
  const { taskId } = await startTask(ask);
  t.match(await put(ask, { taskId, status: "running", sessionId: "ses_nope" }), {
    status: 404,
    body: { code: "SESSION_NOT_FOUND" },
  });
  t.match(
    await put(ask, { taskId: undispatched, status: "running", sessionId: (await task(ask, taskId)).sessions[0].id }),
    { status: 404 },
  );
  for (const body of [
    { taskId },
    { status: "running" },
    { taskId, status: "done" },
    { taskId, status: "running", result: 1 },
  ]) {
    t.equal((await put(ask, body)).status, 400, JSON.stringify(body));
  }
});

t.test("what an agent claims to have used stays a number", async (t) => {
  const { ask } = await serverFor(t);
  const { taskId } = await startTask(ask);
  for (const usage of [
    { costUsd: 1e308 },
    { costUsd: -1 },
    { inputTokens: 1e300 },
    { outputTokens: -5 },
    { outputTokens: 1.5 },
  ]) {
    t.equal((await put(ask, { taskId, status: "completed", usage })).status, 400, JSON.stringify(usage));
  }
  t.equal((await put(ask, { taskId, status: "completed", usage: { costUsd: 1e9, inputTokens: 1e12 } })).status, 200);
});

t.test("the task was deleted or moved meanwhile: the person's word stands", async (t) => {
  const { ask } = await serverFor(t);
  const deleted = await startTask(ask);
  await ask("DELETE", `/api/tasks/${deleted.taskId}`);
  const late = await put(ask, {
    taskId: deleted.taskId,
    sessionId: deleted.sessionId,
    status: "completed",
    result: "r",
  });
  t.same([late.status, late.body.code], [409, "SESSION_NOT_ACTIVE"]);
  const moved = await startTask(ask);
  await ask("PATCH", `/api/tasks/${moved.taskId}`, { body: { status: "done" } });
  t.equal((await put(ask, { taskId: moved.taskId, status: "failed" })).status, 409);
  t.equal((await task(ask, moved.taskId)).status, "done");
});

t.test("a session whose program still runs stays stopping, and holds its locks until the run is empty", async (t) => {
  const { ask, dispatcher } = await serverFor(t, { agents: [testAgent("copilot", { adapter: "cli", method: "cli" })] });
  const { taskId, sessionId } = await startTask(ask, { assignee: "copilot", files: ["a.ts"] });
  await dispatcher.execute(runStarted(sessionId, { host: "here", pid: 7 }));
  t.equal((await put(ask, { taskId, status: "completed", result: "r" })).body.newStatus, "done");
  t.match((await ask("GET", `/api/sessions/${sessionId}`)).body, {
    status: "stopping",
    result: "r",
    locks: ["a.ts"],
    pid: 7,
    host: "here",
  });
  const waits = await addTask(ask, { assignee: "copilot", files: ["a.ts"] });
  t.match((await ask("POST", "/api/orchestrate")).body, {
    dispatched: [],
    skipped: [{ taskId: waits, reasons: [{ code: "LOCKED" }] }],
  });
  t.equal(
    (await put(ask, { taskId, status: "completed" })).body.duplicate,
    true,
    "a duplicate while it is stopping, too",
  );
  await dispatcher.execute(
    runEnded({
      sessionId,
      exit: { exitCode: 3 },
      outcome: { status: "failed", error: { code: "EXIT", message: "3" } },
      usage: { costUsd: 1 },
    }),
  );
  t.match((await ask("GET", `/api/sessions/${sessionId}`)).body, {
    status: "completed",
    exitCode: 3,
    cost: { usd: 1 },
    locks: [],
  });
  t.equal((await ask("POST", "/api/orchestrate")).body.dispatched.length, 1);
});

t.test("a session that left for the archive is still known", async (t) => {
  const { ask, archive, secret } = await serverFor(t);
  const session = {
    id: "ses_old",
    taskId: "told",
    taskTitle: "old",
    agent: "claude",
    attempt: 1,
    method: "sessions_spawn",
    startedAt: 1,
    deadlineAt: 2,
    timeoutMs: 1,
    stallTimeoutMs: 0,
    startTimeoutMs: 0,
    exitGraceMs: 0,
    files: [],
    workspace: null,
    status: "completed",
    completedAt: 2,
    outcome: { status: "completed" },
    cost: { usd: null, basis: "unknown" },
  } as const;
  await archive.appendSessions([session]);
  t.match(await put(ask, { taskId: "told", sessionId: "ses_old", status: "completed" }), {
    status: 200,
    body: { duplicate: true, newStatus: null },
  });
  t.match(await put(ask, { taskId: "told", sessionId: "ses_old", status: "failed" }), {
    status: 409,
    body: { code: "SESSION_NOT_ACTIVE" },
  });
  t.equal((await put(ask, { taskId: "other", sessionId: "ses_old", status: "completed" })).status, 404);
  const headers = { authorization: `Bearer ${callbackToken(secret, "ses_old")}` };
  t.equal((await put(ask, { taskId: "told", status: "completed" }, { headers })).body.duplicate, true);
  t.equal((await ask("POST", "/api/sessions/ses_old/cancel")).status, 409);
  t.equal((await ask("POST", "/api/sessions/ses_old/heartbeat")).status, 409);
  t.match((await ask("GET", "/api/sessions/ses_old")).body, { id: "ses_old", status: "completed" });
});

t.test("an agent reports on its own session and on no other", async (t) => {
  const server = await serverFor(t);
  const { ask, journal } = server;
  const a = await startTask(ask);
  const b = await startTask(ask);
  const agent = agentOf(server, a.sessionId);
  const before = journal.lastSeq;
  for (const [what, body] of [
    ["another's session", { taskId: b.taskId, sessionId: b.sessionId }],
    ["another's task, without a session", { taskId: b.taskId }],
    ["another's task, with its own session", { taskId: b.taskId, sessionId: a.sessionId }],
    ["its own task, with another's session", { taskId: a.taskId, sessionId: b.sessionId }],
  ] as const) {
    for (const status of ["running", "completed", "failed"]) {
      const refused = await put(agent, { ...body, status, sessionKey: "x" });
      t.same([refused.status, refused.body.code], [403, "NOT_YOUR_SESSION"], `${what}: ${status}`);
    }
  }
  t.equal(journal.lastSeq, before);
  t.equal(
    (await put(agent, { taskId: a.taskId, status: "running" })).body.sessionId,
    a.sessionId,
    "without sessionId: its own",
  );
  t.equal((await put(agent, { taskId: a.taskId, sessionId: a.sessionId, status: "completed" })).status, 200);
});

t.test("an agent whose session was replaced cannot speak for the new one", async (t) => {
  const server = await serverFor(t);
  const { ask, knobs } = server;
  const { taskId, sessionId } = await startTask(ask);
  const old = agentOf(server, sessionId);
  await put(old, { taskId, status: "failed" });
  knobs.now += 60_000;
  const young = (await ask("POST", "/api/orchestrate")).body.dispatched[0].sessionId;
  t.same((await put(old, { taskId, status: "completed" })).body.code, "SESSION_NOT_ACTIVE");
  t.equal((await put(old, { taskId, status: "completed", sessionId: young })).status, 403);
  t.equal((await old("POST", `/api/sessions/${young}/heartbeat`)).status, 403);
  t.equal(
    (await old("POST", `/api/tasks/${taskId}/comments`, { body: { author: "claude", content: "c" } })).status,
    409,
  );
  t.equal((await old("POST", "/api/locks", { body: { sessionId, paths: ["a"], mode: "exclusive" } })).status, 409);
  t.equal(
    (await old("POST", "/api/locks", { body: { sessionId: young, paths: ["a"], mode: "exclusive" } })).status,
    403,
  );
  t.equal((await old("POST", `/api/sessions/${sessionId}/heartbeat`)).status, 409);
  t.equal((await task(ask, taskId)).status, "in_progress");
});

t.test("an agent comments on its own task, as itself, while its session lasts", async (t) => {
  const server = await serverFor(t);
  const { ask } = server;
  const a = await startTask(ask);
  const b = await startTask(ask);
  const agent = agentOf(server, a.sessionId);
  const comment = (taskId: string, author: string) =>
    agent("POST", `/api/tasks/${taskId}/comments`, { body: { author, content: "c" } });
  const made = await comment(a.taskId, "claude");
  t.equal(made.status, 201);
  t.match(made.body, { author: "claude", content: "c", sessionId: a.sessionId });
  for (const author of ["jarvis", "diego", "copilot", "Claude"])
    t.equal((await comment(a.taskId, author)).status, 403, author);
  t.equal((await comment(b.taskId, "claude")).status, 403);
  t.equal((await comment("nope", "claude")).status, 403);
  t.equal((await task(ask, a.taskId)).comments.length, 1);
  t.equal((await task(ask, b.taskId)).comments.length, 0);
  const faked = await agent("POST", `/api/tasks/${a.taskId}/comments`, {
    body: { author: "claude", content: "c", sessionId: b.sessionId },
  });
  t.equal(faked.status, 400);
  await put(agent, { taskId: a.taskId, status: "completed" });
  t.equal((await comment(a.taskId, "claude")).status, 409);
});

t.test("an agent locks, renews and releases for its own session only", async (t) => {
  const server = await serverFor(t);
  const { ask } = server;
  const a = await startTask(ask, { files: ["a/**"] });
  const b = await startTask(ask, { files: ["b/**"] });
  const agent = agentOf(server, a.sessionId);
  const made = await agent("POST", "/api/locks", {
    body: { sessionId: a.sessionId, paths: ["c"], mode: "exclusive", ttlMs: 5000 },
  });
  t.equal(made.status, 201);
  t.equal(
    (await agent("POST", "/api/locks", { body: { sessionId: b.sessionId, paths: ["d"], mode: "shared" } })).status,
    403,
  );
  const locks = (await ask("GET", "/api/locks")).body.locks as { id: string; sessionId: string }[];
  for (const { id } of locks.filter((lock) => lock.sessionId === b.sessionId)) {
    t.equal((await agent("PUT", `/api/locks/${id}`)).status, 403);
    t.equal((await agent("DELETE", `/api/locks/${id}`)).status, 403);
  }
  t.equal((await agent("PUT", `/api/locks/${made.body.id}`, { body: { ttlMs: 9000 } })).status, 200);
  t.equal((await agent("DELETE", `/api/locks/${made.body.id}`)).status, 204);
  t.match(
    await agent("DELETE", `/api/locks/lock_${a.sessionId}`),
    { status: 409, body: { code: "LOCK_OF_RUN" } },
    "its task's files stay locked as long as it runs",
  );
  t.equal((await ask("GET", "/api/locks")).body.locks.length, 2);
  t.equal((await agent("GET", "/api/locks")).status, 403);
});

t.test("one agent's Idempotency-Key never answers another's request", async (t) => {
  const server = await serverFor(t);
  const a = await startTask(server.ask);
  const b = await startTask(server.ask);
  const asking = (sessionId: string): Asking => ({
    headers: { "idempotency-key": "k" },
    body: { sessionId, paths: ["x"], mode: "shared" },
  });
  const first = await agentOf(server, a.sessionId)("POST", "/api/locks", asking(a.sessionId));
  const second = await agentOf(server, b.sessionId)("POST", "/api/locks", asking(b.sessionId));
  t.same([first.status, second.status], [201, 201]);
  t.not(first.body.id, second.body.id);
  t.equal(second.headers["idempotency-replayed"], undefined);
});

t.test(
  "an agent that repeats a comment under its key after its session ended gets the first answer again",
  async (t) => {
    const server = await serverFor(t);
    const { taskId, sessionId } = await startTask(server.ask);
    const agent = agentOf(server, sessionId);
    const asking: Asking = { headers: { "idempotency-key": "k" }, body: { author: "claude", content: "c" } };
    const first = await agent("POST", `/api/tasks/${taskId}/comments`, asking);
    await put(agent, { taskId, status: "completed" });
    const again = await agent("POST", `/api/tasks/${taskId}/comments`, asking);
    t.same([again.status, again.body], [201, first.body]);
  },
);

t.test("an agent comments so much and no more; the operator does as long as he likes", async (t) => {
  const server = await serverFor(t);
  const { taskId, sessionId } = await startTask(server.ask, { assignee: "claude" });
  const agent = agentOf(server, sessionId);
  const url = `/api/tasks/${taskId}/comments`;
  let said = 0;
  for (; said < 1000; said++) {
    const { status, body } = await agent("POST", url, { body: { author: "claude", content: `word ${said}` } });
    if (status === 201) continue;
    t.same([status, body.code], [409, "TOO_MANY_COMMENTS"]);
    break;
  }
  t.equal(said, 200);
  t.equal((await server.ask("POST", url, { body: { author: "diego", content: "enough" } })).status, 201);
  t.equal((await put(agent, { taskId, sessionId, status: "completed", result: "done" })).status, 200);
});
