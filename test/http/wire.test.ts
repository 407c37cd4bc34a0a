/** API.md 2: what holds for every request and answer. */
import t from "tap";
import { addTask, serverFor, startTask } from "./ask.ts";

t.test("an unknown path is 404, before its body is looked at", async (t) => {
  const { ask } = await serverFor(t);
  for (const [method, url] of [
    ["GET", "/nope"],
    ["GET", "/api"],
    ["GET", "/api/tasks/a/nope"],
    ["POST", "/api/nope"],
    ["DELETE", "/api/orchestrated"],
    ["GET", "//api/tasks"],
    ["PROPFIND", "/nope"],
  ] as const) {
    const { status, body } = await ask(method, url);
    t.same([status, body.code], [404, "NOT_FOUND"], `${method} ${url}`);
  }
  const { status } = await ask("POST", "/api/nope", { body: "{not json" });
  t.equal(status, 404);
});

t.test("a known path with a wrong method is 405 and says what it takes", async (t) => {
  const { ask } = await serverFor(t);
  for (const [method, url, allow] of [
    ["DELETE", "/api/orchestrate", "GET, HEAD, POST, PUT"],
    ["PATCH", "/api/orchestrate?x=1", "GET, HEAD, POST, PUT"],
    ["PUT", "/api/tasks", "GET, HEAD, POST"],
    ["PUT", "/api/tasks/", "GET, HEAD, POST"],
    ["POST", "/api/tasks/t1", "DELETE, GET, HEAD, PATCH"],
    ["DELETE", "/api/tasks/t1/comments", "GET, HEAD, POST"],
    ["GET", "/api/sessions/s/cancel", "POST"],
    ["POST", "/api/sessions", "GET, HEAD"],
    ["GET", "/api/locks/l", "DELETE, PUT"],
    ["GET", "/api/agents/claude/pause", "POST"],
    ["POST", "/healthz", "GET, HEAD"],
    ["POST", "/", "GET, HEAD"],
    ["OPTIONS", "/api/tasks", "GET, HEAD, POST"],
    ["PROPFIND", "/api/tasks", "GET, HEAD, POST"],
  ] as const) {
    const { status, headers, body } = await ask(method, url, method === "PATCH" ? { body: "{not json" } : {});
    t.same([status, body.code, headers.allow], [405, "METHOD_NOT_ALLOWED", allow], `${method} ${url}`);
  }
});

t.test("HEAD answers as GET would, without a body", async (t) => {
  const { ask } = await serverFor(t);
  await addTask(ask, { id: "t1" });
  for (const url of [
    "/api/orchestrate",
    "/api/tasks",
    "/api/tasks/t1",
    "/api/metrics",
    "/metrics",
    "/",
    "/healthz",
    "/api/events",
  ]) {
    const { status, text, headers } = await ask("HEAD", url);
    t.equal(status, 200, url);
    t.equal(text, "", url);
    t.ok(headers["content-type"], url);
  }
  t.equal((await ask("HEAD", "/api/tasks/t2")).status, 404);
});

t.test("a body over 1 MiB is 413, one of 1 MiB is read", async (t) => {
  const { ask } = await serverFor(t);
  const taskId = await addTask(ask);
  const url = `/api/tasks/${taskId}/comments`;
  const bare = JSON.stringify({ author: "diego", content: "" }).length;
  const body = (bytes: number) => ({ author: "diego", content: "x".repeat(bytes - bare) });
  const fits = await ask("POST", url, { body: body(1024 * 1024) });
  t.equal(fits.status, 201);
  const over = await ask("POST", url, { body: body(1024 * 1024 + 1) });
  t.same([over.status, over.body.code], [413, "BODY_TOO_LARGE"]);
  const unsaid = await ask("POST", url, {
    body: JSON.stringify(body(1024 * 1024 + 1)),
    headers: { "content-length": undefined, "transfer-encoding": "chunked" },
  });
  t.equal(unsaid.status, 413);
});

