/** API.md 6, GET /api/events, over real sockets. */
import t, { type Test } from "tap";
import { SIGN_OF_LIFE_MS } from "../../src/http/sse.ts";
import type { TestServer } from "../support/server.ts";
import { type Ask, addTask, serverFor, startTask, turnUntil } from "./ask.ts";
import { readStream, type StreamReader } from "./event-stream.ts";

type Server = TestServer & { readonly ask: Ask };

async function eventsOf(
  t: Test,
  server: Server,
): Promise<{ url: string; read: (lastId?: string) => Promise<StreamReader> }> {
  await server.app.listen({ host: "127.0.0.1", port: 0 });
  const address = server.app.server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  const url = `http://127.0.0.1:${address.port}/api/events`;
  return { url, read: (lastId) => readStream(t, url, lastId === undefined ? {} : { "last-event-id": lastId }) };
}

const seqs = ({ events }: StreamReader) => events.map(({ id }) => Number(id));

/** All `seq` of the journal that a stream shows, from one on. */
const shown = ({ journal }: Server, from: number) =>
  journal.stored.filter(({ seq, event }) => seq > from && event.type !== "request.answered").map(({ seq }) => seq);

t.test("a new reader is told where it stands, then what happens, in order", async (t) => {
  const server = await serverFor(t);
  const { ask, journal } = server;
  await addTask(ask, { id: "before" });
  const { read } = await eventsOf(t, server);
  const stream = await read();
  t.equal(stream.status, 200);
  t.match(stream.headers["content-type"], /^text\/event-stream/);
  t.equal(stream.headers["cache-control"], "no-store");
  await stream.until(() => stream.events.length === 1);
  t.same(stream.events[0], { id: String(journal.lastSeq), event: "ready", data: { seq: journal.lastSeq } });

  const from = journal.lastSeq;
  const { taskId, sessionId } = await startTask(ask, { title: "two\nlines\r\n\n: not a comment", files: ["a"] });
  await ask("PUT", "/api/orchestrate", { body: { taskId, status: "running" } });
  await ask("PUT", "/api/orchestrate", { body: { taskId, status: "completed", result: "x".repeat(2000) } });
  await ask("POST", `/api/tasks/${taskId}/comments`, { body: { author: "diego", content: "c" } });
  await ask("POST", "/api/agents/claude/pause", { body: { reason: "r" } });
  await stream.until(() => stream.events.at(-1)?.event === "agent.paused");
  t.same(seqs(stream).slice(1), shown(server, from));
  t.same(
    stream.events.slice(1).map(({ event }) => event),
    [
      "task.created",
      "session.started",
      "session.running",
      "session.settled",
      "session.ended",
      "comment.added",
      "agent.paused",
    ],
  );
  for (const { id, event, data } of stream.events.slice(1)) t.match(data, { seq: Number(id), type: event, at: String });
  t.match(stream.events[1]?.data, { taskId, task: { id: taskId, title: "two\nlines\r\n\n: not a comment" } });
  t.match(stream.events[2]?.data, { taskId, sessionId, session: { id: sessionId }, task: { status: "in_progress" } });
  t.ok(stream.events[4]?.data.session.result.length <= 500);
  stream.close();
});

t.test("Last-Event-ID resumes without a gap or a double, while events keep coming", async (t) => {
  const server = await serverFor(t);
  const { ask } = server;
  const { read } = await eventsOf(t, server);
  for (let number = 0; number < 300; number++) await addTask(ask, { title: `old ${number}`, assignee: "jarvis" });
  let writing = true;
  let written = 0;
  const writer = (async () => {
    while (writing) {
      await Promise.all([
        addTask(ask, { assignee: "jarvis" }),
        ask("POST", "/api/tasks", { body: { title: "keyed" }, headers: { "idempotency-key": `k${written}` } }),
        addTask(ask, { assignee: "jarvis" }),
      ]);
      written++;
    }
  })();
  for (const last of [0, 1, 137, 299, 300]) {
    const stream = await read(String(last));
    await stream.until(() => stream.events.length >= 400);
    const got = seqs(stream);
    t.same(got, shown(server, last).slice(0, got.length), `from ${last}`);
    stream.close();
    await stream.ended;
    const again = await read(String(got[250]));
    await again.until(() => again.events.length >= 200);
    const more = seqs(again);
    t.same(more, shown(server, got[250] ?? 0).slice(0, more.length), "and again from the middle");
    again.close();
  }
  const level = await read(String(server.dispatcher.committedSeq));
  await level.until(() => level.events.length >= 10);
  t.notOk(level.events.some(({ event }) => event === "ready" || event === "reset"));
  writing = false;
  await writer;
  t.ok(written > 0);
});

t.test("a reader that knows what is not, or what is no longer kept, has to read afresh", async (t) => {
  const server = await serverFor(t);
  const { ask, journal } = server;
  for (let number = 0; number < 5; number++) await addTask(ask);
  const { read } = await eventsOf(t, server);
  for (const last of ["999", "nonsense", "-1", "1.5", "99999999999999999999"]) {
    const stream = await read(last);
    await stream.until(() => stream.events.length === 1);
    t.same(stream.events[0], { id: "5", event: "reset", data: { seq: 5 } }, last);
    stream.close();
  }
  const readAll = journal.read.bind(journal);
  journal.read = (from) => readAll(Math.max(from, 3));
  const pruned = await read("1");
  await pruned.until(() => pruned.events.length === 1);
  t.match(pruned.events, [{ event: "reset", id: "5" }]);
  journal.read = () => {
    throw new Error("gone");
  };
  const failed = await read("1");
  await failed.until(() => failed.events.length === 1);
  t.match(failed.events, [{ event: "reset", id: "5" }]);
  await addTask(ask);
  await Promise.all([failed.until(() => failed.events.length === 2), pruned.until(() => pruned.events.length === 2)]);
  t.match([failed.events[1], pruned.events[1]], [{ id: "6" }, { id: "6" }], "and goes on from there");
});

