/** Whatever is sent: never a 5xx, and a refusal changes nothing. */
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import type { StoredEvent } from "../../src/core/event.ts";
import { emptyState } from "../../src/core/state.ts";
import { transition } from "../../src/core/transition.ts";
import { testAgent } from "../support/server.ts";
import { addTask, serverFor, startTask } from "./ask.ts";

const SEED = Number(process.env.FUZZ_SEED ?? 42);
const RUNS = Number(process.env.FUZZ_RUNS ?? 150);

const goodId = fc.constantFrom(
  "t1",
  "t2",
  "t3",
  "t4",
  "claude",
  "copilot",
  "diego",
  "auto",
  "ses_000001",
  "ses_000002",
  "lock_ses_000001",
  "new1",
  "new2",
);
const anyId = fc.oneof(
  { weight: 8, arbitrary: goodId },
  { weight: 1, arbitrary: fc.constantFrom("nope", "__proto__", "constructor", ".", "..", "") },
  { weight: 1, arbitrary: fc.string({ maxLength: 70 }) },
);
const anyText = fc.oneof(
  { weight: 8, arbitrary: fc.string({ minLength: 1, maxLength: 50, unit: "grapheme" }) },
  { weight: 2, arbitrary: fc.string({ unit: "binary" }) },
  { weight: 1, arbitrary: fc.constantFrom("", "\0", "\ud800", "é".normalize("NFD"), "2026-02-30", "x".repeat(600)) },
);
const anyPath = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("a.ts", "src/**", "src/*.ts", "{a,b}/c", "[a-c]/*", "t1", "t2") },
  {
    weight: 2,
    arbitrary: fc.string({
      unit: fc.constantFrom("*", "?", "[", "]", "{", "}", ",", "/", "a", "b", ".", "!", "-", "\\"),
      maxLength: 30,
    }),
  },
  { weight: 1, arbitrary: anyText },
);
const anyNumber = fc.oneof(
  { weight: 6, arbitrary: fc.integer({ min: 1, max: 900 }) },
  {
    weight: 1,
    arbitrary: fc.oneof(fc.integer(), fc.double(), fc.constantFrom(0, -0, 1e308, -1, 0.5, Number.MAX_SAFE_INTEGER)),
  },
);
const anything = fc
  .anything({ withNullPrototype: true, maxDepth: 2 })
  .filter((value) => JSON.stringify(value) !== undefined);

/** A value that is mostly right, and else anything. */
const mostly = (right: fc.Arbitrary<unknown>) =>
  fc.oneof({ weight: 25, arbitrary: right }, { weight: 1, arbitrary: anything });
/** The required fields and a few of the others; now and then one that is unknown. */
const record = (fields: Record<string, fc.Arbitrary<unknown>>, required: readonly string[] = []) =>
  fc
    .tuple(
      fc.subarray(Object.keys(fields), { maxLength: Math.min(3, Object.keys(fields).length) }),
      fc.oneof(
        { weight: 10, arbitrary: fc.constant({}) },
        { weight: 1, arbitrary: fc.dictionary(fc.string(), anything, { maxKeys: 2 }) },
      ),
    )
    .chain(([some, unknown]) => {
      const names = Object.keys(fields).filter((name) => required.includes(name) || some.includes(name));
      return fc
        .record(Object.fromEntries(names.map((name) => [name, mostly(fields[name] as fc.Arbitrary<unknown>)])))
        .map((known) => ({ ...known, ...unknown }));
    });

const task = {
  title: anyText,
  description: anyText,
  status: fc.constantFrom("backlog", "planning", "todo", "in_progress", "review", "done"),
  priority: fc.constantFrom("urgent", "high", "medium", "low"),
  assignee: anyId,
  labels: fc.array(anyText, { maxLength: 2 }),
  project: fc.option(anyText),
  dependsOn: fc.array(anyId, { maxLength: 2 }),
  files: fc.array(anyPath, { maxLength: 2 }),
  workspace: fc.constantFrom(null, "/home/owner/x", "/home/owner/y/../z", "~/x", "/var/lib/jarvis", "/etc"),
  dueDate: fc.constantFrom(null, "2026-12-31", "2026-12-31T10:00:00Z", "2026-02-30"),
  estimate: fc.option(fc.oneof(anyNumber, anyText)),
  requiresReview: fc.boolean(),
  maxAttempts: fc.option(anyNumber),
  timeoutMs: fc.option(fc.oneof(fc.constant(5000), anyNumber)),
  hold: fc.option(record({ code: fc.constantFrom("HELD", "x"), message: anyText }, ["message"])),
};
const usage = record({ inputTokens: anyNumber, outputTokens: anyNumber, costUsd: anyNumber, model: anyText });

