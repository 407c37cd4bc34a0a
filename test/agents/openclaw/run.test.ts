import { existsSync, readFileSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createOpenClawAdapter } from "../../../src/agents/openclaw/adapter.ts";
import type { Pace } from "../../../src/agents/openclaw/run.ts";
import { runDirectory } from "../../../src/agents/run-directory.ts";
import { createSpawnAdapter } from "../../../src/agents/spawn.ts";
import type { AgentAdapter, RunSpec } from "../../../src/dispatcher/ports.ts";
import { newSpec, openSession, testAgents, until } from "../../support/agents.ts";
import { GATEWAY_TOKEN, type RawAnswer, StandInGateway, toolAnswer } from "../../support/openclaw-gateway.ts";

t.jobs = 4;

const PACE: Pace = { settleMs: 300, absentMs: 300, lostSlackMs: 200, lastWordsMs: 200, historyMs: 200 };
const SECRET = "callback-token-of-this-session";

async function setUp(t: Test, changes: { readonly openclaw?: object; readonly pace?: Partial<Pace> } = {}) {
  const gateway = new StandInGateway();
  await gateway.start();
  const agents = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "spawn", via: "openclaw" });
  t.teardown(() => gateway.stop());
  const { context } = agents;
  context.environment["OPENCLAW_GATEWAY_TOKEN"] = GATEWAY_TOKEN;
  const openclaw = { url: gateway.url, tokenEnv: "OPENCLAW_GATEWAY_TOKEN", sessionKey: "main", pollMs: 50 };
  const settings = { ...openclaw, requestTimeoutMs: 2000, ...changes.openclaw };
  const adapters = new Set<AgentAdapter>();
  t.teardown(() => Promise.all([...adapters].map((adapter) => adapter.close())));
  /** A daemon that begins, and all that it knows is on disk. */
  const another = (pace: Partial<Pace> = {}) => {
    const adapter = createOpenClawAdapter(context, { ...PACE, ...changes.pace, ...pace });
    adapters.add(adapter);
    return adapter;
  };
  const agent = agents.agent(null, { openclaw: settings, killGraceMs: 100 });
  const spec = (more: Partial<RunSpec> = {}) =>
    newSpec(agent, { env: { JARVIS_CALLBACK_TOKEN: SECRET }, prompt: `do it, and report with ${SECRET}`, ...more });
  const path = (one: RunSpec, name: string) => join(runDirectory(agents.dataDirectory, one.sessionId), name);
  const log = (one: RunSpec) => readFileSync(path(one, "stdout.log"), "utf8");
  return { ...agents, gateway, agent, spec, another, adapter: another(), path, log, settings };
}

function test(name: string, check: (t: Test) => Promise<void>): void {
  void t.test(name, { buffered: true }, check);
}

test("a child that never reports: its last text is the result, its tokens and costs are counted", async (t) => {
  const { gateway, adapter, spec, log, path, reports, agent } = await setUp(t);
  const one = spec({ model: "sonnet" });
  const session = openSession(adapter, one);
  const facts = await session.started;
  const child = gateway.child();
  t.match(facts, { host: new URL(gateway.url).host, sessionKey: child.sessionKey });
  t.match(child.args, {
    task: one.prompt,
    label: `jarvis ${one.sessionId}`,
    mode: "run",
    cleanup: "keep",
    model: "sonnet",
    expectsCompletionMessage: false,
  });
  t.match(child.args["runTimeoutSeconds"], Number);
  gateway.calls(child, `curl -H 'Authorization: Bearer ${SECRET}'`);
  gateway.says(child, "half of it");
  await until("the log grows", () => existsSync(path(one, "stdout.log")));
  t.ok(session.signs() > 0);
  gateway.says(child, "all of it");
  gateway.ends(child, "done");
  const end = await session.ended;
  t.same(end.outcome, { status: "completed", result: "all of it" });
  t.same(end.usage, { inputTokens: 200, outputTokens: 40, costUsd: 0.5, model: "stub-model" });
  t.equal(
    log(one),
    `[exec] {"command":"curl -H 'Authorization: Bearer <callback token>'"}\n\nhalf of it\n\nall of it\n\n`,
  );
  t.notMatch(readFileSync(path(one, "prompt.md"), "utf8"), SECRET);
  t.equal(gateway.count("sessions_spawn"), 1);
  t.same(reports.at(-1), { agent, reason: null });
});

