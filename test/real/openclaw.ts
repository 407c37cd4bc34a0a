/**
 * Our daemon and a real OpenClaw gateway, whose model is the stub. Not among the tests that run by default: it installs 850 MB, and a
 * start of the gateway takes 1 GB and 15 s. Nothing in it needs a network once the gateway is installed:
 *
 *     npx tap test/real/openclaw.ts
 *     unshare -rn sh -c 'ip link set lo up; exec npx tap test/real/openclaw.ts'
 */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import t from "tap";
import type { Session } from "../../src/api/session.ts";
import type { Client } from "../support/client.ts";
import { type DaemonProcess, Home } from "../support/daemon.ts";
import { type ModelServer, startModelServer } from "../support/model-server.ts";
import { GATEWAY_TOKEN, HOOKS_TOKEN, installOpenClaw, OpenClawProgram } from "../support/openclaw-program.ts";

t.setTimeout(15 * 60_000);

const LIMIT_MS = 150_000;

execFileSync(process.execPath, ["scripts/build.mjs", "--if-needed"], { env: { ...process.env, NODE_OPTIONS: "" } });
const program = await installOpenClaw();
const home = new Home(t);
const model = await startModelServer();
t.teardown(() => model.close());
const obedient = await startObedientModel(model);
t.teardown(() => obedient.close());
const gatewayHome = home.path("gateway");
mkdirSync(gatewayHome);
const gateway = new OpenClawProgram({ program, home: gatewayHome, modelUrl: `${obedient.url}/v1` });
t.teardown(() => gateway.kill());
await gateway.start();
home.configure({
  agents: {
    claude: {
      adapter: "spawn",
      via: "openclaw",
      openclaw: { url: gateway.url, pollMs: 500 },
      model: "stub/stub-model",
      maxConcurrent: 5,
      timeoutMs: 300_000,
    },
    unknown: { adapter: "spawn", via: "openclaw", openclaw: { url: gateway.url }, agentId: "nobody" },
    hasty: { adapter: "spawn", via: "openclaw", openclaw: { url: gateway.url, pollMs: 500 }, timeoutMs: 6000 },
  },
  retry: { maxAttempts: 1 },
  wake: { url: `${gateway.url}/hooks/wake`, minIntervalMs: 0 },
});
const env = { OPENCLAW_GATEWAY_TOKEN: GATEWAY_TOKEN, OPENCLAW_HOOKS_TOKEN: HOOKS_TOKEN };
let daemon: DaemonProcess = await home.start({ env });

t.test("check: reached, the version known, and nothing was started by it", async (t) => {
  const check = await daemon.client.post<{
    ok: boolean;
    findings: { about: string; state: string; message: string }[];
  }>("/api/agents/claude/check");
  t.comment(JSON.stringify(check));
  t.equal(check.ok, true);
  t.same(
    check.findings.map(({ about, state }) => `${about} ${state}`),
    ["connection ok", "version ok", "tool ok", "children ok"],
  );
  t.match(check.findings[1]?.message, /OpenClaw 2026\.9\.6/);
});

t.test("a child that does not call back: its last text becomes the comment", async (t) => {
  const { session, comments } = await work("plain", "[[PLAIN The answer is 42.]]");
  t.match(session, { status: "completed", method: "spawn", sessionKey: /^agent:main:subagent:/ });
  t.notOk("pid" in session);
  t.match(comments.at(-1), /^The answer is 42\.$/);
  t.match(session.usage, { inputTokens: Number, outputTokens: Number, costUsd: Number });
  t.match(await log(session.id), /The answer is 42\./);
});

t.test("a child that does call back, with the curl of its prompt", async (t) => {
  const { session, comments } = await work("report", "Do as you are told. [[REPORT]]");
  t.equal(session.status, "completed");
  t.equal(comments.at(-1), "<your result>");
  const text = await log(session.id);
  t.match(text, /\[exec\].*curl -sS -X PUT/);
  // The gateway blots out what looks like one, too.
  t.notMatch(text, /Bearer (?!<callback token>|\*\*\*)/);
});

