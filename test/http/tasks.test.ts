/** API.md 4: the board. */
import { homedir } from "node:os";
import fc from "fast-check";
import t from "tap";
import { type Ask, addTask, serverFor, startTask } from "./ask.ts";

const patch = (ask: Ask, id: string, body: object, headers = {}) => ask("PATCH", `/api/tasks/${id}`, { body, headers });
const get = async (ask: Ask, id: string) => (await ask("GET", `/api/tasks/${id}`)).body;

const DEFAULTS = {
  description: "",
  status: "todo",
  priority: "medium",
  assignee: "jarvis",
  labels: [],
  project: null,
  dependsOn: [],
  files: [],
  workspace: null,
  dueDate: null,
  estimate: null,
  requiresReview: false,
  attempts: 0,
  version: 1,
};

t.test("a title is enough; everything else has a default", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const { status, headers, body } = await ask("POST", "/api/tasks", { body: { title: "two\nlines" } });
  const now = new Date(knobs.now).toISOString();
  t.equal(status, 201);
  t.equal(headers.location, `/api/tasks/${body.id}`);
  t.match(body.id, /^[A-Za-z0-9._-]{1,64}$/);
  t.same(body, { id: body.id, title: "two\nlines", ...DEFAULTS, createdAt: now, updatedAt: now });
  t.same(await get(ask, body.id), { ...body, comments: [], sessions: [] });
  t.same((await ask("GET", headers.location ?? "")).body.id, body.id);
});

t.test("every field comes back as it was given", async (t) => {
  const { ask } = await serverFor(t, { workspaceRoots: ["/home/owner"] });
  const given = {
    id: "My.task_1-x",
    title: "x".repeat(500),
    description: "# Markdown\n".repeat(1000),
    status: "backlog",
    priority: "urgent",
    assignee: "auto",
    labels: ["coding", "ünïcode 🎉"],
    project: "p",
    dependsOn: ["later"],
    files: ["src/**", "a.ts"],
    workspace: "/home/owner/project",
    dueDate: "2026-12-31",
    estimate: "2 h",
    requiresReview: true,
    maxAttempts: 5,
    timeoutMs: 60_000,
    hold: { code: "WAIT", message: "for me" },
  };
  const { status, body } = await ask("POST", "/api/tasks", { body: given });
  t.equal(status, 201);
  t.match(body, given);
  const cleared = await patch(ask, given.id, {
    project: null,
    workspace: null,
    dueDate: null,
    estimate: null,
    maxAttempts: null,
    timeoutMs: null,
    hold: null,
    labels: [],
    dependsOn: [],
    files: [],
    description: "",
  });
  t.equal(cleared.status, 200);
  const { createdAt, updatedAt } = cleared.body;
  t.same(cleared.body, {
    ...DEFAULTS,
    id: given.id,
    title: given.title,
    status: "backlog",
    priority: "urgent",
    assignee: "auto",
    requiresReview: true,
    version: 2,
    createdAt,
    updatedAt,
  });
});

t.test("an id may be given once, also when many ask for it at once", async (t) => {
  const { ask, archive } = await serverFor(t);
  const answers = await Promise.all(
    Array.from({ length: 10 }, () => ask("POST", "/api/tasks", { body: { id: "t1", title: "a" } })),
  );
  t.same(answers.map(({ status }) => status).sort(), [201, ...Array(9).fill(409)]);
  t.equal(answers.find(({ status }) => status === 409)?.body.code, "TASK_EXISTS");
  const task = await get(ask, "t1");
  await archive.appendTasks([{ ...task, id: "old", comments: [] }]);
  t.equal(
    (await ask("POST", "/api/tasks", { body: { id: "old", title: "a" } })).status,
    409,
    "an archived task has its id, too",
  );
  for (const id of ["", ".", "..", "a b", "a/b", "ä", "x".repeat(65), "a\n", "a%"]) {
    t.equal((await ask("POST", "/api/tasks", { body: { id, title: "a" } })).status, 400, JSON.stringify(id));
  }
});