test("one list serves all children of a gateway", async (t) => {
  const { gateway, adapter, spec } = await setUp(t, { openclaw: { pollMs: 100 } });
  const sessions = Array.from({ length: 10 }, () => openSession(adapter, spec()));
  await Promise.all(sessions.map(({ started }) => started));
  const before = gateway.count("subagents");
  await gateway.next("subagents", 2);
  t.ok(gateway.count("subagents") - before <= 3);
  for (const child of gateway.children) gateway.ends(child, "done");
  for (const { ended } of sessions) t.match((await ended).outcome, { status: "completed", result: "(no output)" });
  t.equal(gateway.count("sessions_spawn"), 10);
});

test("a gateway that does not say its version gets what all versions take", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  gateway.onRequest = (tool) =>
    tool === "session_status" ? { status: 404, body: '{"ok":false,"error":{"type":"not_found"}}' } : null;
  const session = openSession(adapter, spec());
  await session.started;
  t.same(Object.keys(gateway.child().args).toSorted(), ["cleanup", "label", "mode", "task"]);
});

test("a text that the gateway cut says so, and where the rest is", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const session = openSession(adapter, spec());
  await session.started;
  gateway.says(gateway.child(), "the beginning", { isCut: true });
  gateway.ends(gateway.child(), "done");
  t.match((await session.ended).outcome, { status: "completed", result: /^the beginning\n\n\[Cut by the gateway/ });
});

test("a long history is fetched to its beginning", async (t) => {
  const { gateway, adapter, spec, log } = await setUp(t);
  const one = spec();
  const session = openSession(adapter, one);
  await session.started;
  for (let n = 1; n <= 75; n++) gateway.says(gateway.child(), `line ${n}`);
  gateway.ends(gateway.child(), "done");
  t.match((await session.ended).outcome, { result: "line 75" });
  t.same(
    log(one).trim().split("\n\n"),
    Array.from({ length: 75 }, (_, n) => `line ${n + 1}`),
  );
});

test("a workspace is where the child works, and one that is not allowed is none", async (t) => {
  const { gateway, adapter, spec, workspaces } = await setUp(t);
  const session = openSession(adapter, spec({ workspace: workspaces }));
  await session.started;
  t.equal(gateway.child().args["cwd"], realpathSync(workspaces));
  const { outcome } = await openSession(adapter, spec({ workspace: "/" })).ended;
  t.match(outcome, { status: "failed", error: { code: "BAD_WORKSPACE" } });
  t.equal(gateway.children.length, 1);
});

const refusals: readonly [name: string, answer: RawAnswer, outcome: object][] = [
  [
    "too many children: the gateway's words",
    {
      body: JSON.stringify(
        toolAnswer({ status: "forbidden", error: "sessions_spawn has reached max active children (5/5)" }),
      ),
    },
    { code: "SPAWN_REFUSED", message: /forbidden.*max active children \(5\/5\)/ },
  ],
  [
    "a model that it does not know: the gateway's words",
    { body: JSON.stringify(toolAnswer({ status: "error", error: "Unknown model: nope/none" })) },
    { code: "SPAWN_REFUSED", message: /Unknown model/ },
  ],
  [
    "an argument that it does not know",
    { status: 400, body: '{"ok":false,"error":{"type":"tool_error","message":"does not support \\"channel\\""}}' },
    { code: "SPAWN_REFUSED", message: /400.*does not support/ },
  ],
  [
    "a wrong token",
    { status: 401, body: '{"error":{"message":"Unauthorized","type":"unauthorized"}}' },
    { code: "AUTHENTICATION_FAILED", message: /gateway\.auth\.token.*openclaw\.tokenFile/ },
  ],
  [
    "a redirect, which is not followed",
    { status: 307, headers: { location: "http://127.0.0.1:1/elsewhere" }, body: "" },
    { code: "BAD_CONFIG", message: /elsewhere.*openclaw\.url/ },
  ],
  [
    "a gateway that is about to restart",
    { status: 503, body: '{"error":{"message":"Gateway is temporarily unavailable","code":"gateway_unavailable"}}' },
    { code: "HOST_UNREACHABLE", message: /restart/ },
  ],
];
for (const [name, answer, error] of refusals) {
  test(`refused: ${name}`, async (t) => {
    const { gateway, adapter, spec } = await setUp(t);
    gateway.onSpawn = () => answer;
    t.match((await openSession(adapter, spec()).ended).outcome, { status: "failed", error });
    t.equal(gateway.count("sessions_spawn"), 1);
    t.equal(gateway.children.length, 0);
  });
}

