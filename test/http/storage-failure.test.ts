/** API.md 2: a disk that fails. Nothing is acknowledged or shown that is not on it; reads go on; it heals by itself. */
import t from "tap";
import { createTask } from "../../src/core/decide/tasks.ts";
import { emptyState } from "../../src/core/state.ts";
import { transition } from "../../src/core/transition.ts";
import { type Ask, addTask, serverFor, startTask, turnUntil } from "./ask.ts";

const READS = [
  "/api/orchestrate",
  "/api/orchestrate?format=heartbeat",
  "/api/tasks",
  "/api/tasks/t1",
  "/api/tasks/t1/comments",
  "/api/sessions",
  "/api/locks",
  "/api/agents",
  "/api/metrics",
  "/metrics",
  "/",
];

/** All that can be read, but for the daemon's own health and what time changes. */
async function shownBy(ask: Ask): Promise<string[]> {
  const all: string[] = [];
  for (const url of READS) {
    const { status, text } = await ask("GET", url);
    all.push(`${url} ${status} ${text.replace(/"status":"(?:ok|degraded)"/, "").replace(/^jarvis_healthy.*$/m, "")}`);
  }
  return all;
}

t.test("writes answer 503, reads go on with what is on disk, and all is well again by itself", async (t) => {
  const server = await serverFor(t);
  const { ask, journal, dispatcher } = server;
  await addTask(ask, { id: "t1" });
  const { taskId, sessionId } = await startTask(ask, { files: ["a"] });
  const before = await shownBy(ask);

  journal.failing = true;
  const writes: [string, string, object?][] = [
    ["POST", "/api/tasks", { id: "ghost", title: "ghost" }],
    ["PATCH", "/api/tasks/t1", { title: "ghost" }],
    ["POST", "/api/tasks/t1/comments", { author: "diego", content: "ghost" }],
    ["POST", "/api/orchestrate"],
    ["PUT", "/api/orchestrate", { taskId, status: "completed", result: "ghost" }],
    ["POST", `/api/sessions/${sessionId}/cancel`],
    ["POST", "/api/locks", { sessionId, paths: ["ghost"], mode: "exclusive" }],
    ["POST", "/api/agents/claude/pause", { reason: "ghost" }],
    ["DELETE", "/api/tasks/t1"],
  ];
  const answers = await Promise.all(writes.map(([method, url, body]) => ask(method, url, { body })));
  for (const [index, { status, headers, body }] of answers.entries()) {
    const what = `${writes[index]?.[0]} ${writes[index]?.[1]}`;
    t.same([status, body.code, body.outcome], [503, "STORAGE_UNAVAILABLE", "unknown"], what);
    t.ok(headers["retry-after"], what);
  }
  for (let round = 0; round < 3; round++) {
    t.same(await shownBy(ask), before, "reads go on, and show nothing of it");
    t.equal((await ask("PATCH", "/api/tasks/t1", { body: { title: "ghost" } })).status, 503);
  }
  t.match(await ask("GET", "/readyz"), { status: 503, body: { code: "STORAGE_UNAVAILABLE" } });
  t.equal((await ask("GET", "/healthz")).status, 200);
  t.equal((await ask("GET", "/api/orchestrate")).body.status, "degraded");
  t.match((await ask("GET", "/metrics")).text, /^jarvis_healthy 0$/m);

  journal.failing = false;
  await turnUntil(() => dispatcher.healthy);
  t.equal((await ask("GET", "/readyz")).status, 200);
  t.same(await shownBy(ask), before);
  t.equal((await ask("PATCH", "/api/tasks/t1", { body: { title: "real" } })).status, 200);
  t.equal((await ask("POST", "/api/tasks", { body: { id: "ghost", title: "now it is" } })).status, 201);
  t.notMatch(JSON.stringify(journal.stored), /"title":"ghost"|"content":"ghost"|"reason":"ghost"/);
});

t.test("reads that wait while the disk fails show what was before", async (t) => {
  const { ask, journal } = await serverFor(t);
  await addTask(ask, { id: "t1", title: "before" });
  const open = journal.hold();
  const write = ask("PATCH", "/api/tasks/t1", { body: { title: "ghost" } });
  await turnUntil(() => journal.appends === 2);
  const reads = READS.map((url) => ask("GET", url));
  const stale = ask("PATCH", "/api/tasks/t1", { body: { title: "x" }, headers: { "if-match": '"1"' } });
  const dryRun = ask("POST", "/api/orchestrate", { body: { dryRun: true } });
  journal.failing = true;
  open();
  t.equal((await write).status, 503);
  for (const { status, text } of await Promise.all(reads)) {
    t.equal(status, 200);
    t.notMatch(text, "ghost");
  }
  t.equal((await stale).status, 503, "a refusal that was read from what failed is not told either");
  const { status, text } = await dryRun;
  t.equal(status, 200);
  t.notMatch(text, "ghost");
  t.equal((await ask("GET", "/api/tasks/t1")).body.title, "before");
});