t.test("a PATCH changes what it names, and counts the version", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const id = await addTask(ask, { labels: ["x"] });
  knobs.now += 5000;
  const { status, headers, body } = await patch(ask, id, { title: "new" });
  t.equal(status, 200);
  t.equal(headers.etag, '"2"');
  t.match(body, { title: "new", labels: ["x"], version: 2, updatedAt: new Date(knobs.now).toISOString() });
  t.equal((await ask("GET", `/api/tasks/${id}`)).headers.etag, '"2"');
  t.match(await patch(ask, "nope", { title: "x" }), { status: 404, body: { code: "TASK_NOT_FOUND" } });
  for (const bad of [
    {},
    { id: "other" },
    { version: 9 },
    { attempts: 0 },
    { createdAt: "2026-01-01" },
    { comments: [] },
    { title: null },
    { retryAt: null },
  ]) {
    t.equal((await patch(ask, id, bad)).status, 400, JSON.stringify(bad));
  }
});

t.test("If-Match: a stale version is 412, and of many writers with one version one wins", async (t) => {
  const { ask } = await serverFor(t);
  const id = await addTask(ask);
  const change = (match: string) => patch(ask, id, { title: match }, { "if-match": match });
  const race = await Promise.all(Array.from({ length: 10 }, () => change('"1"')));
  t.same(race.map(({ status }) => status).sort(), [200, ...Array(9).fill(412)]);
  t.match(race.find(({ status }) => status === 412)?.body, { code: "STALE_VERSION", version: 2 });
  t.equal((await change('"2"')).status, 200);
  t.equal((await change("*")).status, 200);
  for (const bad of ['"1"', '"99"', "3", "nonsense", '""']) t.equal((await change(bad)).status, 412, bad);
});

t.test("a dueDate is a day of the calendar, or a moment in UTC", async (t) => {
  const { ask } = await serverFor(t);
  for (const [dueDate, wanted] of [
    ["2026-02-28", 201],
    ["2028-02-29", 201],
    ["2026-12-31T23:59:59Z", 201],
    ["2026-12-31T23:59:59.5Z", 201],
    ["2026-02-29", 400],
    ["2026-02-30", 400],
    ["2026-04-31", 400],
    ["2026-02-30T00:00:00Z", 400],
    ["2026-13-01", 400],
    ["2026-00-01", 400],
    ["2026-1-1", 400],
    ["01.02.2026", 400],
    ["tomorrow", 400],
    ["", 400],
    ["2026-12-31T24:00:00Z", 400],
    ["2026-12-31T10:00:00", 400],
    ["2026-12-31T10:00:00+02:00", 400],
  ] as const) {
    const { status, body } = await ask("POST", "/api/tasks", { body: { title: "a", dueDate } });
    t.equal(status, wanted, dueDate);
    if (status === 400) t.equal(body.errors[0].path, "/dueDate", dueDate);
  }
});

t.test("files have one spelling; what leads out or cannot be locked is refused by its place", async (t) => {
  const { ask } = await serverFor(t);
  const { body } = await ask("POST", "/api/tasks", {
    body: { title: "a", files: ["./src//a.ts", "src/a.ts", "lib/", "."] },
  });
  t.same(body.files, ["src/a.ts", "lib/**", "**"]);
  for (const bad of ["/etc/passwd", "../x", "a/../../b", "~/x", "a\\b", "!a", "a\0b", "{a", "[a", "{x,../y}", ""]) {
    const refused = await ask("POST", "/api/tasks", { body: { title: "a", files: ["ok", bad] } });
    t.same([refused.status, refused.body.errors?.[0]?.path], [400, "/files/1"], JSON.stringify(bad));
  }
});

t.test("a workspace lies under a root and never touches the daemon's own data", async (t) => {
  const { ask } = await serverFor(t, { workspaceRoots: ["~/projects", "/srv/projects", "/var/lib"] });
  const home = homedir();
  for (const [workspace, wanted] of [
    ["~/projects/a", "~/projects/a"], // as the host that it runs on has it
    ["~/projects//a/../b/", "~/projects/b"],
    ["~/projects", "~/projects"],
    [`${home}/projects/a/`, `${home}/projects/a`],
    ["/srv/projects//b/./c", "/srv/projects/b/c"],
    ["/srv/projects/x/../y", "/srv/projects/y"],
    ["/var/lib/other", "/var/lib/other"],
    ["/srv/projects-2", null],
    ["/srv/projects/../secret", null],
    ["~/projects/../.ssh", null],
    ["~other/projects", null],
    ["projects/a", null],
    ["./a", null],
    ["/", null],
    ["~", null],
    ["/var/lib", null],
    ["/var/lib/jarvis", null],
    ["/var/lib/jarvis/runs/x", null],
    ["/srv/projects/a\0b", null],
    ["", null],
  ] as const) {
    const { status, body } = await ask("POST", "/api/tasks", { body: { title: "a", workspace } });
    t.equal(status, wanted === null ? 400 : 201, JSON.stringify(workspace));
    if (wanted === null) t.equal(body.errors[0].path, "/workspace");
    else t.equal(body.workspace, wanted);
  }
});