test("sessions_spawn on the deny list: what to set, and the agent is reported", async (t) => {
  const { gateway, adapter, spec, reports } = await setUp(t);
  gateway.deniesSpawn = true;
  const { outcome } = await openSession(adapter, spec()).ended;
  t.match(outcome, {
    status: "failed",
    error: { code: "BAD_CONFIG", message: /"gateway": \{"tools": \{"allow": \["sessions_spawn", "exec"\]\}\}/ },
  });
  t.match(reports.at(-1)?.reason, /deny list/);
});

test("no token: what to set", async (t) => {
  const { adapter, spec, context } = await setUp(t);
  delete context.environment["OPENCLAW_GATEWAY_TOKEN"];
  t.match((await openSession(adapter, spec()).ended).outcome, {
    status: "failed",
    error: { code: "BAD_CONFIG", message: /OPENCLAW_GATEWAY_TOKEN.*openclaw\.tokenFile/ },
  });
});

test("no gateway: it fails at once, since nothing was asked", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  await gateway.stop();
  t.match((await openSession(adapter, spec()).ended).outcome, {
    status: "failed",
    error: { code: "HOST_UNREACHABLE", message: /cannot be reached.*openclaw\.url/ },
  });
});

test("429: it is left alone for as long as it says, then asked again", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  let limited = 0;
  gateway.onRequest = () => {
    limited += 1;
    const body = '{"error":{"message":"Too many failed authentication attempts.","type":"rate_limited"}}';
    return limited <= 2 ? { status: 429, headers: { "retry-after": "1" }, body } : null;
  };
  const began = performance.now();
  const session = openSession(adapter, spec());
  await session.started;
  t.ok(performance.now() - began >= 900);
  t.equal(gateway.count("sessions_spawn"), 1);
});

test("an answer that was lost after the child began: it is found, and not asked for again", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  gateway.onSpawn = () => "start-and-cut";
  const session = openSession(adapter, spec());
  t.equal((await session.started).sessionKey, gateway.child().sessionKey);
  gateway.says(gateway.child(), "found again");
  gateway.ends(gateway.child(), "done");
  t.match((await session.ended).outcome, { status: "completed", result: "found again" });
  t.equal(gateway.count("sessions_spawn"), 1);
});

test("a request that was lost before a child began: it is asked for again, not before the gateway had its time", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const asked: number[] = [];
  gateway.onSpawn = (attempt) => {
    asked.push(performance.now());
    return attempt === 1 ? "cut" : "accept";
  };
  const session = openSession(adapter, spec());
  await session.started;
  t.equal(gateway.children.length, 1);
  t.ok((asked[1] ?? 0) - (asked[0] ?? 0) >= 290);
});

test("a request that was cut in the middle leaves a session in which nothing runs: that is no child", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  gateway.onSpawn = (attempt) => (attempt === 1 ? "cut" : "accept");
  const one = spec();
  const label = `jarvis ${one.sessionId}`;
  const husk = toolAnswer({ count: 1, sessions: [{ key: "agent:main:subagent:husk", label, kind: "other" }] });
  gateway.onRequest = (tool) => (tool === "sessions_list" ? { body: JSON.stringify(husk) } : null);
  t.equal((await openSession(adapter, one).started).sessionKey, gateway.child().sessionKey);
  t.equal(gateway.children.length, 1);
});

test("a failure whose reason comes after it", async (t) => {
  const { gateway, adapter, spec } = await setUp(t, { pace: { lastWordsMs: 30_000 } });
  const session = openSession(adapter, spec());
  await session.started;
  gateway.ends(gateway.child(), "failed");
  await gateway.next("subagents", 2);
  gateway.ends(gateway.child(), "failed", "the wheels came off");
  t.match((await session.ended).outcome, { error: { message: /the wheels came off/ } });
});

test("a request without an answer in time is as unknown as a lost one", async (t) => {
  const { gateway, adapter, spec } = await setUp(t, { openclaw: { requestTimeoutMs: 300 } });
  gateway.onRequest = (tool) => (tool === "sessions_spawn" && gateway.count(tool) === 1 ? "hang" : null);
  await openSession(adapter, spec()).started;
  t.equal(gateway.count("sessions_spawn"), 2);
  t.equal(gateway.children.length, 1);
});

test("a gateway that never says what became of it is not asked for ever", async (t) => {
  const { gateway, adapter, spec } = await setUp(t, { pace: { settleMs: 50 } });
  gateway.onSpawn = () => "cut";
  t.match((await openSession(adapter, spec()).ended).outcome, { status: "failed", error: { code: "START_FAILED" } });
  t.equal(gateway.count("sessions_spawn"), 3);
});

