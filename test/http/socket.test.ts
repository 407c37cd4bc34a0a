/** What only a real connection shows: bytes that are no request, bodies that never end, the end of the daemon. */
import { Agent, request } from "node:http";
import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import type { TestServer } from "../support/server.ts";
import { checkProblem, serverFor, turnUntil } from "./ask.ts";

async function listen(
  t: Test,
  { app }: TestServer,
): Promise<{ port: number; say: (text: string) => Promise<string>; dial: () => Promise<Socket> }> {
  await app.listen({ host: "127.0.0.1", port: 0 });
  const address = app.server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const { port } = address;
  const dial = () =>
    new Promise<Socket>((resolve, reject) => {
      const socket = connect(port, "127.0.0.1", () => resolve(socket));
      socket.on("error", reject);
      t.teardown(() => void socket.destroy());
    });
  /** Sends the bytes and gives back all that comes until the server closes. */
  const say = async (text: string) => {
    const socket = await dial();
    const all = everything(socket);
    socket.write(text);
    return all;
  };
  return { port, say, dial };
}

function everything(socket: Socket): Promise<string> {
  const chunks: Buffer[] = [];
  socket.on("data", (chunk: Buffer) => chunks.push(chunk));
  return new Promise((resolve) => socket.on("close", () => resolve(Buffer.concat(chunks).toString())));
}

function parse(text: string): { status: number; headers: Record<string, string>; text: string; body: unknown } {
  const [head = "", ...rest] = text.split("\r\n\r\n");
  const [first = "", ...lines] = head.split("\r\n");
  const headers = Object.fromEntries(lines.map((line) => line.toLowerCase().split(": ", 2)));
  const body = rest.join("\r\n\r\n");
  return {
    status: Number(first.split(" ")[1]),
    headers,
    text: body,
    body: body.startsWith("{") ? JSON.parse(body) : undefined,
  };
}

t.test("what is no request is refused with a problem all the same", async (t) => {
  const server = await serverFor(t);
  const { say } = await listen(t, server);
  for (const [what, text, status] of [
    ["no HTTP", "hello there\r\n\r\n", 400],
    ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
    ["a bad header", "GET / HTTP/1.1\r\nhost: localhost\r\nbad header: x\r\n\r\n", 400],
    [
      "two lengths",
      "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
      400,
    ],
    [
      "length and chunks",
      "POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
      400,
    ],
    ["headers without end", `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${"x".repeat(20_000)}\r\n\r\n`, 431],
    ["no Host", "GET /api/tasks HTTP/1.1\r\nconnection: close\r\n\r\n", 421],
    ["an empty Host", "GET /api/tasks HTTP/1.1\r\nhost:\r\nconnection: close\r\n\r\n", 421],
    ["HTTP/1.0 without Host", "GET /api/tasks HTTP/1.0\r\n\r\n", 421],
    [
      "another host in the request line",
      "GET http://evil.example/api/tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
      421,
    ],
    ["no path", "OPTIONS * HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", 421],
    ["a path outside", "GET /../../etc/passwd HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n", 404],
  ] as const) {
    const answer = parse(await say(text));
    t.equal(answer.status, status, what);
    checkProblem(t, what, { ...answer, headers: { ...answer.headers } });
  }
});

t.test("a body over the limit is refused before it is all here", async (t) => {
  const server = await serverFor(t);
  const { dial } = await listen(t, server);
  for (const head of ["content-length: 99999999", "transfer-encoding: chunked"]) {
    const socket = await dial();
    socket.on("error", () => undefined);
    const answered = new Promise<string>((resolve) =>
      socket.once("data", (chunk: Buffer) => resolve(chunk.toString())),
    );
    socket.write(`POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n${head}\r\n\r\n`);
    if (head.startsWith("transfer")) socket.write(`200000\r\n${"x".repeat(0x200000)}`);
    t.match(await answered, /^HTTP\/1\.1 413 /, head);
    socket.destroy();
  }
});

t.test("a client that goes away in the middle of its body leaves nothing behind", async (t) => {
  const server = await serverFor(t);
  const { dial } = await listen(t, server);
  const socket = await dial();
  socket.write(
    'POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{"title":"ha',
  );
  const gone = new Promise((resolve) =>
    server.app.server.once("connection", (one: Socket) => one.once("close", resolve)),
  );
  const second = await dial();
  second.write('POST /api/tasks HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{"tit');
  socket.destroy();
  second.destroy();
  await gone;
  t.same((await server.ask("GET", "/api/tasks")).body.tasks, []);
  t.same(server.logged, [], "and is no error of ours");
});

t.test("without a token the peer's address counts, not what it says", async (t) => {
  const server = await serverFor(t);
  const { say } = await listen(t, server);
  const ask = async (more: string) =>
    parse(await say(`GET /api/tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n${more}\r\n`)).status;
  t.equal(await ask(""), 200);
  t.equal(await ask("x-forwarded-for: 10.0.0.1\r\n"), 403);
  t.equal(await ask("X-FORWARDED-FOR:\r\n"), 403);
  t.equal(await ask("Forwarded: for=1.2.3.4\r\n"), 403);
});

t.test("the end answers what is under way, takes nothing more, and waits for no idle connection", async (t) => {
  const server = await serverFor(t);
  const { port, dial } = await listen(t, server);
  const { journal, app } = server;
  const idle = await dial();
  const idleGone = everything(idle);
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  const open = journal.hold();
  const underWay = new Promise<{ status: number | undefined; connection: string | undefined }>((resolve, reject) => {
    const call = request(
      { port, method: "POST", path: "/api/tasks", agent, headers: { "content-type": "application/json" } },
      (response) => {
        response.resume();
        response.on("end", () => resolve({ status: response.statusCode, connection: response.headers.connection }));
      },
    );
    call.on("error", reject);
    call.end('{"title":"in the last second"}');
  });
  await turnUntil(() => journal.appends === 1);
  const closed = app.close();
  await turnUntil(() => !app.server.listening);
  await new Promise<void>((resolve) => {
    const late = connect(port, "127.0.0.1", () => resolve());
    late.on("error", () => resolve());
    late.on("connect", () => late.destroy());
  });
  open();
  t.same(await underWay, { status: 201, connection: "close" });
  await closed;
  await idleGone;
  t.equal(journal.stored.length, 1);
});

t.test("one connection serves many requests, and a refused one does not spoil it", async (t) => {
  const server = await serverFor(t);
  const { dial } = await listen(t, server);
  const socket = await dial();
  const all = everything(socket);
  const post = (body: string, path = "/api/tasks") =>
    `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`;
  socket.write(
    post('{"title":"one"}') + post('{"title":"", "x":1}') + post("{not json", "/api/nowhere") + post('{"title":"two"}'),
  );
  socket.write("GET /api/tasks HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
  const text = await all;
  t.same(
    [...text.matchAll(/HTTP\/1\.1 (\d+) /g)].map(([, status]) => Number(status)),
    [201, 400, 404, 201, 200],
  );
  t.match(text, /"title":"one".*"title":"two"/s);
});