t.test("tasks that would wait for each other are refused", async (t) => {
  const { ask } = await serverFor(t);
  await addTask(ask, { id: "a", dependsOn: ["c"] });
  await addTask(ask, { id: "b", dependsOn: ["a"] });
  t.match(await ask("POST", "/api/tasks", { body: { id: "c", title: "c", dependsOn: ["b"] } }), {
    status: 409,
    body: { code: "DEPENDENCY_CYCLE" },
  });
  t.match(await ask("POST", "/api/tasks", { body: { id: "self", title: "s", dependsOn: ["self"] } }), { status: 409 });
  await addTask(ask, { id: "c" });
  t.match(await patch(ask, "c", { dependsOn: ["b"] }), { status: 409, body: { code: "DEPENDENCY_CYCLE" } });
  t.equal((await get(ask, "c")).version, 1);
});

t.test("in_progress by hand is for humans' tasks", async (t) => {
  const { ask } = await serverFor(t);
  const human = await addTask(ask, { assignee: "diego" });
  t.equal((await patch(ask, human, { status: "in_progress" })).status, 200);
  const agents = await addTask(ask, { assignee: "claude" });
  t.match(await patch(ask, agents, { status: "in_progress" }), { status: 409, body: { code: "STATUS_NOT_ALLOWED" } });
  t.equal((await patch(ask, agents, { status: "in_progress", assignee: "jarvis" })).status, 200);
  t.equal(
    (await ask("POST", "/api/tasks", { body: { title: "a", assignee: "claude", status: "in_progress" } })).status,
    409,
  );
  t.equal(
    (await ask("POST", "/api/tasks", { body: { title: "a", assignee: "diego", status: "in_progress" } })).status,
    201,
  );
});

t.test("releasing a hold starts counting attempts afresh", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const { taskId } = await startTask(ask, { maxAttempts: 1 });
  await ask("PUT", "/api/orchestrate", { body: { taskId, status: "failed", error: "e" } });
  t.match(await get(ask, taskId), { status: "todo", attempts: 1, hold: { code: "ATTEMPTS_EXHAUSTED" } });
  t.match((await ask("GET", "/api/orchestrate")).body.waiting, [{ reasons: [{ code: "ATTEMPTS_EXHAUSTED" }] }]);
  const released = (await patch(ask, taskId, { hold: null })).body;
  t.equal(released.attempts, 0);
  t.equal(released.hold, undefined);
  knobs.now += 1;
  t.match((await ask("POST", "/api/orchestrate")).body.dispatched, [{ taskId, attempt: 1 }]);
});

t.test("moving or deleting a running task stops its session, and the person's word stands", async (t) => {
  const { ask } = await serverFor(t);
  const moved = await startTask(ask, { files: ["a"] });
  t.equal((await patch(ask, moved.taskId, { status: "backlog" })).body.status, "backlog");
  t.match((await ask("GET", `/api/sessions/${moved.sessionId}`)).body, {
    status: "cancelled",
    error: { code: "TASK_MOVED" },
  });
  t.equal((await get(ask, moved.taskId)).status, "backlog");

  const deleted = await startTask(ask, { assignee: "copilot", files: ["b"] });
  const { status, text } = await ask("DELETE", `/api/tasks/${deleted.taskId}`);
  t.same([status, text], [204, ""]);
  t.equal((await ask("GET", `/api/tasks/${deleted.taskId}`)).status, 404);
  t.match((await ask("GET", `/api/sessions/${deleted.sessionId}`)).body, {
    status: "stopping",
    error: { code: "TASK_DELETED" },
  });
  t.match((await ask("GET", "/api/locks")).body.locks, [{ paths: ["b"] }], "its locks stay until the run is gone");
  t.match(await ask("DELETE", `/api/tasks/${deleted.taskId}`), { status: 404, body: { code: "TASK_NOT_FOUND" } });
});

