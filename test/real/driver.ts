/**
 * Drives a real agent program through the real daemon, against the stub model server: what a user of its preset relies on. Not part of
 * `npm test`, since the programs have to be installed: `npm run test:agents` does that, and leaves them no network but loopback.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import type { Session, TaskWithHistory } from "../../src/api/session.ts";
import type { NewTask } from "../../src/api/task.ts";
import { installProgram, type ProgramName, programSetup } from "../support/agent-programs.ts";
import { until } from "../support/agents.ts";
import type { Client } from "../support/client.ts";
import { Home } from "../support/daemon.ts";
import { startModelServer } from "../support/model-server.ts";

export interface Way {
  /** Of the agent's settings, beside its preset: how it is reached. */
  readonly settings: object;
}

interface Facts {
  readonly model: string;
  /** Where the cost of a session comes from. */
  readonly cost: { readonly basis: "measured" | "estimated"; readonly by: "program" | "prices" | "multiplier" };
  /** A failure that it does not try again for minutes, and what that is. */
  readonly error: { readonly marker: string; readonly class: string };
  /** Whether it says that it uses a tool before that is over; default: it does. */
  readonly tellsOfTools?: boolean;
}

const PROGRAM_FACTS: Readonly<Record<ProgramName, Facts>> = {
  claude: {
    model: "sonnet",
    cost: { basis: "measured", by: "program" },
    error: { marker: "[[FAIL 401]]", class: "auth" },
  },
  gemini: {
    model: "gemini-2.5-pro",
    cost: { basis: "estimated", by: "prices" },
    error: { marker: "[[OVERFLOW]]", class: "context_overflow" },
  },
  copilot: {
    model: "gpt-5.4",
    cost: { basis: "estimated", by: "prices" },
    error: { marker: "[[FAIL 401]]", class: "auth" },
  },
  codex: {
    model: "gpt-5.4",
    cost: { basis: "estimated", by: "prices" },
    error: { marker: "[[FAIL 401]]", class: "auth" },
  },
  opencode: {
    model: "stub/stub-model",
    tellsOfTools: false,
    cost: { basis: "measured", by: "program" },
    error: { marker: "[[FAIL 401]]", class: "auth" },
  },
};

/** A start of the slowest, on a machine that does other things too. */
const PATIENCE_MS = 120_000;
const CALLBACK =
  `curl -sS -X PUT "$JARVIS_CALLBACK_URL" -H "Authorization: Bearer $JARVIS_CALLBACK_TOKEN" ` +
  `-H "Content-Type: application/json" --data-binary "{\\"taskId\\":\\"$JARVIS_TASK_ID\\",\\"status\\":\\"completed\\",\\"result\\":\\"told by the callback\\"}"`;

