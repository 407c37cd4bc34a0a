import { once } from "node:events";
import { createServer } from "node:net";
import t from "tap";
import { ApiError, allPages, ConnectionError, createClient, InvalidId } from "../../src/api/client.ts";
import { session, task } from "./samples.ts";
import { problem, stubDaemon } from "./stub-daemon.ts";

t.test("a problem becomes an ApiError with all that it says", async (t) => {
  const errors = [{ path: "/titel", message: "is not a known field" }];
  const daemon = await stubDaemon(t, {
    "POST /api/tasks": problem(400, "INVALID_REQUEST", "body /titel: is not a known field", { errors }),
  });
  const added = createClient({ url: daemon.url, token: null }).addTask({ title: "x" });
  await t.rejects(
    added,
    new ApiError({
      type: "",
      title: "",
      status: 400,
      code: "INVALID_REQUEST",
      detail: "body /titel: is not a known field",
    }),
  );
  await t.rejects(added, { errors });
});

t.test("token, JSON and an Idempotency-Key on POST are sent", async (t) => {
  const daemon = await stubDaemon(t, {
    "POST /api/tasks": { status: 201, json: task() },
    "PATCH /api/tasks/a%20b": { json: task() },
    "DELETE /api/tasks/tsk_1": { status: 204 },
    "GET /api/tasks": { json: { tasks: [] } },
  });
  const client = createClient({ url: `${daemon.url}/`, token: "0123456789abcdef" });
  await client.addTask({ title: "x" });
  await client.changeTask("a b", { status: "done" });
  await client.removeTask("tsk_1");
  await client.tasks({ status: "todo", q: "a&b" });
  const [post, patch, remove, list] = daemon.requests;
  t.match(post, {
    body: { title: "x" },
    headers: { authorization: "Bearer 0123456789abcdef", "idempotency-key": /^[0-9a-f-]{36}$/ },
  });
  t.match(patch, { body: { status: "done" } });
  t.notOk(patch?.headers["idempotency-key"]);
  t.equal(remove?.body, undefined);
  t.equal(list?.path, "/api/tasks?status=todo&q=a%26b");
});

t.test("an id that would name a list, or what lies above it, is sent nowhere", async (t) => {
  const client = createClient({ url: "http://127.0.0.1:1", token: null });
  for (const id of ["", ".", ".."]) t.throws(() => client.task(id), new InvalidId(id), id);
});

t.test("a POST whose connection broke is sent once more, with the same key", async (t) => {
  let calls = 0;
  const daemon = await stubDaemon(t, {
    "POST /api/orchestrate": (_request, response) => {
      calls++;
      if (calls > 1) return { json: { success: true } };
      response.destroy();
      return undefined;
    },
    "PATCH /api/tasks/x": (_request, response) => {
      response.destroy();
      return undefined;
    },
  });
  const client = createClient({ url: daemon.url, token: null });
  t.match(await client.dispatch({ dryRun: true }), { success: true });
  const [first, second] = daemon.requests;
  t.equal(first?.headers["idempotency-key"], second?.headers["idempotency-key"]);
  t.same(second?.body, { dryRun: true });
  await t.rejects(client.changeTask("x", { status: "done" }), ConnectionError);
  t.equal(daemon.requests.length, 3, "a PATCH is not repeated");
});

t.test("a POST whose connection broke twice may have been done", async (t) => {
  const daemon = await stubDaemon(t, {
    "POST /api/orchestrate": (_request, response) => {
      response.destroy();
      return undefined;
    },
  });
  await t.rejects(createClient({ url: daemon.url, token: null }).dispatch({}), {
    message: /broke twice: whether it was done is unknown/,
  });
  t.equal(daemon.requests.length, 2);
});

t.test("nothing there, or something else there, is said in a sentence", async (t) => {
  const daemon = await stubDaemon(t, {
    "GET /api/orchestrate": { text: "<html>" },
    "GET /api/locks": { status: 302, headers: { location: "/elsewhere" } },
  });
  const client = createClient({ url: daemon.url, token: null });
  await t.rejects(client.status(), {
    code: "NOT_JARVIS",
    message: /answers, but not as this program's daemon would \(HTTP 200, text\/plain/,
  });
  await t.rejects(client.locks({}), { code: "NOT_JARVIS" });
  await daemon.stop();
  await t.rejects(client.status(), {
    code: "ECONNREFUSED",
    message: `nothing listens at ${daemon.url}: start the daemon with \`jarvis-orchestrator serve\`, or name another with --url`,
  });
});

t.test("something that is not HTTP at all is no crash", async (t) => {
  const server = createServer((socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n")).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => server.close());
  const address = server.address();
  const url = `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}`;
  await t.rejects(createClient({ url, token: null }).status(), ConnectionError);
});

t.test("all pages of a list are one list", async (t) => {
  const daemon = await stubDaemon(t, {
    "GET /api/tasks": ({ path }) =>
      path.includes("cursor=two")
        ? { json: { tasks: [task({ id: "b" })] } }
        : { json: { tasks: [task({ id: "a" })], nextCursor: "two" } },
  });
  const client = createClient({ url: daemon.url, token: null });
  const all = await allPages(async (page) => {
    const { tasks: items, nextCursor } = await client.tasks(page);
    return { items, nextCursor };
  });
  t.same(
    all.map(({ id }) => id),
    ["a", "b"],
  );
  t.same(
    daemon.requests.map(({ path }) => path),
    ["/api/tasks?limit=500", "/api/tasks?limit=500&cursor=two"],
  );
});

t.test("a followed log ends with its session, and not before", async (t) => {
  const daemon = await stubDaemon(t, {
    "GET /api/sessions/ses_1/log": ({ path }, response) => {
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write('retry: 1000\n\n: \n\nid: 6\nevent: log\ndata: "one\\n');
      response.write('é"\n\n');
      response.end(path.includes("offset=6") ? "id: 6\nevent: end\ndata: {}\n\n" : "");
      return undefined;
    },
    "GET /api/sessions/ses_1": { json: session() },
  });
  const client = createClient({ url: daemon.url, token: null });
  const seen: unknown[] = [];
  const drain = async (offset: number) => {
    for await (const news of client.followLog("ses_1", "stdout", offset)) seen.push(news);
  };
  await t.rejects(drain(0), { code: "ENDED" });
  t.same(seen, [{ text: "one\né", nextOffset: 6, isLast: false }]);
  await drain(6);
  t.match(seen.at(-1), { text: "", isLast: true });
});