t.test("comments are kept in order, under their author", async (t) => {
  const { ask, knobs } = await serverFor(t);
  const id = await addTask(ask);
  const url = `/api/tasks/${id}/comments`;
  for (const content of ["one", "two\n**bold** <b>", "🎉"]) {
    const { status, headers, body } = await ask("POST", url, { body: { author: "diego", content } });
    t.equal(status, 201);
    t.ok(headers.location);
    t.same(body, { id: body.id, author: "diego", content, createdAt: new Date(knobs.now).toISOString() });
  }
  const { comments } = (await ask("GET", url)).body;
  t.same(
    comments.map((one: { content: string }) => one.content),
    ["one", "two\n**bold** <b>", "🎉"],
  );
  t.same((await get(ask, id)).comments, comments);
  for (const bad of [
    { content: "x" },
    { author: "diego" },
    { author: "diego", content: "" },
    { author: "a b", content: "x" },
    { author: "d", content: "x", id: "1" },
  ]) {
    t.equal((await ask("POST", url, { body: bad })).status, 400, JSON.stringify(bad));
  }
  t.equal((await ask("POST", "/api/tasks/nope/comments", { body: { author: "diego", content: "x" } })).status, 404);
  t.equal((await ask("GET", "/api/tasks/nope/comments")).status, 404);
  const first = (await ask("GET", `${url}?limit=2`)).body;
  const second = (await ask("GET", `${url}?limit=2&cursor=${first.nextCursor}`)).body;
  t.same([...first.comments, ...second.comments], comments);
  t.equal(second.nextCursor, undefined);
});

t.test("filters and search", async (t) => {
  const { ask } = await serverFor(t);
  await addTask(ask, {
    id: "a",
    title: "Fix the LOGIN",
    labels: ["bug", "ui"],
    priority: "high",
    assignee: "claude",
    project: "web",
  });
  await addTask(ask, {
    id: "b",
    title: "write",
    description: "about the Login page",
    labels: ["docs"],
    assignee: "gemini",
    status: "backlog",
  });
  await addTask(ask, { id: "login-c", title: "other", labels: ["bug"], assignee: "claude", status: "done" });
  for (const [query, wanted] of [
    ["", ["a", "b", "login-c"]],
    ["q=login", ["a", "b", "login-c"]],
    ["q=LOGIN&status=todo", ["a"]],
    ["status=backlog", ["b"]],
    ["assignee=claude", ["a", "login-c"]],
    ["priority=high", ["a"]],
    ["label=bug", ["a", "login-c"]],
    ["label=bug&status=done", ["login-c"]],
    ["project=web", ["a"]],
    ["q=nothing%20like%20it", []],
    ["q=%25", []],
    ["q=.*", []],
  ] as const) {
    const { body } = await ask("GET", `/api/tasks?${query}`);
    t.same(
      body.tasks.map((task: { id: string }) => task.id),
      wanted,
      query,
    );
  }
});

t.test("a page has 50 tasks where nothing else is asked for, and at most 500", async (t) => {
  const { ask } = await serverFor(t);
  for (let number = 0; number < 60; number++) await addTask(ask);
  const first = (await ask("GET", "/api/tasks")).body;
  t.equal(first.tasks.length, 50);
  const second = (await ask("GET", `/api/tasks?cursor=${first.nextCursor}`)).body;
  t.equal(second.tasks.length, 10);
  t.notOk("nextCursor" in second);
  const all = (await ask("GET", "/api/tasks?limit=500")).body;
  t.equal(all.tasks.length, 60);
  t.notOk("nextCursor" in all);
  t.notOk("nextCursor" in (await ask("GET", "/api/tasks?limit=60")).body, "a full last page is the last");
});