/** All that is asked of a preset. `way`: how the program is reached; default: as a local program. */
export async function driveProgram(name: ProgramName, way: Way = { settings: { adapter: "cli" } }): Promise<void> {
  const { model, cost, error, tellsOfTools = true } = PROGRAM_FACTS[name];
  const { path } = await installProgram(name);
  const models = await startModelServer();
  t.teardown(() => models.close());
  const home = new Home(t);
  const programHome = home.path("program-home");
  const workspace = home.path("workspace");
  for (const folder of [programHome, workspace]) mkdirSync(folder);
  const setup = programSetup(name, { home: programHome, modelServerUrl: models.url });
  const env = { ...setup, PATH: `${path}:${process.env["PATH"]}` };
  const agent = { preset: name, model, env, maxConcurrent: 2, killGraceMs: 3000, costMultiplier: 2, ...way.settings };
  home.configure({
    workspaceRoots: [home.directory],
    retry: { maxAttempts: 3, initialDelayMs: 0, maxDelayMs: 0 },
    verifiers: { made: { files: ["made.txt"] }, missing: { files: ["never-made.txt"] } },
    agents: { agent, resuming: { ...agent, resume: true } },
  });
  const { client } = await home.start();
  const begin = (task: Partial<NewTask>) => beginTask(client, { assignee: "agent", workspace, ...task });
  const through = async (task: Partial<NewTask>) => endOf(client, await begin(task));

  t.test(`${name}: an answer comes back with its tokens, its cost and its session`, async (t) => {
    const { task, session } = await through({ title: "Say it. [[PLAIN All done: the parser has 41 tests.]]" });
    t.equal(task.status, "done", why(session));
    t.match(task.comments, [{ author: "agent", content: /^All done: the parser has 41 tests\./ }]);
    t.match(session, { status: "completed", exitCode: 0, usage: { inputTokens: 1200 }, cost });
    t.ok((session.cost?.usd ?? 0) > 0, `${session.cost?.usd} USD`);
    t.ok((session.usage?.outputTokens ?? 0) > 0, `${session.usage?.outputTokens} tokens`);
    t.ok(session.agentSession, "it can be gone on with");
    t.match(session.warnings, [{ code: "ZERO_WORK" }], "within seconds, and without a tool");
  });

  t.test(`${name}: it works in its workspace, can be watched, and what it did is verified`, async (t) => {
    const command = "echo made by the agent > made.txt; cat made.txt";
    const { task, session } = await through({ title: `Make it. [[TOOL ${command}]]`, verify: ["made"] });
    t.equal(task.status, "done", why(session));
    t.equal(readFileSync(join(workspace, "made.txt"), "utf8"), "made by the agent\n");
    t.match(session.result, /made by the agent/);
    t.same(session.warnings ?? [], [], "it used a tool");
    const transcript = (await client.send("GET", `/api/sessions/${session.id}/log?format=readable`)).text;
    t.match(transcript, /^▸ .*made\.txt/m);
    t.match(transcript, /made by the agent/);
    t.notMatch(transcript, /^\{/m, "no JSON");
    t.match((await client.send("GET", `/api/sessions/${session.id}/log`)).text, /^\{/, "the raw file stands beside it");
  });

  t.test(`${name}: a task whose verifier says no has failed`, async (t) => {
    const { task, session } = await through({
      title: "Done! [[PLAIN I made it.]]",
      verify: ["missing"],
      maxAttempts: 1,
    });
    t.match(task, { status: "todo", hold: { code: "ATTEMPTS_EXHAUSTED" } });
    t.match(session, { status: "failed", error: { code: "VERIFICATION_FAILED", message: /never-made\.txt/ } });
  });

  t.test(`${name}: its shell reaches the daemon, whose callback counts`, async (t) => {
    const { task, session } = await through({ title: `Call back. [[TOOL ${CALLBACK}]]` });
    t.equal(task.status, "done", why(session));
    t.match(session, { status: "completed", result: "told by the callback" });
    t.ok(session.agentSession, "what its output tells beyond that is known, too");
  });

  t.test(`${name}: a failure has a class, and a sentence that says what to do`, async (t) => {
    const { task, session } = await through({ title: `Fail. ${error.marker}` });
    t.match(session, { status: "failed", error: { class: error.class } }, why(session));
    t.match(task, { status: "todo", hold: { code: session.error?.code } }, "held: another try cannot mend it");
  });

  t.test(`${name}: a cancel leaves nothing running`, async (t) => {
    const command = "touch begun; (nohup sleep 611 >/dev/null 2>&1 &); sleep 47; sleep 612";
    const session = await begin({ title: `Hang. [[TOOL ${command}]]` });
    await until("its tool runs", () => existsSync(join(workspace, "begun")));
    t.ok(processesOf(session.id).length > 0);
    if (tellsOfTools) {
      const progress = await client.soon("its last action", async () => (await client.session(session.id)).progress);
      t.match(progress, /touch begun/, "what it does just now");
    }
    await client.post(`/api/sessions/${session.id}/cancel`);
    t.match(await endOf(client, session), { session: { status: "cancelled" }, task: { hold: { code: "CANCELLED" } } });
    t.same(processesOf(session.id), [], "neither the program nor what its shell started");
    t.same(home.livingRuns(), []);
  });

  t.test(`${name}: a prompt of 300 KB reaches the model whole`, async (t) => {
    const filler = Array.from({ length: 6000 }, (_, n) => `line ${n} of a long description, which says nothing`).join(
      "\n",
    );
    const description = `THE-BEGINNING\n${filler}\nTHE-END`;
    t.ok(description.length > 300_000);
    const { task, session } = await through({ title: "Read it. [[PLAIN Read.]]", description });
    t.equal(task.status, "done", why(session));
    const sent = models.requests.map(({ body }) => JSON.stringify(body ?? ""));
    t.ok(sent.some((body) => /THE-BEGINNING[\s\S]*line 5999 [\s\S]*THE-END/.test(body)));
  });

  t.test(`${name}: an answer of 2 MB is there whole, and as much of it as a comment holds`, async (t) => {
    const { task, session } = await through({ title: "Tell all. [[HUGE 2000000]]" });
    t.equal(task.status, "done", why(session));
    t.ok((session.result?.length ?? 0) > 1_000_000, `${session.result?.length} characters`);
    t.match(session.result, /\[Cut: it has more than \d{7} bytes/);
    const log = await client.send("GET", `/api/sessions/${session.id}/log`);
    t.ok(log.text.length > 2_000_000, `${log.text.length} characters of log`);
  });

  t.test(`${name}: an attempt that was killed is gone on with in the program's own session`, async (t) => {
    const first = await begin({ id: "interrupted", title: "FIRST-WORDS [[LOOP sleep 1]]", assignee: "resuming" });
    const requests = () => models.requests.filter(({ body }) => JSON.stringify(body ?? "").includes("FIRST-WORDS"));
    await until("it is in the middle of its work", () => requests().length > 3);
    for (const pid of processesOf(first.id)) process.kill(pid, "SIGKILL");
    const killed = (await endOf(client, first)).session;
    t.match(killed, { error: { class: "killed" } }, why(killed));
    t.ok(killed.agentSession, "known although it never came to its end");

    await client.send("PATCH", "/api/tasks/interrupted", { title: "Go on. [[PLAIN Gone on.]]" });
    const second = await dispatch(client, "interrupted");
    const { session, task } = await endOf(client, second);
    t.equal(session.resumes, killed.agentSession);
    t.match(session, { status: "completed", result: /^Gone on\./ }, why(session));
    t.equal(session.agentSession, killed.agentSession);
    t.equal(task.status, "done");
    const last = JSON.stringify(requests().at(-1)?.body);
    t.match(last, /Gone on/, "the model is told how to go on");
    t.match(last, /FIRST-WORDS/, "and sees what went before");
    const told = (killed.usage?.inputTokens ?? 0) + (session.usage?.inputTokens ?? 0);
    t.ok(told >= 1200 && told <= 1200 * requests().length, `${told} tokens in all, of ${requests().length} requests`);
  });
}

/** Puts a task on the board and starts it. */
async function beginTask(client: Client, task: Partial<NewTask>): Promise<Session> {
  const { id } = await client.post("/api/tasks", task);
  return dispatch(client, id);
}

async function dispatch(client: Client, taskId: string): Promise<Session> {
  const { dispatched = [], skipped } = await client.dispatch({ taskIds: [taskId] });
  const [started] = dispatched;
  if (started === undefined) throw new Error(`not dispatched: ${JSON.stringify(skipped)}`);
  return client.session(started.sessionId);
}

async function endOf(client: Client, { id }: Session): Promise<{ session: Session; task: TaskWithHistory }> {
  const session = await client.until(
    `the end of ${id}`,
    async () => {
      const found = await client.session(id);
      return found.completedAt === undefined ? undefined : found;
    },
    PATIENCE_MS,
  );
  return { session, task: await client.task(session.taskId) };
}

/** Of an assertion that fails: what the session says of it. */
function why({ id, error }: Session): string {
  return error === undefined ? id : `${id}: ${error.message}`;
}

/** Pids of all that has the session's id in its environment, but for our wrapper and what only its guard started. */
function processesOf(sessionId: string): readonly number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && environmentOf(name).includes(`JARVIS_SESSION_ID=${sessionId}\0`))
    .filter((name) => !isOurs(name))
    .map(Number);
}

function environmentOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/environ`, "utf8");
  } catch {
    return "";
  }
}

/** The wrapper, its guard and the guard's sleep: they carry no mark, which only the program's side is given. */
function isOurs(pid: string): boolean {
  return !environmentOf(pid).includes("JARVIS_RUN_MARK=") || /\0[^\0]*run\.sh\0/.test(readCommand(pid));
}

function readCommand(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return "";
  }
}