test("a request that is done after all, after the second one: one of the two is cancelled", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const one = spec();
  const session = openSession(adapter, one);
  await session.started;
  const [first] = gateway.children;
  if (first === undefined) throw new Error("no child");
  const late = { ...first, sessionKey: "agent:main:subagent:late", taskId: "late", messages: [...first.messages] };
  gateway.children.push(late);
  await gateway.until(() => gateway.children.filter(({ status }) => status === "running").length === 1);
  const left = gateway.children.find(({ status }) => status === "running");
  if (left === undefined) throw new Error("both were cancelled");
  gateway.says(left, "one is enough");
  gateway.ends(left, "done");
  t.match((await session.ended).outcome, { status: "completed", result: "one is enough" });
});

test("a daemon that dies between asking and hearing: the next one finds the child", async (t) => {
  const { gateway, adapter, another, spec } = await setUp(t);
  gateway.onRequest = (tool) => (tool === "sessions_spawn" ? "hang" : null);
  const one = spec();
  openSession(adapter, one);
  await gateway.next("sessions_spawn");
  // Its daemon is gone, and the request is done after that.
  await adapter.close();
  gateway.onRequest = () => null;
  const meanwhile = openSession(another(), one);
  await gateway.next("sessions_list");
  t.equal(gateway.count("sessions_spawn"), 1);
  await fetch(`${gateway.url}/tools/invoke`, {
    method: "POST",
    headers: { authorization: `Bearer ${GATEWAY_TOKEN}` },
    body: JSON.stringify({ tool: "sessions_spawn", args: { task: "late", label: `jarvis ${one.sessionId}` } }),
  });
  t.equal((await meanwhile.started).sessionKey, gateway.child().sessionKey);
  t.equal(gateway.children.length, 1);
});

test("a daemon that dies between asking and hearing, and nobody heard: the next one asks again", async (t) => {
  const { gateway, adapter, another, spec } = await setUp(t);
  gateway.onRequest = (tool) => (tool === "sessions_spawn" ? "hang" : null);
  const one = spec();
  openSession(adapter, one);
  await gateway.next("sessions_spawn");
  await adapter.close();
  gateway.onRequest = () => null;
  await openSession(another(), one).started;
  t.equal(gateway.children.length, 1);
});

test("a daemon that comes back: the run is found, and its log goes on where it stopped", async (t) => {
  const { gateway, adapter, another, spec, log, path, agent, context } = await setUp(t);
  const one = spec();
  const session = openSession(adapter, one);
  await session.started;
  gateway.says(gateway.child(), "before");
  await until("the log has it", () => existsSync(path(one, "stdout.log")) && /before/.test(log(one)));
  await session.run.detach();
  await adapter.close();
  gateway.says(gateway.child(), "meanwhile");
  gateway.ends(gateway.child(), "done");
  // Whatever the config says by now.
  Object.assign(context.config().agents[agent]?.openclaw ?? {}, { url: "http://127.0.0.1:1" });
  const end = await openSession(another(), { ...one, hasBegun: true }).ended;
  t.same(end.outcome, { status: "completed", result: "meanwhile" });
  t.equal(log(one), "before\n\nmeanwhile\n\n");
  t.equal(gateway.count("sessions_spawn"), 1);
});

test("a run that ended long ago, and stands in no list of the newest any more", async (t) => {
  const { gateway, adapter, another, spec } = await setUp(t);
  const one = spec();
  const session = openSession(adapter, one);
  await session.started;
  await session.run.detach();
  await adapter.close();
  gateway.says(gateway.child(), "long ago");
  gateway.ends(gateway.child(), "done");
  gateway.onRequest = (tool) =>
    tool === "subagents" ? { body: JSON.stringify(toolAnswer({ tasks: [], active: [], recent: [] })) } : null;
  t.match((await openSession(another(), { ...one, hasBegun: true }).ended).outcome, { result: "long ago" });
});

test("a gateway that is away in between: nothing is lost, nothing started twice", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const session = openSession(adapter, spec());
  await session.started;
  await gateway.stop();
  gateway.says(gateway.child(), "still there");
  gateway.ends(gateway.child(), "done");
  await gateway.start();
  t.match((await session.ended).outcome, { status: "completed", result: "still there" });
  t.equal(gateway.count("sessions_spawn"), 1);
});