t.test("a body that is not JSON is refused: 415 where it says so, else 400", async (t) => {
  const { ask } = await serverFor(t);
  const json = '{"title":"a"}';
  const cases: [string | undefined, string | Buffer, number, string?][] = [
    ["application/json", "{", 400],
    ["application/json", "nope", 400],
    ["application/json", '{"title":"a"} x', 400],
    ["application/json", Buffer.from([0x22, 0xff, 0x22]), 400],
    ["application/json", Buffer.concat([Buffer.from('{"title":"'), Buffer.from([0xc3]), Buffer.from('"}')]), 400],
    ["application/json", '{"title":"half \\ud800"}', 400],
    ["application/json", '{"title":"a","labels":["half \\udfff"]}', 400],
    ["application/json", '{"title":"whole \\ud83e\\udd8a"}', 201],
    ["application/json", '{"title":" \\n\\t"}', 400],
    [undefined, "title=a", 400],
    ["text/plain", json, 415],
    ["application/x-www-form-urlencoded", json, 415],
    ["multipart/form-data; boundary=x", json, 415],
    ["application/jsonp", json, 415],
    ["application/json-seq", json, 415],
    ["text/json", json, 415],
    ["nonsense", json, 415],
    ["application/json; charset=latin1", json, 415],
    ["application/json", json, 201],
    ["Application/JSON; charset=UTF-8", json, 201],
    ['application/json; charset="utf-8"', json, 201],
    ["application/merge-patch+json", json, 201],
    [undefined, json, 201],
    ["application/json", `\uFEFF${json}`, 201],
  ];
  for (const [type, body, wanted] of cases) {
    const { status } = await ask("POST", "/api/tasks", { body, headers: { "content-type": type } });
    t.equal(status, wanted, `${type}: ${body}`);
  }
  const packed = await ask("POST", "/api/tasks", { body: json, headers: { "content-encoding": "gzip" } });
  t.equal(packed.status, 415);
  const none = await ask("POST", "/api/tasks", { headers: { "content-type": "text/plain" } });
  t.equal(none.status, 400, "no body at all is a missing body, whatever its type");
});

t.test("what is wrong in a body is named by JSON pointer, the first 20 of it", async (t) => {
  const { ask } = await serverFor(t);
  const wrong = async (body: unknown, method = "POST", url = "/api/tasks") => {
    const answer = await ask(method, url, { body });
    t.same([answer.status, answer.body.code], [400, "INVALID_REQUEST"], JSON.stringify(body));
    return Object.fromEntries(
      answer.body.errors.map((error: { path: string; message: string }) => [error.path, error.message]),
    );
  };
  t.same(await wrong({ title: "a", colour: "red" }), { "/colour": "is not a known field" });
  t.same(await wrong({ title: "a", "a/b~c": 1 }), { "/a~1b~0c": "is not a known field" });
  t.same(await wrong({}), { "/title": "is required" });
  t.same(Object.keys(await wrong([])), ["/"]);
  t.same(Object.keys(await wrong(null)), ["/"]);
  t.same(Object.keys(await wrong('"text"')), ["/"]);
  t.same(Object.keys(await wrong({ title: "a", labels: ["ok", 7] })), ["/labels/1"]);
  t.match(await wrong({ title: "a", priority: "hot" }), {
    "/priority": 'must be one of "urgent", "high", "medium", "low"',
  });
  t.match(await wrong({ title: "a", hold: { code: "X" } }), { "/hold/message": "is required" });
  t.match(await wrong({ title: "a", hold: { message: "m", why: 1 } }), { "/hold/why": "is not a known field" });
  t.match(await wrong({ taskIds: "t1" }, "POST", "/api/orchestrate"), { "/taskIds": /array/ });
  t.match(await wrong({ tasks: [] }, "POST", "/api/orchestrate"), { "/tasks": "is not a known field" });
  t.match(await wrong({ usage: { tokens: 1 } }, "PUT", "/api/orchestrate"), {
    "/usage/tokens": "is not a known field",
  });
  const many = await wrong({ title: "a", labels: Array.from({ length: 100_000 }, () => 1) });
  t.equal(Object.keys(many).length, 20);
});

t.test("nothing in a body is made into something else", async (t) => {
  const { ask } = await serverFor(t);
  for (const body of [
    { title: 1 },
    { title: true },
    { title: null },
    { title: "a", requiresReview: "true" },
    { title: "a", requiresReview: 1 },
    { title: "a", maxAttempts: "3" },
    { title: "a", maxAttempts: 1.5 },
    { title: "a", timeoutMs: "5000" },
    { title: "a", labels: "x" },
    { title: "a", status: "Todo" },
    { title: "a", description: null },
    { title: "a", dueDate: 1_767_225_600_000 },
    { title: "" },
    { title: "x".repeat(501) },
    { title: "a", description: "x".repeat(512 * 1024 + 1) },
  ]) {
    t.equal((await ask("POST", "/api/tasks", { body })).status, 400, JSON.stringify(body).slice(0, 60));
  }
  t.same((await ask("GET", "/api/tasks")).body.tasks, []);
});