t.test("reads that wait for a write that succeeds show it whole", async (t) => {
  const { ask, journal } = await serverFor(t);
  await addTask(ask, { id: "t1", title: "before" });
  const open = journal.hold();
  const write = ask("PATCH", "/api/tasks/t1", { body: { title: "after" } });
  await turnUntil(() => journal.appends === 2);
  let answered = 0;
  const reads = ["/api/tasks/t1", "/api/tasks", "/api/orchestrate"].map(async (url) => {
    const answer = await ask("GET", url);
    answered++;
    return answer;
  });
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  t.equal(answered, 0, "not before it is on disk");
  open();
  t.equal((await write).status, 200);
  for (const { text } of await Promise.all(reads)) t.match(text, "after");
});

t.test("a status that was made from what failed is neither shown nor kept", async (t) => {
  const { ask, journal, dispatcher } = await serverFor(t);
  const open = journal.hold();
  const first = ask("POST", "/api/tasks", { body: { id: "t1", title: "real", assignee: "claude" } });
  await turnUntil(() => journal.appends === 1);
  // The moment the first is on disk, and before a reader that waits for it looks, another change is decided, and will fail.
  const second = dispatcher.settled().then(() => {
    journal.failing = true;
    return dispatcher.execute(createTask({ id: "t2", title: "ghost", assignee: "claude" }));
  });
  const waiting = [
    ask("GET", "/api/orchestrate"),
    ask("GET", "/api/orchestrate?format=heartbeat"),
    ask("GET", "/api/tasks"),
  ];
  for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
  open();
  t.equal((await first).status, 201);
  await t.rejects(second, { code: "STORAGE_UNAVAILABLE" });
  const [status, heartbeat, list] = await Promise.all(waiting);
  t.match(status?.text, "real");
  t.notMatch(status?.text, "ghost");
  t.match(heartbeat?.text, /^1 task /);
  t.notMatch(list?.text, "ghost");
  journal.failing = false;
  await turnUntil(() => dispatcher.healthy);
  await addTask(ask, { id: "t3", title: "another" });
  const after = await ask("GET", "/api/orchestrate");
  t.match(after.text, "another", "the next change has the number that the failed one would have had");
  t.notMatch(after.text, "ghost");
  t.not(status?.headers.etag, after.headers.etag);
});

t.test("while a change is being written, the status is at once what was on disk before it", async (t) => {
  const { ask, journal } = await serverFor(t);
  const before = await ask("GET", "/api/orchestrate");
  const open = journal.hold();
  const posted = ask("POST", "/api/tasks", { body: { id: "t1", title: "new", assignee: "claude" } });
  await turnUntil(() => journal.appends === 1);
  const meanwhile = await ask("GET", "/api/orchestrate");
  t.equal(meanwhile.text, before.text);
  t.equal(meanwhile.headers.etag, before.headers.etag);
  open();
  t.equal((await posted).status, 201);
  const after = await ask("GET", "/api/orchestrate");
  t.match(after.text, "new", "who was told of it finds it");
  t.not(after.headers.etag, before.headers.etag);
});

t.test("bytes that surface after all are shown: the outcome was unknown", async (t) => {
  const { ask, journal, dispatcher } = await serverFor(t);
  journal.failing = true;
  journal.keepsWhatItRefuses = true;
  t.equal((await ask("POST", "/api/tasks", { body: { id: "t1", title: "surfaced" } })).status, 503);
  journal.failing = false;
  await turnUntil(() => dispatcher.healthy);
  t.equal((await ask("GET", "/api/tasks/t1")).body.title, "surfaced");
  t.equal((await ask("POST", "/api/tasks", { body: { id: "t1", title: "again" } })).status, 409);
});

t.test("while the disk comes and goes, every 2xx is on it and every other write is not", async (t) => {
  const { ask, journal, dispatcher } = await serverFor(t);
  const acknowledged = new Set<string>();
  const refused = new Set<string>();
  for (let round = 0; round < 30; round++) {
    const writes = Array.from({ length: 5 }, async (_, index) => {
      const id = `r${round}-${index}`;
      const { status } = await ask("POST", "/api/tasks", {
        body: { id, title: "t" },
        ...(index === 0 ? { headers: { "idempotency-key": id } } : {}),
      });
      if (status === 201) acknowledged.add(id);
      else if (status === 503) refused.add(id);
      else t.fail(`${status}`);
    });
    if (round % 3 === 1) journal.failing = true;
    await Promise.all(writes);
    journal.failing = false;
    if (round % 3 === 2) await turnUntil(() => dispatcher.healthy);
  }
  await turnUntil(() => dispatcher.healthy);
  const onDisk = emptyState();
  for (const stored of journal.stored) transition(onDisk, stored);
  t.same([...onDisk.tasks.byId.keys()].sort(), [...acknowledged].sort());
  t.same(dispatcher.state, onDisk, "head and disk are one");
  t.ok(refused.size > 0 && acknowledged.size > 0, `${acknowledged.size} acknowledged, ${refused.size} refused`);
});