test("a gateway that stays away: lost, once its time is over; what lives of it is cancelled when it is back", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const session = openSession(adapter, spec({ deadlineAt: Date.now() + 1500 }));
  await session.started;
  await gateway.stop();
  t.match((await session.ended).outcome, { status: "lost", error: { code: "HOST_UNREACHABLE" } });
  const cancelled = gateway.until(() => gateway.child().status === "killed");
  await gateway.start();
  await cancelled;
});

test("a gateway that knows its session no more: lost", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const session = openSession(adapter, spec());
  await session.started;
  gateway.forgets = true;
  t.match((await session.ended).outcome, { status: "lost", error: { code: "RUN_LOST" } });
});

test("stopped: the child is cancelled", async (t) => {
  const { gateway, adapter, spec } = await setUp(t, { openclaw: { pollMs: 5000 } });
  const session = openSession(adapter, spec());
  await session.started;
  const cancelled = gateway.until(() => gateway.child().status === "killed");
  // Not before the next look, which is seconds away.
  session.run.stop();
  await cancelled;
  t.match((await session.ended).outcome, { status: "failed", error: { code: "STOPPED" } });
});

test("stopped before it was asked for: nothing is started", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const session = openSession(adapter, spec());
  session.run.stop();
  t.match((await session.ended).outcome, { status: "failed", error: { code: "STOPPED" } });
  t.equal(gateway.count("sessions_spawn"), 0);
});

test("its time is over: cancelled, and timed out", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const session = openSession(adapter, spec({ deadlineAt: Date.now() + 700 }));
  await session.started;
  t.match((await session.ended).outcome, { status: "timed_out", error: { code: "TIMED_OUT" } });
  t.equal(gateway.child().status, "killed");
});

test("a cancel that the gateway does not carry out is no end, until patience is over", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const session = openSession(adapter, spec({ deadlineAt: Date.now() + 700 }));
  await session.started;
  const child = gateway.child();
  gateway.children[0] = { ...child, taskId: "another" };
  const list = JSON.stringify(
    toolAnswer({ tasks: [], active: [{ label: child.args["label"], sessionKey: child.sessionKey }], recent: [] }),
  );
  gateway.onRequest = (tool) => (tool === "subagents" ? { body: list } : null);
  t.match((await session.ended).outcome, { status: "lost", error: { code: "NOT_CANCELLED" } });
});

test("more than may be kept: stopped", async (t) => {
  const { gateway, adapter, spec, agent, context } = await setUp(t);
  Object.assign(context.config().agents[agent] ?? {}, { maxOutputBytes: 1024 });
  const session = openSession(adapter, spec());
  await session.started;
  gateway.says(gateway.child(), "x".repeat(2000));
  t.match((await session.ended).outcome, { status: "failed", error: { code: "OUTPUT_LIMIT" } });
  t.equal(gateway.child().status, "killed");
});

const failures: readonly [words: string, code: string][] = [
  [
    "⚠️ stub/stub-model request failed (authentication failed, HTTP 401). Re-authenticate the provider and try again.",
    "PROVIDER_AUTHENTICATION_FAILED",
  ],
  [
    'Inline API key for provider "stub" is temporarily disabled after a provider auth/billing failure. Retry after about 1 m…',
    "PROVIDER_AUTHENTICATION_FAILED",
  ],
  ["⚠️ stub/stub-model request failed (HTTP 429)", "PROVIDER_RATE_LIMITED"],
  [
    "Subagent execution was interrupted by a Gateway restart. Inspect retained session history and uncertain tool outcomes,…",
    "GATEWAY_RESTARTED",
  ],
  ["subagent run lost active execution context", "GATEWAY_RESTARTED"],
  ["the wheels came off", "AGENT_FAILED"],
];
for (const [words, code] of failures) {
  test(`failed: ${words.slice(0, 40)} is ${code}`, async (t) => {
    const { gateway, adapter, spec } = await setUp(t);
    const session = openSession(adapter, spec());
    await session.started;
    gateway.ends(gateway.child(), "failed", words);
    t.match((await session.ended).outcome, { status: "failed", error: { code } });
  });
}

test("somebody cancels it at the gateway: a failure, not a stop of ours", async (t) => {
  const { gateway, adapter, spec } = await setUp(t);
  const session = openSession(adapter, spec());
  await session.started;
  gateway.ends(gateway.child(), "killed");
  t.match((await session.ended).outcome, { status: "failed", error: { code: "CANCELLED_THERE" } });
});