t.test("keys that mean something to JavaScript are unknown fields like others", async (t) => {
  const { ask } = await serverFor(t);
  for (const key of ["__proto__", "constructor", "prototype", "toString", "hasOwnProperty"]) {
    for (const [method, url, rest] of [
      ["POST", "/api/tasks", '"title":"a"'],
      ["POST", "/api/orchestrate", '"dryRun":false'],
      ["POST", "/api/agents/claude/pause", '"reason":"x"'],
    ] as const) {
      const { status, body } = await ask(method, url, {
        body: `{"${key}":{"title":"b","dryRun":true,"polluted":1},${rest}}`,
        headers: { "content-type": "application/json" },
      });
      t.same([status, body.errors?.[0]?.path], [400, `/${key}`], `${method} ${url} ${key}`);
    }
  }
  t.equal(({} as Record<string, unknown>).polluted, undefined);
});

t.test("a call that takes no body, or no parameter, refuses one", async (t) => {
  const { ask } = await serverFor(t);
  const taskId = await addTask(ask);
  for (const [method, url] of [
    ["POST", "/api/sessions/ses_1/cancel"],
    ["POST", "/api/agents/claude/resume"],
    ["POST", "/api/agents/claude/check"],
    ["DELETE", `/api/tasks/${taskId}`],
    ["DELETE", "/api/locks/l1"],
  ] as const) {
    const { status, body } = await ask(method, url, { body: { force: true } });
    t.same([status, body.errors?.[0]?.path], [400, "/force"], `${method} ${url}`);
    t.equal((await ask(method, url, { body: [1] })).status, 400);
    t.not(
      (await ask(method, url, { body: {}, headers: { "idempotency-key": "k" } })).status,
      400,
      "an empty object is nothing",
    );
  }
  for (const [method, url] of [
    ["POST", "/api/orchestrate?dryRun=true"],
    ["GET", "/api/orchestrate?verbose=1"],
    ["GET", "/api/tasks?state=todo"],
    ["GET", "/api/metrics?x=1"],
    ["POST", "/api/agents/claude/pause?reason=x"],
  ] as const) {
    t.same([(await ask(method, url)).status], [400], `${method} ${url}`);
  }
  t.equal((await ask("GET", "/healthz?from=docker")).status, 200);
  t.equal((await ask("GET", "/?from=mail")).status, 200);
});

t.test("parameters are checked", async (t) => {
  const { ask } = await serverFor(t);
  for (const url of [
    "/api/tasks?limit=0",
    "/api/tasks?limit=501",
    "/api/tasks?limit=1.5",
    "/api/tasks?limit=ten",
    "/api/tasks?limit=-1",
    "/api/tasks?limit=5&limit=6",
    "/api/tasks?status=open",
    "/api/tasks?status=todo&status=done",
    "/api/tasks?cursor=nonsense!",
    "/api/sessions?status=dead",
    "/api/orchestrate?format=xml",
    "/api/tasks?__proto__=1",
  ]) {
    t.equal((await ask("GET", url)).status, 400, url);
  }
  t.equal((await ask("GET", "/api/tasks?limit=500")).status, 200);
});

t.test("a path that cannot be is refused, however long", async (t) => {
  const { ask } = await serverFor(t);
  for (const url of [
    "/%",
    "/api/tasks/%",
    "/api/tasks/%zz",
    "/api/tasks/%c3%28",
    "/api/tasks/%00",
    "/api/tasks/a%20b",
    "/api/tasks/..%2f..%2fsecret",
  ]) {
    t.equal((await ask("GET", url)).status, 400, url);
  }
  for (const length of [65, 300, 5000]) {
    const id = "x".repeat(length);
    for (const url of [
      `/api/tasks/${id}`,
      `/api/tasks/${id}/comments`,
      `/api/sessions/${id}`,
      `/api/sessions/${id}/log`,
    ]) {
      t.equal((await ask("GET", url)).status, 400, `${url.slice(0, 30)} ${length}`);
    }
    t.equal((await ask("POST", "/api/tasks", { body: { id, title: "a" } })).status, 400);
  }
  t.equal((await ask("GET", `/api/tasks/${"x".repeat(64)}`)).status, 404);
});