t.test("nothing is shown before it is on disk, and nothing that is not", async (t) => {
  const server = await serverFor(t);
  const { ask, journal, dispatcher } = server;
  await addTask(ask, { id: "t1", title: "as it was" });
  const { read } = await eventsOf(t, server);
  const stream = await read();
  await stream.until(() => stream.events.length === 1);
  // One change is on its way to the disk; the next one, of the same task, is decided already, and will fail.
  const openFirst = journal.hold();
  const first = ask("PATCH", "/api/tasks/t1", { body: { priority: "high" } });
  await turnUntil(() => journal.appends === 2);
  const openSecond = journal.hold();
  const second = ask("PATCH", "/api/tasks/t1", { body: { title: "never came to be" } });
  await turnUntil(() => journal.appends === 3);
  openFirst();
  t.equal((await first).status, 200);
  journal.failing = true;
  openSecond();
  t.equal((await second).status, 503);
  journal.failing = false;
  await turnUntil(() => dispatcher.healthy);
  await addTask(ask, { id: "t2" });
  await stream.until(() => stream.events.at(-1)?.data.taskId === "t2");
  t.same(
    stream.events.slice(1).map(({ event, data }) => [event, data.task.title, data.task.priority]),
    [
      ["task.changed", "as it was", "high"],
      ["task.created", "a task", "medium"],
    ],
  );
});

t.test("what surfaces on disk after a failure is not kept from the readers", async (t) => {
  const server = await serverFor(t);
  const { ask, journal, dispatcher } = server;
  await addTask(ask, { id: "t1" });
  const { read } = await eventsOf(t, server);
  const stream = await read();
  await stream.until(() => stream.events.length === 1);
  journal.failing = true;
  journal.keepsWhatItRefuses = true;
  t.equal((await ask("POST", "/api/tasks", { body: { id: "kept", title: "kept" } })).status, 503);
  journal.failing = false;
  await turnUntil(() => dispatcher.healthy);
  await addTask(ask, { id: "t3" });
  await stream.until(() => stream.events.length === 3);
  t.match(stream.events.slice(1), [
    { event: "reset", id: "2" },
    { event: "task.created", id: "3" },
  ]);
});

t.test("a comment line says every 15 s that the stream lives", async (t) => {
  t.equal(SIGN_OF_LIFE_MS, 15_000);
  const ticks: { callback: () => void; ms: number | undefined; cleared: boolean }[] = [];
  const real = { setInterval: globalThis.setInterval, clearInterval: globalThis.clearInterval };
  globalThis.setInterval = ((callback: () => void, ms?: number) => {
    if (ms !== SIGN_OF_LIFE_MS) return real.setInterval(callback, ms);
    const tick = { callback, ms, cleared: false };
    ticks.push(tick);
    return tick;
  }) as typeof setInterval;
  globalThis.clearInterval = ((timer: never) => {
    const tick = ticks.find((one) => one === timer);
    if (tick === undefined) real.clearInterval(timer);
    else tick.cleared = true;
  }) as typeof clearInterval;
  t.teardown(() => Object.assign(globalThis, real));
  const server = await serverFor(t);
  const { read } = await eventsOf(t, server);
  const stream = await read();
  await stream.until(() => stream.events.length === 1);
  t.equal(ticks.length, 1);
  ticks[0]?.callback();
  ticks[0]?.callback();
  await stream.until(() => stream.comments.length === 2);
  stream.close();
  await stream.ended;
  // The server hears of it in its own time.
  await turnUntil(() => ticks[0]?.cleared === true);
  t.pass("and stops with it");
});

t.test("a reader that does not read is cut off, the others are not", async (t) => {
  const server = await serverFor(t);
  const { ask } = server;
  const { read } = await eventsOf(t, server);
  const slow = await read();
  const quick = await read();
  await slow.until(() => slow.events.length === 1);
  slow.pause();
  const labels = Array.from({ length: 100 }, (_, index) => `${index}`.padStart(100, "x"));
  let number = 0;
  let cut = false;
  server.app.server.getConnections(() => undefined);
  const ended = slow.ended.then(() => {
    cut = true;
  });
  // It is resumed now and then only to learn that the connection is gone.
  while (!cut && number < 5000) {
    await Promise.all(Array.from({ length: 50 }, () => addTask(ask, { title: `${number++}`, labels })));
    if (number % 2000 === 0) slow.resume();
  }
  slow.resume();
  await ended;
  t.ok(slow.events.length < number, `${slow.events.length} of ${number} events came through`);
  await quick.until(() => quick.events.length === number + 1);
  t.pass("the other one has them all");
});

t.test("the end of the daemon ends the streams at once", async (t) => {
  const server = await serverFor(t);
  const { url, read } = await eventsOf(t, server);
  const streams = await Promise.all(Array.from({ length: 5 }, () => read()));
  const { sessionId } = await startTask(server.ask);
  const log = await readStream(t, url.replace("/api/events", `/api/sessions/${sessionId}/log?follow=true`));
  await server.app.close();
  await Promise.all([...streams, log].map(({ ended }) => ended));
  t.pass("all ended");
});