const HOSTILE: Readonly<Record<string, RawAnswer>> = {
  "not JSON": { body: "<html>It works!</html>" },
  "nothing at all": { body: "" },
  "wrong types": { body: '{"ok":true,"result":{"details":{"status":7,"active":"x","recent":{},"messages":1}}}' },
  "lists of nothing": {
    body: '{"ok":true,"result":{"details":{"status":[],"tasks":[null,1],"active":[null],"recent":[[]]}}}',
  },
  "no end of it": { body: "x".repeat(6 * 1024 * 1024) },
  "a failure of its own": { status: 500, body: '{"ok":false,"error":{"type":"x","message":"\u001b[31mboom"}}' },
};
for (const [name, answer] of Object.entries(HOSTILE)) {
  test(`an answer that is ${name}: a list like that is no end`, async (t) => {
    const { gateway, adapter, spec } = await setUp(t);
    const session = openSession(adapter, spec());
    await session.started;
    gateway.onRequest = (tool) => (tool === "history" ? null : answer);
    await gateway.next("subagents", 2);
    gateway.says(gateway.child(), "sane again");
    gateway.ends(gateway.child(), "done");
    gateway.onRequest = () => null;
    t.match((await session.ended).outcome, { status: "completed", result: "sane again" });
  });
  test(`an answer that is ${name}: a history like that costs the text, not the end`, async (t) => {
    const { gateway, adapter, spec } = await setUp(t);
    const session = openSession(adapter, spec());
    await session.started;
    gateway.onRequest = (tool) => (tool === "history" ? answer : null);
    gateway.ends(gateway.child(), "done");
    t.match((await session.ended).outcome, { status: "completed", result: "(no output)" });
  });
  test(`an answer that is ${name}: a spawn like that is looked for`, async (t) => {
    const { gateway, adapter, spec } = await setUp(t);
    gateway.onSpawn = (attempt) => (attempt === 1 ? answer : "accept");
    await openSession(adapter, spec()).started;
    t.equal(gateway.children.length, 1);
  });
}

test("a run is followed the way it was started", async (t) => {
  const { gateway, agent, spec, context, dataDirectory } = await setUp(t);
  const first = createSpawnAdapter(context);
  const one = spec();
  const session = openSession(first, one);
  await session.started;
  await session.run.detach();
  await first.close();
  Object.assign(context.config().agents[agent] ?? {}, { via: "process", command: ["false"] });
  const second = createSpawnAdapter(context);
  t.teardown(() => second.close());
  const again = openSession(second, { ...one, hasBegun: true });
  t.equal((await again.started).sessionKey, gateway.child().sessionKey);
  t.ok(existsSync(`${runDirectory(dataDirectory, one.sessionId)}.openclaw`));
});

for (const damage of ["damaged", "gone"]) {
  test(`a record that is ${damage}: the child is looked for, and never started again`, async (t) => {
    const { gateway, adapter, another, spec, dataDirectory } = await setUp(t);
    const one = spec();
    await openSession(adapter, one).started;
    await adapter.close();
    const file = `${runDirectory(dataDirectory, one.sessionId)}.openclaw`;
    const doDamage = () => (damage === "gone" ? rmSync(file) : writeFileSync(file, "{"));
    doDamage();
    const found = another();
    t.equal((await openSession(found, { ...one, hasBegun: true }).started).sessionKey, gateway.child().sessionKey);
    await found.close();
    doDamage();
    gateway.forgets = true;
    t.match((await openSession(another(), { ...one, hasBegun: true }).ended).outcome, {
      status: "lost",
      error: { code: "RUN_LOST" },
    });
    t.equal(gateway.count("sessions_spawn"), 1);
  });
}

test("inspect: what is wrong, and what to do", async (t) => {
  const { gateway, adapter, agent, context } = await setUp(t);
  const states = async () => (await adapter.inspect(agent)).map(({ about, state }) => `${about} ${state}`);
  t.same(await states(), ["connection ok", "version ok", "tool ok", "children ok"]);
  t.equal(gateway.children.length, 0, "nothing was started");
  gateway.deniesSpawn = true;
  t.same(await states(), ["connection ok", "version ok", "tool fail", "children ok"]);
  gateway.token = "another";
  t.same(await states(), ["connection fail"]);
  await gateway.stop();
  t.match(await adapter.inspect(agent), [{ about: "connection", state: "fail", message: /cannot be reached/ }]);
  delete context.environment["OPENCLAW_GATEWAY_TOKEN"];
  t.same(await states(), ["token fail"]);
});