t.test("what goes wrong inside is said to the log, not to the caller", async (t) => {
  const server = await serverFor(t, {
    spawnPrompt: () => {
      throw new Error("ENOENT: no such file or directory, open '/var/lib/jarvis/secret'");
    },
  });
  const { ask, logged, dispatcher } = server;
  const taskId = await addTask(ask);
  const { status, body, text } = await ask("POST", "/api/orchestrate");
  t.same([status, body.code], [500, "INTERNAL"]);
  t.notMatch(text, /ENOENT|secret|jarvis\//);
  t.match(logged, [{ facts: { err: { message: /ENOENT/ } } }]);

  t.equal(dispatcher.healthy, true);
  t.equal(dispatcher.isSettled, true, "head and disk have not parted");
  const task = await ask("GET", `/api/tasks/${taskId}`);
  t.equal(task.body.status, "in_progress", "what was decided is on disk, and shown");
  t.equal((await ask("PATCH", `/api/tasks/${taskId}`, { body: { priority: "high" } })).status, 200, "and writes go on");
});

t.test("a header that is sent twice does not slip past a check", async (t) => {
  const { ask } = await serverFor(t, { token: "right" });
  const twice = (name: string, values: readonly string[], more = {}) =>
    ask("GET", "/api/tasks", { headers: { authorization: "Bearer right", ...more, [name]: values } });
  t.equal((await twice("origin", ["http://127.0.0.1:3333", "http://evil.example"])).status, 403);
  t.equal((await twice("sec-fetch-site", ["same-origin", "cross-site"])).status, 403);
  t.equal((await twice("sec-fetch-site", ["cross-site", "same-origin"])).status, 403);
});

t.test("answers say what they are, and are not to be guessed at", async (t) => {
  const { ask } = await serverFor(t);
  await addTask(ask, { id: "t1" });
  const { sessionId } = await startTask(ask);
  for (const [url, type] of [
    ["/api/orchestrate", /^application\/json/],
    ["/api/orchestrate?format=heartbeat", /^text\/plain; charset=utf-8/],
    ["/api/tasks", /^application\/json/],
    ["/api/tasks/t1", /^application\/json/],
    ["/api/sessions", /^application\/json/],
    [`/api/sessions/${sessionId}/log`, /^text\/plain; charset=utf-8/],
    ["/api/locks", /^application\/json/],
    ["/api/agents", /^application\/json/],
    ["/api/metrics", /^application\/json/],
    ["/metrics", /^text\/plain; version=0\.0\.4/],
    ["/openapi.json", /^application\/json/],
    ["/healthz", /^application\/json/],
    ["/", /^text\/html; charset=utf-8/],
  ] as const) {
    const { status, headers } = await ask("GET", url);
    t.equal(status, 200, url);
    t.match(headers["content-type"], type, url);
    t.equal(headers["x-content-type-options"], "nosniff", url);
    t.equal(headers["access-control-allow-origin"], undefined, url);
  }
});

t.test("the page shows task text as text, and runs nothing", async (t) => {
  const { ask } = await serverFor(t);
  await addTask(ask, { title: "<script>alert(1)</script>\"'&", assignee: "jarvis" });
  const { text, headers } = await ask("GET", "/");
  t.notMatch(text, /<script/);
  t.match(text, "&#60;script&#62;");
  t.match(headers["content-security-policy"], /default-src 'none'.*frame-ancestors 'none'/);
});

t.test("the OpenAPI document describes every route with the schemas that check it", async (t) => {
  const { ask } = await serverFor(t);
  const { body } = await ask("GET", "/openapi.json");
  t.equal(body.openapi, "3.1.0");
  for (const path of [
    "/api/orchestrate",
    "/api/tasks",
    "/api/tasks/{id}",
    "/api/tasks/{id}/comments",
    "/api/sessions",
    "/api/sessions/{id}",
    "/api/sessions/{id}/log",
    "/api/sessions/{id}/cancel",
    "/api/sessions/{id}/heartbeat",
    "/api/locks",
    "/api/locks/{id}",
    "/api/agents",
    "/api/agents/{name}/pause",
    "/api/agents/{name}/resume",
    "/api/agents/{name}/check",
    "/api/events",
    "/api/metrics",
    "/metrics",
    "/healthz",
    "/readyz",
  ]) {
    t.ok(body.paths[path], path);
  }
  const schema = body.paths["/api/tasks"].post.requestBody.content["application/json"].schema;
  t.equal(schema.additionalProperties, false);
  t.same(schema.required, ["title"]);
});