t.test("a long answer is cut by the gateway, and says so", async (t) => {
  const { session, comments } = await work("long", "[[HUGE 20000]]");
  t.equal(session.status, "completed");
  t.match(comments.at(-1), /\[Cut by the gateway/);
});

t.test("an agent that the gateway does not know: its words", async (t) => {
  const { session } = await work("nobody", "[[PLAIN x]]", "unknown");
  t.match(session, { status: "failed", error: { code: "SPAWN_REFUSED", message: /agentId is not allowed/ } });
});

t.test("cancelled: the child is ended at the gateway", async (t) => {
  const id = await dispatch("hang", "[[HANG]]");
  await until(async () => (await daemon.client.session(id)).status === "running");
  await daemon.client.post(`/api/sessions/${id}/cancel`);
  const session = await ended(id);
  t.equal(session.status, "cancelled");
  t.equal(await stateOf(session), "killed");
});

t.test("its time is over: cancelled, and timed out", async (t) => {
  const { session } = await work("hasty", "[[HANG]]", "hasty");
  t.equal(session.status, "timed_out");
  t.equal(await stateOf(session), "killed");
});

t.test("the daemon is killed while a child works: found again", async (t) => {
  const id = await dispatch("slow", "[[SLOW 8000 slowly done]]");
  await until(async () => (await daemon.client.session(id)).status === "running");
  await daemon.kill();
  daemon = await home.start({ env });
  const session = await ended(id);
  t.match(session, { status: "completed", result: "slowly done" });
  t.equal(await spawnsOf(id), 1);
});

t.test("the daemon is killed while it asks: at most one child, and its result comes back", async (t) => {
  const tries = 8;
  for (let n = 0; n < tries; n++) {
    const id = await dispatch(`race-${n}`, `[[PLAIN raced ${n}]]`);
    // From before the ask to after its answer.
    await sleep(40 * n);
    await daemon.kill();
    daemon = await home.start({ env });
    const session = await ended(id);
    t.match(session, { status: "completed", result: `raced ${n}` });
    t.equal(await spawnsOf(id), 1);
  }
});

t.test("sessions_spawn on the deny list: said by the check and by the session, with what to set", async (t) => {
  gateway.configure([]);
  await until(async () => (await gateway.invoke("sessions_spawn")).status === 404);
  const { session } = await work("denied", "[[PLAIN x]]");
  t.match(session, {
    status: "failed",
    error: { code: "BAD_CONFIG", message: /"allow": \["sessions_spawn", "exec"\]/ },
  });
  t.match(await daemon.client.post("/api/agents/claude/check"), { ok: false });
  gateway.configure(["sessions_spawn", "exec"]);
  await until(async () => (await gateway.invoke("sessions_spawn")).status === 400);
  t.match(await daemon.client.post("/api/agents/claude/check"), { ok: true });
});

t.test("the gateway is killed and comes back: a child that was done is done, one at work is told of", async (t) => {
  const [working, done] = [
    await dispatch("working", "[[SLOW 120000 never]]"),
    await dispatch("done", "[[SLOW 3000 in time]]"),
  ];
  for (const id of [working, done]) await until(async () => (await daemon.client.session(id)).status === "running");
  const { sessionKey } = await daemon.client.session(done);
  await until(async () => (await gateway.invoke("sessions_list", { limit: 50 })).text.includes(String(sessionKey)));
  await gateway.kill();
  await gateway.start();
  const session = await ended(working);
  t.comment(JSON.stringify(session.error));
  t.match(session, { status: "failed", error: { code: "GATEWAY_RESTARTED" } });
  t.match((await ended(done)).status, /completed|failed/);
  for (const id of [working, done]) t.equal(await spawnsOf(id), 1);
});

t.test("Jarvis was told, and nothing of it failed while there was a gateway", async (t) => {
  const text = readFileSync(join(gatewayHome, "gateway.log"), "utf8");
  t.comment(`gateway.log: ${text.length} bytes`);
  const warned = daemon.log.filter(({ msg }) => /Jarvis cannot be told/.test(msg));
  // The gateway was away once in the life of this daemon.
  t.ok(warned.length <= 1);
});

t.test("a provider that lets the gateway not in: said", async (t) => {
  const { session } = await work("locked-out", "[[FAIL 401]]");
  t.match(session, { status: "failed", error: { code: "PROVIDER_AUTHENTICATION_FAILED", message: /401/ } });
});

async function dispatch(id: string, title: string, assignee = "claude"): Promise<string> {
  const { client } = daemon;
  await client.post("/api/tasks", { id, title, assignee });
  const { dispatched } = await client.dispatch({ taskIds: [id] });
  const sessionId = dispatched?.[0]?.sessionId;
  if (sessionId === undefined) throw new Error(`${id} was not dispatched: ${JSON.stringify(await client.status())}`);
  return sessionId;
}

async function work(id: string, title: string, assignee?: string) {
  const session = await ended(await dispatch(id, title, assignee));
  const { comments } = await daemon.client.task(id);
  return { session, comments: comments.map(({ content }) => content) };
}

async function ended(id: string): Promise<Session> {
  await until(
    async () => {
      const { status } = await daemon.client.session(id);
      return status !== "starting" && status !== "running" && status !== "stopping";
    },
    async () => {
      const { text } = await gateway.invoke("subagents", { action: "list" });
      return `${JSON.stringify(await daemon.client.session(id))}: ${text.slice(0, 5000)}`;
    },
  );
  return daemon.client.session(id);
}

async function log(sessionId: string): Promise<string> {
  return (await (daemon.client as Client).send("GET", `/api/sessions/${sessionId}/log`)).text;
}

/** What the gateway says of the session's children. A session without a status never ran. */
async function childrenOf(sessionId: string): Promise<readonly { readonly status: string; readonly key: string }[]> {
  const { text } = await gateway.invoke("sessions_list", { label: `jarvis ${sessionId}`, limit: 10 });
  const sessions: { readonly status?: string; readonly key: string }[] = JSON.parse(text).result.details.sessions;
  return sessions.flatMap(({ status, key }) => (status === undefined ? [] : [{ status, key }]));
}

async function stateOf(session: Session): Promise<string | undefined> {
  return (await childrenOf(session.id)).find(({ key }) => key === session.sessionKey)?.status;
}

async function spawnsOf(sessionId: string): Promise<number> {
  return (await childrenOf(sessionId)).length;
}

/** `otherwise`: what to say when it never is so. */
async function until(isSo: () => Promise<boolean>, otherwise = async () => ""): Promise<void> {
  for (const deadline = Date.now() + LIMIT_MS; !(await isSo()); await sleep(250)) {
    if (Date.now() > deadline) throw new Error(`waited too long: ${await otherwise()}`);
  }
}

/** Stands in front of the stub: for `[[REPORT]]` it does what the prompt says of reporting, and calls the shell with that line. */
async function startObedientModel({ url }: ModelServer) {
  const server = createServer(async (request, response) => {
    const text = (await request.setEncoding("utf8").toArray()).join("");
    const body = text === "" ? undefined : JSON.parse(text, (_key, value: unknown) => obey(value));
    const answer = await fetch(`${url}${request.url}`, {
      method: request.method ?? "GET",
      headers: { "content-type": "application/json", authorization: request.headers.authorization ?? "" },
      body: body === undefined ? null : JSON.stringify(body),
    }).catch(() => null);
    if (answer === null) return void response.destroy();
    response.writeHead(answer.status, { "content-type": answer.headers.get("content-type") ?? "application/json" });
    try {
      for await (const chunk of answer.body ?? []) response.write(chunk);
      response.end();
    } catch {
      response.destroy();
    }
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close: async () => {
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
}

function obey(value: unknown): unknown {
  if (typeof value !== "string" || !value.includes("[[REPORT]]")) return value;
  const line = /^curl .*"status":"completed".*$/m.exec(value)?.[0];
  return line === undefined ? value : value.replace("[[REPORT]]", () => `[[TOOL ${line}]]`);
}