t.test("paging shows each task once while others come and go", async (t) => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 7 }), fc.array(fc.nat(30), { maxLength: 12 }), async (limit, turns) => {
      const { ask, knobs, app, dispatcher } = await serverFor(t);
      for (let number = 0; number < 20; number++) {
        if (number % 3 === 0) knobs.now += 1;
        await addTask(ask, { id: `t${number}` });
      }
      const gone = new Set<string>();
      const seen: string[] = [];
      let cursor: string | undefined;
      let turn = 0;
      do {
        const { body } = await ask(
          "GET",
          `/api/tasks?limit=${limit}${cursor === undefined ? "" : `&cursor=${cursor}`}`,
        );
        if (body.tasks.length > limit) throw new Error("too many");
        seen.push(...body.tasks.map((task: { id: string }) => task.id));
        cursor = body.nextCursor;
        const what = turns[turn++];
        if (what !== undefined && what < 20) {
          await ask("DELETE", `/api/tasks/t${what}`);
          gone.add(`t${what}`);
        } else if (what !== undefined) {
          await addTask(ask, { id: `new${turn}` });
        }
      } while (cursor !== undefined);
      await app.close();
      await dispatcher.close();
      if (new Set(seen).size !== seen.length) throw new Error(`one twice: ${seen}`);
      for (let number = 0; number < 20; number++) {
        if (!gone.has(`t${number}`) && !seen.includes(`t${number}`)) throw new Error(`t${number} was left out`);
      }
    }),
    { numRuns: 15, seed: 20260101 },
  );
  t.pass("seed 20260101");
});

t.test("an archived task is read, commented, changed and deleted like others", async (t) => {
  const { ask, archive, dispatcher } = await serverFor(t);
  for (const id of ["read", "commented", "changed", "deleted"]) await addTask(ask, { id, status: "done" });
  await archive.appendTasks([...dispatcher.state.tasks.byId.values()]);
  await dispatcher.execute((_state, { now }) => ({
    ok: true,
    events: [{ type: "task.archived", at: now, taskIds: ["read", "commented", "changed", "deleted"] }],
    answer: () => null,
  }));
  t.same((await ask("GET", "/api/tasks")).body.tasks, []);
  t.equal((await ask("GET", "/api/tasks?archived=true")).body.tasks.length, 4);
  t.match(await get(ask, "read"), { id: "read", status: "done", comments: [], sessions: [] });
  t.equal((await ask("GET", "/api/tasks/read/comments")).status, 200);
  t.same((await ask("GET", "/api/tasks")).body.tasks, [], "reading brings nothing back");

  t.equal(
    (await ask("POST", "/api/tasks/commented/comments", { body: { author: "diego", content: "still there?" } })).status,
    201,
  );
  t.match(await get(ask, "commented"), { status: "done", comments: [{ content: "still there?" }] });
  t.match((await patch(ask, "changed", { status: "todo" })).body, { id: "changed", status: "todo", version: 2 });
  t.equal((await patch(ask, "read", { title: "x" }, { "if-match": '"7"' })).status, 412);
  t.same((await ask("GET", "/api/tasks")).body.tasks.map((task: { id: string }) => task.id).sort(), [
    "changed",
    "commented",
  ]);

  const { taskId, sessionId } = await startTask(ask, { title: "worked on" });
  await ask("PUT", "/api/orchestrate", { body: { taskId, sessionId, status: "completed" } });
  const ended = dispatcher.state.sessions.ended.get(sessionId);
  await archive.appendSessions(ended === undefined ? [] : [ended]);
  await dispatcher.execute((_state, { now }) => ({
    ok: true,
    events: [{ type: "session.archived", at: now, sessionIds: [sessionId] }],
    answer: () => null,
  }));
  t.match((await get(ask, taskId)).sessions, [{ id: sessionId, status: "completed" }], "its history stays with it");
  t.match((await ask("GET", `/api/sessions?taskId=${taskId}`)).body.sessions, [{ id: sessionId }]);

  t.equal((await ask("DELETE", "/api/tasks/deleted")).status, 204);
  t.equal((await ask("GET", "/api/tasks/deleted")).status, 404);
  t.equal((await ask("DELETE", "/api/tasks/deleted")).status, 404);
  t.equal((await ask("DELETE", "/api/tasks/changed")).status, 204);
  t.equal((await ask("GET", "/api/tasks/changed")).status, 404, "its older self in the archive does not come back");
});