/** Lone surrogates have no URL form. */
const encoded = (text: string) => encodeURIComponent(text.replace(/[\ud800-\udfff]/gu, ""));

interface Write {
  readonly method: string;
  readonly url: string;
  readonly body?: unknown;
  readonly key?: string;
}

const at = (path: (id: string) => string) => anyId.map((id) => path(encoded(id)));
const write = (method: string, url: fc.Arbitrary<string>, body: fc.Arbitrary<unknown>): fc.Arbitrary<Write> =>
  fc.record({
    method: fc.constant(method),
    url,
    body: fc.oneof(
      { weight: 20, arbitrary: body },
      { weight: 1, arbitrary: anything },
      { weight: 1, arbitrary: fc.constant(undefined) },
    ),
  });

const newTask = write("POST", fc.constant("/api/tasks"), record({ ...task, id: anyId }, ["title"]));
const anyWrite = fc.oneof(
  newTask,
  newTask,
  newTask,
  write(
    "PATCH",
    at((id) => `/api/tasks/${id}`),
    record(task),
  ),
  write(
    "DELETE",
    at((id) => `/api/tasks/${id}`),
    fc.constant(undefined),
  ),
  write(
    "POST",
    at((id) => `/api/tasks/${id}/comments`),
    record({ author: anyId, content: anyText }, ["author", "content"]),
  ),
  write(
    "POST",
    fc.constant("/api/orchestrate"),
    record({ taskIds: fc.array(anyId, { maxLength: 4 }), dryRun: fc.boolean(), limit: anyNumber }),
  ),
  write(
    "PUT",
    fc.constant("/api/orchestrate"),
    record(
      {
        taskId: anyId,
        status: fc.constantFrom("running", "completed", "failed"),
        sessionId: anyId,
        sessionKey: anyText,
        result: anyText,
        error: anyText,
        progress: anyText,
        usage,
      },
      ["taskId", "status"],
    ),
  ),
  write(
    "POST",
    at((id) => `/api/sessions/${id}/cancel`),
    fc.constant(undefined),
  ),
  write(
    "POST",
    at((id) => `/api/sessions/${id}/heartbeat`),
    record({ progress: anyText }),
  ),
  write(
    "POST",
    fc.constant("/api/locks"),
    record(
      {
        sessionId: anyId,
        paths: fc.array(anyPath, { maxLength: 4 }),
        mode: fc.constantFrom("exclusive", "shared"),
        ttlMs: anyNumber,
      },
      ["sessionId", "paths", "mode"],
    ),
  ),
  write(
    "PUT",
    at((id) => `/api/locks/${id}`),
    record({ ttlMs: anyNumber }),
  ),
  write(
    "DELETE",
    at((id) => `/api/locks/${id}`),
    fc.constant(undefined),
  ),
  write(
    "POST",
    at((id) => `/api/agents/${id}/pause`),
    record({ reason: anyText }),
  ),
  write(
    "POST",
    at((id) => `/api/agents/${id}/resume`),
    fc.constant(undefined),
  ),
  write(
    "POST",
    at((id) => `/api/agents/${id}/check`),
    fc.constant(undefined),
  ),
  write("POST", fc.constant("/api/sign-in"), record({ token: anyText })),
  write("POST", fc.constant("/api/sign-out"), fc.constant(undefined)),
);

t.test(`any body to any write route is answered, and what is refused changed nothing (seed ${SEED})`, async (t) => {
  const { ask, dispatcher, journal } = await serverFor(t, {
    maxConcurrent: 1000,
    agents: [
      testAgent("claude", { maxConcurrent: 500 }),
      testAgent("copilot", { adapter: "cli", method: "cli", maxConcurrent: 500 }),
    ],
  });
  for (const id of ["t1", "t2"]) await startTask(ask, { id, files: [id] });
  await addTask(ask, { id: "t3", assignee: "diego" });
  const seen: Record<number, number> = {};
  // What the journal makes of an empty state is what the state was before a refused write, and has to be after it.
  const onDisk = emptyState();
  let folded = 0;
  let number = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(anyWrite, { minLength: 1, maxLength: 8 }), async (writes) => {
      for (const { method, url, body } of writes) {
        const seq = journal.lastSeq;
        const headers = number++ % 5 === 0 ? { "idempotency-key": `k${number % 50}` } : {};
        const asking =
          body === undefined
            ? { headers }
            : { headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
        const { status, text } = await ask(method, url, asking);
        seen[status] = (seen[status] ?? 0) + 1;
        if (status >= 500) throw new Error(`${method} ${url}: ${status} ${text}`);
        if (status < 400) continue;
        if (journal.lastSeq !== seq) throw new Error(`${method} ${url}: ${status}, but something was written`);
        for (; folded < seq; folded++) transition(onDisk, journal.stored[folded] as StoredEvent);
        if (!isDeepStrictEqual(dispatcher.state, onDisk))
          throw new Error(`${method} ${url}: ${status}, but it changed`);
      }
      for (const url of [
        "/api/orchestrate",
        "/api/tasks?limit=500",
        "/api/sessions?limit=500",
        "/api/locks",
        "/api/metrics",
        "/metrics",
        "/",
      ]) {
        const { status, text } = await ask("GET", url);
        if (status !== 200) throw new Error(`GET ${url}: ${status} ${text}`);
      }
    }),
    { seed: SEED, numRuns: RUNS },
  );
  t.ok(
    [200, 201, 204, 400, 404, 409].every((status) => (seen[status] ?? 0) > 10),
    JSON.stringify(seen),
  );
});

t.test(`any query to any list is answered (seed ${SEED})`, async (t) => {
  const { ask } = await serverFor(t);
  await startTask(ask, { id: "t1" });
  const names = [
    "status",
    "assignee",
    "priority",
    "label",
    "q",
    "limit",
    "cursor",
    "agent",
    "taskId",
    "archived",
    "format",
    "stream",
    "offset",
    "__proto__",
    "x",
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(
        "/api/tasks",
        "/api/sessions",
        "/api/locks",
        "/api/agents",
        "/api/orchestrate",
        "/api/tasks/t1/comments",
        "/api/metrics",
      ),
      fc.array(
        fc.tuple(
          fc.constantFrom(...names),
          fc.oneof(anyText, anyNumber.map(String), fc.constantFrom("todo", "true", "t1", "claude")),
        ),
        { maxLength: 4 },
      ),
      async (path, pairs) => {
        const query = pairs.map(([name, value]) => `${name}=${encoded(value)}`).join("&");
        const { status, text } = await ask("GET", `${path}?${query}`);
        if (![200, 400].includes(status)) throw new Error(`${path}?${query}: ${status} ${text}`);
      },
    ),
    { seed: SEED, numRuns: RUNS * 2 },
  );
  t.pass("200 or 400 each time");
});

t.test(`any bytes as a body, and any path, are answered (seed ${SEED})`, async (t) => {
  const { ask, journal } = await serverFor(t);
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(
        "POST /api/tasks",
        "POST /api/orchestrate",
        "PUT /api/orchestrate",
        "PATCH /api/tasks/t1",
        "POST /api/locks",
      ),
      fc.oneof(
        fc.uint8Array({ maxLength: 60 }),
        fc.json().map((text) => Buffer.from(text)),
        fc.string().map((text) => Buffer.from(`{"title":"${text}"`)),
      ),
      fc.constantFrom(
        "application/json",
        "application/json; charset=utf-8",
        "text/plain",
        undefined,
        "x/y; z",
        "application/json; charset=utf-16",
      ),
      async (route, bytes, type) => {
        const [method = "", url = ""] = route.split(" ");
        const { status, text } = await ask(method, url, { body: bytes, headers: { "content-type": type } });
        if (status >= 500) throw new Error(`${route}: ${status} ${text}`);
      },
    ),
    { seed: SEED, numRuns: RUNS * 2 },
  );
  const before = journal.lastSeq;
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom("GET", "PUT", "DELETE", "PATCH"),
      fc.string({ unit: fc.constantFrom("/", "%", "2", "e", ".", "a", "api", "tasks", "?", "&", "=", ";", ":", "*") }),
      async (method, path) => {
        const { status, text } = await ask(method, `/${path}`);
        if (status >= 500) throw new Error(`${method} /${path}: ${status} ${text}`);
      },
    ),
    { seed: SEED, numRuns: RUNS * 2 },
  );
  t.equal(journal.lastSeq, before);
});
