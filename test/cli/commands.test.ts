import { spawnSync } from "node:child_process";
import { chmodSync, chownSync, existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import path from "node:path";
import t from "tap";
import type { Session } from "../../src/api/session.ts";
import { loadConfig } from "../../src/config/load.ts";
import { runCli } from "./run-cli.ts";
import { agent, HOSTILE, lock, session, status, task, taskWithHistory } from "./samples.ts";
import { problem, stubDaemon } from "./stub-daemon.ts";

const OBEYED = /[\p{Cc}\p{Cf}]/u;

t.test("status is one screen: agents, work, what is next, what waits and why", async (t) => {
  const daemon = await stubDaemon(t, {
    "GET /api/orchestrate": {
      json: status({
        status: "degraded",
        agents: [
          agent({
            agent: "gemini",
            adapter: "ssh",
            maxConcurrent: 2,
            costMultiplier: 1,
            availability: "unavailable",
            reason: "the host mac does not answer: look at agents.gemini.ssh.host in the config",
            canDispatch: false,
          }),
          agent({ active: 1 }),
          agent({
            agent: "jarvis",
            adapter: "none",
            reason: "works at the board",
            model: "claude-opus",
            costMultiplier: 10,
            availability: "not_dispatchable",
            canDispatch: false,
          }),
        ],
        activeSessions: [
          session({ id: "ses_01KBKX3J9QZ7S2W1R4T5Y6U7I8", taskTitle: HOSTILE, progress: "running the tests" }),
        ],
        pendingDispatch: [
          { taskId: "tsk_2", title: "Write the report", agent: "gemini", priority: "urgent", position: 1 },
        ],
        waiting: [
          {
            taskId: "tsk_3",
            title: "Refactor",
            agent: "claude",
            reasons: [
              { code: "NO_SLOT", message: "claude has no free slot" },
              { code: "LOCKED", message: "src/** is locked" },
            ],
          },
        ],
        recentCompleted: [
          session({
            id: "ses_0",
            status: "failed",
            completedAt: "2026-11-22T11:56:00.000Z",
            error: { code: "EXIT", message: "exit code 3" },
          }),
        ],
        totals: { pendingDispatch: 1, waiting: 31, byReason: { LOCKED: 1 } },
        metrics: {
          totalDispatched: 4,
          byAgent: { claude: { dispatched: 4, completed: 2, failed: 1, cancelled: 0 } },
          averageCompletionTime: { claude: 81_234 },
          lastUpdated: null,
        },
      }),
    },
  });
  const run = await runCli(["status", "--url", daemon.url]);
  t.match(run, { status: 0, err: "" });
  t.equal(
    run.out.replaceAll(daemon.url, "URL"),
    `Jarvis Orchestrator  degraded  URL
1 at work · 1 to dispatch · 31 waiting

Agents
  AGENT   BY   MODEL        COST  BUSY  STATE
  gemini  ssh  sonnet         1x   0/2  unavailable
      the host mac does not answer: look at agents.gemini.ssh.host in the config
  claude  cli  sonnet         3x   1/3  available
  jarvis  –    claude-opus   10x     –  not dispatchable

At work
  SESSION                         AGENT   STATE     TIME  TASK
  ses_01KBKX3J9QZ7S2W1R4T5Y6U7I8  claude  running  5 min  evil redtxt.exe secon…
      running the tests

Next to be dispatched
  #  TASK   AGENT   PRIORITY  TITLE
  1  tsk_2  gemini  urgent    Write the report

Waiting
  TASK   AGENT   TITLE
  tsk_3  claude  Refactor
      claude has no free slot
      src/** is locked
  and 30 more

Lately ended
  SESSION  AGENT   STATE   TIME  TASK
  ses_0    claude  failed  60 s  Mend the build
      exit code 3

So far
  AGENT   DISPATCHED  COMPLETED  FAILED  ON AVERAGE
  claude           4          2       1        81 s
`,
  );
});

t.test("--json prints the API's JSON and nothing else", async (t) => {
  const routes = {
    "GET /api/orchestrate": status(),
    "POST /api/orchestrate": { success: true, dryRun: true, message: "", wouldDispatch: [], skipped: [] },
    "GET /api/tasks": { tasks: [task({ title: HOSTILE })] },
    "GET /api/tasks/tsk_1": taskWithHistory({ title: HOSTILE }),
    "GET /api/sessions": { sessions: [session({ taskTitle: HOSTILE })] },
    "GET /api/locks": { locks: [lock()] },
    "GET /api/agents": { agents: [agent()] },
    "POST /api/agents/claude/check": { agent: "claude", ok: true, message: "fine" },
  };
  const daemon = await stubDaemon(
    t,
    Object.fromEntries(Object.entries(routes).map(([route, json]) => [route, { json }])),
  );
  const table: [args: string[], route: keyof typeof routes][] = [
    [["status"], "GET /api/orchestrate"],
    [["dispatch", "--dry-run"], "POST /api/orchestrate"],
    [["task", "list"], "GET /api/tasks"],
    [["task", "show", "tsk_1"], "GET /api/tasks/tsk_1"],
    [["sessions"], "GET /api/sessions"],
    [["locks"], "GET /api/locks"],
    [["agents"], "GET /api/agents"],
    [["agents", "check", "claude"], "POST /api/agents/claude/check"],
    [["export"], "GET /api/tasks"],
  ];
  for (const [args, route] of table) {
    const run = await runCli([...args, "--json", "--url", daemon.url]);
    t.same(JSON.parse(run.out), routes[route], args.join(" "));
    t.match(run, { status: 0, err: "" }, args.join(" "));
    t.notMatch(run.out.replaceAll("\n", ""), OBEYED, args.join(" "));
  }
});

t.test("hostile texts reach no terminal as they are, wherever they stand", async (t) => {
  const hostile = session({ taskTitle: HOSTILE, result: HOSTILE, status: "completed" });
  const daemon = await stubDaemon(t, {
    "GET /api/tasks": { json: { tasks: [task({ title: HOSTILE })] } },
    "GET /api/tasks/tsk_1": {
      json: taskWithHistory({
        title: HOSTILE,
        description: HOSTILE,
        labels: [HOSTILE],
        files: [HOSTILE],
        project: HOSTILE,
        workspace: HOSTILE,
        hold: { code: "HELD", message: HOSTILE },
        sessions: [hostile],
        comments: [{ id: "c", author: "claude", content: HOSTILE, createdAt: "2026-11-22T11:00:00.000Z" }],
      }),
    },
    "GET /api/sessions": { json: { sessions: [hostile] } },
    "GET /api/locks": { json: { locks: [lock({ paths: [HOSTILE], workspace: HOSTILE })] } },
    "GET /api/agents": { json: { agents: [agent({ availability: "unavailable", reason: HOSTILE })] } },
    "POST /api/agents/claude/check": { json: { agent: "claude", ok: false, message: HOSTILE } },
    "POST /api/orchestrate": {
      json: {
        success: true,
        dryRun: false,
        message: "Dispatched 1 task",
        dispatched: [
          { taskId: "tsk_1", title: HOSTILE, agent: "claude", sessionId: "ses_1", attempt: 1, method: "cli" },
        ],
        skipped: [{ taskId: "tsk_2", reasons: [{ code: "LOCKED", message: HOSTILE }] }],
      },
    },
    "PATCH /api/tasks/tsk_1": problem(409, "STATUS_NOT_ALLOWED", HOSTILE),
    "GET /api/sessions/ses_1": { json: hostile },
    "GET /api/sessions/ses_1/log": ({ path }) => ({ text: path.includes("offset=0") ? HOSTILE : "" }),
  });
  const table = [
    ["task", "list"],
    ["task", "show", "tsk_1"],
    ["sessions"],
    ["locks"],
    ["agents"],
    ["agents", "check", "claude"],
    ["dispatch"],
    ["task", "move", "tsk_1", "done"],
    ["logs", "ses_1"],
  ];
  for (const args of table) {
    const run = await runCli([...args, "--url", daemon.url], { isScreen: true });
    t.notMatch((run.out + run.err).replaceAll("\n", ""), OBEYED, args.join(" "));
    t.match(run.out + run.err, "txt.exe", args.join(" "));
  }
});

t.test("task add sends every field that was given, and no other", async (t) => {
  const daemon = await stubDaemon(t, { "POST /api/tasks": { status: 201, json: task() } });
  const directory = t.testdir({ "what.md": "# From a file\n" });
  const added = await runCli(["task", "add", "Mend the build", "--url", daemon.url]);
  t.match(added, { status: 0, out: "tsk_1 added (todo, claude's)\n" });
  t.same(daemon.requests[0]?.body, { title: "Mend the build" });

  const args = [
    "--assignee",
    "claude",
    "--priority",
    "urgent",
    "--status",
    "backlog",
    "--description-file",
    "what.md",
    "--label",
    "a",
    "--label",
    "b",
    "--file",
    "src/**",
    "--workspace",
    "project",
    "--depends-on",
    "tsk_0",
    "--due",
    "2026-12-31",
    "--project",
    "p",
    "--estimate",
    "2.5",
    "--review",
    "--max-attempts",
    "2",
    "--timeout",
    "30m",
    "--id",
    "tsk_9",
  ];
  t.match(await runCli(["task", "add", ...args, "--url", daemon.url, "--", "-- a title"], { cwd: directory }), {
    status: 0,
  });
  t.same(daemon.requests[1]?.body, {
    id: "tsk_9",
    title: "-- a title",
    description: "# From a file\n",
    status: "backlog",
    priority: "urgent",
    assignee: "claude",
    labels: ["a", "b"],
    project: "p",
    dependsOn: ["tsk_0"],
    files: ["src/**"],
    workspace: path.join(directory, "project"),
    dueDate: "2026-12-31",
    estimate: 2.5,
    requiresReview: true,
    maxAttempts: 2,
    timeoutMs: 1_800_000,
  });
  await runCli(["task", "add", "t", "--description-file", "-", "--workspace", "~/project", "--url", daemon.url], {
    input: "from standard input",
  });
  t.match(daemon.requests[2]?.body, { description: "from standard input", workspace: "~/project" });
});

t.test("changes of a task are sent and said", async (t) => {
  const daemon = await stubDaemon(t, {
    "PATCH /api/tasks/tsk_1": ({ body }) => ({
      json: task(typeof body === "object" && body !== null && !("hold" in body) ? body : {}),
    }),
    "POST /api/tasks/tsk_1/comments": { status: 201, json: {} },
    "DELETE /api/tasks/tsk_1": { status: 204 },
    "POST /api/agents/claude/pause": { json: agent() },
    "POST /api/agents/claude/resume": { json: agent() },
  });
  const table: [args: string[], out: string, body: unknown][] = [
    [["task", "move", "tsk_1", "done"], "tsk_1 is done\n", { status: "done" }],
    [["task", "assign", "tsk_1", "gemini"], "tsk_1 is gemini's\n", { assignee: "gemini" }],
    [["task", "release", "tsk_1"], "tsk_1 is held no more (todo, claude's)\n", { hold: null }],
    [
      ["task", "comment", "tsk_1", "well done"],
      "someone commented on tsk_1\n",
      { author: "someone", content: "well done" },
    ],
    [
      ["task", "comment", "tsk_1", "-", "--author", "diego"],
      "diego commented on tsk_1\n",
      { author: "diego", content: "typed" },
    ],
    [["task", "rm", "tsk_1"], "tsk_1 is deleted\n", undefined],
    [
      ["agents", "pause", "claude", "--reason", "holiday"],
      "claude is paused: nothing more is dispatched to it until `agents resume claude`\n",
      { reason: "holiday" },
    ],
    [["agents", "resume", "claude"], "claude takes tasks again\n", undefined],
  ];
  for (const [args, out, body] of table) {
    t.match(
      await runCli([...args, "--url", daemon.url], { input: "typed" }),
      { status: 0, out, err: "" },
      args.join(" "),
    );
    t.same(daemon.requests.at(-1)?.body, body, args.join(" "));
  }
  const nameless = { env: { USER: "", LOGNAME: "" } };
  t.match(await runCli(["task", "comment", "tsk_1", "x", "--url", daemon.url], nameless), { status: 0 });
  t.match(daemon.requests.at(-1)?.body, { author: userInfo().username });
});

t.test("dispatch sends what was asked for and says what was started and what not", async (t) => {
  const skipped = [{ taskId: "tsk_2", reasons: [{ code: "LOCKED", message: "src/** is locked by ses_0" }] }];
  const started = {
    taskId: "tsk_1",
    title: "Mend the build",
    agent: "claude",
    sessionId: "ses_1",
    attempt: 1,
    method: "sessions_spawn",
    spawn: { tool: "sessions_spawn", args: {} },
  };
  const daemon = await stubDaemon(t, {
    "POST /api/orchestrate": {
      json: { success: true, dryRun: false, message: "Dispatched 1 task", dispatched: [started], skipped },
    },
  });
  const run = await runCli(["dispatch", "--task", "tsk_1", "--task", "tsk_2", "--limit", "3", "--url", daemon.url]);
  t.same(daemon.requests[0]?.body, { taskIds: ["tsk_1", "tsk_2"], limit: 3 });
  t.equal(
    run.out,
    `Dispatched 1 task

  TASK   AGENT   BY              SESSION  TITLE
  tsk_1  claude  sessions_spawn  ses_1    Mend the build

Not started
  TASK   BECAUSE
  tsk_2  LOCKED
      src/** is locked by ses_0

Those by sessions_spawn are to be handed to Jarvis: --json prints the call of each.
`,
  );
});

t.test("a dispatch of nothing but tasks that are not there fails", async (t) => {
  let dispatched: unknown[] = [];
  const daemon = await stubDaemon(t, {
    "POST /api/orchestrate": () => ({
      json: {
        success: true,
        dryRun: false,
        message: `Dispatched ${dispatched.length} tasks`,
        dispatched,
        skipped: [{ taskId: "nope", reasons: [{ code: "TASK_NOT_FOUND", message: "there is no task of this id" }] }],
      },
    }),
  });
  const args = ["dispatch", "--task", "nope", "--url", daemon.url];
  t.match(await runCli(args), { status: 1, out: /there is no task of this id/ });
  t.match(await runCli([...args, "--json"]), { status: 1 });
  dispatched = [{ taskId: "a", title: "a", agent: "claude", sessionId: "s", attempt: 1, method: "cli" }];
  t.match(await runCli([...args, "--task", "a"]), { status: 0 });
});

t.test("task list leaves out what is done unless it is asked for, and says so", async (t) => {
  const tasks = [task({ id: "a", status: "done" }), task({ id: "b" }), task({ id: "c", status: "review" })];
  const daemon = await stubDaemon(t, {
    "GET /api/tasks": ({ path }) =>
      path.includes("cursor=two")
        ? { json: { tasks: [task({ id: "d", status: "done" }), task({ id: "e" })] } }
        : { json: { tasks, nextCursor: "two" } },
  });
  const ids = (out: string) => [...out.matchAll(/^[a-e](?= )/gm)].join("");
  const list = async (...args: string[]) => runCli(["task", "list", ...args, "--url", daemon.url]);
  const open = await list();
  t.match(open, { status: 0, err: "note: 2 done tasks are left out (--done shows them)\n" });
  t.equal(ids(open.out), "bce");
  const two = await list("--limit", "2");
  t.equal(ids(two.out), "bc");
  t.match(two.out, "… and 1 more (--limit shows more)\n");
  t.same(
    JSON.parse((await list("--json")).out).tasks.map(({ id }: { id: string }) => id),
    ["b", "c", "e"],
  );
  for (const [args, wanted] of [
    [["--done"], "abc"],
    [["--status", "done"], "abc"],
    [["--archived"], "abc"],
    [["--all"], "abcde"],
  ] as const) {
    const run = await list(...args);
    t.match(run, { status: 0, err: "" }, args.join(" "));
    t.equal(ids(run.out), wanted, args.join(" "));
  }
});

t.test("logs says why there is nothing to print", async (t) => {
  let seen = session();
  const daemon = await stubDaemon(t, {
    "GET /api/sessions/ses_1": () => ({ json: seen }),
    "GET /api/sessions/ses_1/log": { text: "" },
  });
  const error = { code: "START", message: "the workspace is gone" };
  const table: [Partial<Session>, string][] = [
    [{ method: "sessions_spawn" }, "ses_1 runs with Jarvis: what it writes does not come here"],
    [{}, "ses_1 has written nothing to stdout yet (-f waits for it)"],
    [{ status: "failed", error }, "ses_1 failed before its program ran: the workspace is gone"],
    [
      { status: "failed", error: { code: "EXIT", message: "exit code 3" }, exitCode: 3 },
      "ses_1 wrote nothing to stdout: exit code 3 (--stderr prints its error output)",
    ],
    [{ status: "completed", exitCode: 0 }, "ses_1 wrote nothing to stdout (--stderr prints its error output)"],
  ];
  for (const [over, note] of table) {
    seen = session(over);
    t.same(await runCli(["logs", "ses_1", "--url", daemon.url]), { status: 0, out: "", err: `note: ${note}\n` });
  }
});

t.test("cancel takes a session or the task that has one", async (t) => {
  const daemon = await stubDaemon(t, {
    "GET /api/sessions/ses_1": { json: session() },
    "GET /api/tasks/tsk_1": {
      json: taskWithHistory({
        sessions: [session({ id: "ses_0", status: "failed" }), session({ id: "ses_1", attempt: 2 })],
      }),
    },
    "GET /api/tasks/tsk_2": { json: taskWithHistory({ id: "tsk_2" }) },
    "POST /api/sessions/ses_1/cancel": { status: 202, json: session({ status: "stopping" }) },
  });
  const out = "ses_1 is being stopped; its task tsk_1 is held (`task release` lets it go on)\n";
  for (const id of ["ses_1", "tsk_1"])
    t.match(await runCli(["cancel", id, "--url", daemon.url]), { status: 0, out, err: "" }, id);
  t.match(await runCli(["cancel", "tsk_2", "--url", daemon.url]), {
    status: 1,
    err: "error: the task tsk_2 has no running session\n",
  });
  t.match(await runCli(["cancel", "x", "--url", daemon.url]), {
    status: 1,
    err: 'error: there is no session and no task "x": `sessions` lists them\n',
  });
  for (const args of [["cancel"], ["cancel", "ses_1", "--all"]]) {
    t.match(await runCli([...args, "--url", daemon.url]), {
      status: 2,
      err: "error: wanted the id of a session, or --all\n",
    });
  }
});

t.test("cancel --all asks where somebody is there to answer", async (t) => {
  const daemon = await stubDaemon(t, {
    "GET /api/sessions": ({ path }) => ({
      json: { sessions: path.includes("status=running") ? [session(), session({ id: "ses_2" })] : [] },
    }),
    "POST /api/sessions/ses_1/cancel": { status: 202, json: {} },
    "POST /api/sessions/ses_2/cancel": problem(409, "SESSION_NOT_ACTIVE", "session ses_2 is over"),
  });
  const cancelled = () => daemon.requests.filter(({ method }) => method === "POST").length;
  const args = ["cancel", "--all", "--url", daemon.url];
  t.match(await runCli(args, { answer: false }), {
    status: 1,
    out: "",
    err: "End 2 sessions, and hold their tasks?\nerror: nothing was ended\n",
  });
  t.equal(cancelled(), 0);
  const failed = "error: 1 of 2 were not stopped\n  ses_2: session ses_2 is over\n";
  for (const [given, answer] of [
    [args, true],
    [[...args, "--yes"], false],
    [args, undefined],
  ] as const) {
    const run = await runCli(given, answer === undefined ? {} : { answer });
    t.match(run, { status: 1, out: "ses_1 is being stopped\n" });
    t.ok(run.err.endsWith(failed));
  }
  t.equal(cancelled(), 6);
});

t.test("logs prints bytes as they are to a file, and follows over a broken connection", async (t) => {
  const offsets: string[] = [];
  const daemon = await stubDaemon(t, {
    "GET /api/sessions/ses_1": { json: session({ status: "completed" }) },
    "GET /api/tasks/tsk_1": {
      json: taskWithHistory({ sessions: [session({ id: "ses_0" }), session({ attempt: 2 })] }),
    },
    "GET /api/sessions/ses_1/log": ({ path }, response) => {
      const query = new URLSearchParams(path.split("?")[1]);
      if (query.get("follow") === null) {
        const text = query.get("offset") === "0" ? `${query.get("stream")} \u001b[31mred\u001b[0m\n` : "";
        return { text, headers: { "x-next-offset": "20" } };
      }
      offsets.push(query.get("offset") ?? "");
      response.writeHead(200, { "content-type": "text/event-stream" });
      const first = query.get("offset") === "0";
      response.write(
        first
          ? 'id: 4\nevent: log\ndata: "one\\n"\n\n'
          : 'id: 8\nevent: log\ndata: "two\\n"\n\nid: 8\nevent: end\ndata: {}\n\n',
      );
      response.end();
      return undefined;
    },
  });
  const url = ["--url", daemon.url];
  t.equal((await runCli(["logs", "ses_1", ...url])).out, "stdout \u001b[31mred\u001b[0m\n");
  t.equal((await runCli(["logs", "ses_1", "--stderr", ...url])).out, "stderr \u001b[31mred\u001b[0m\n");
  t.equal((await runCli(["logs", "ses_1", ...url], { isScreen: true })).out, "stdout red\n");
  t.same(JSON.parse((await runCli(["logs", "tsk_1", "--json", ...url])).out), {
    sessionId: "ses_1",
    stream: "stdout",
    text: "stdout \u001b[31mred\u001b[0m\n",
    nextOffset: 20,
  });
  const followed = await runCli(["logs", "-f", "ses_1", ...url]);
  t.match(followed, {
    status: 0,
    out: "one\ntwo\n",
    err: /^note: the connection to .* ended before the log did; trying again\n$/,
  });
  t.same(offsets, ["0", "4"]);
});

t.test("what is exported can be imported; what is refused is named, and the rest goes on", async (t) => {
  const exported = [
    task({ id: "late", dependsOn: ["early"], status: "in_progress", attempts: 3, retryAt: "2026-11-22T13:00:00.000Z" }),
    task({ id: "early", labels: ["x"] }),
    task({ id: "there" }),
  ];
  const daemon = await stubDaemon(t, {
    "GET /api/tasks": { json: { tasks: exported } },
    "GET /api/tasks/late": {
      json: taskWithHistory({
        id: "late",
        dependsOn: ["early"],
        comments: [{ id: "c1", author: "diego", content: "hm", createdAt: "2026-11-22T11:00:00.000Z" }],
      }),
    },
    "GET /api/tasks/early": { json: taskWithHistory({ id: "early" }) },
    "GET /api/tasks/there": { json: taskWithHistory({ id: "there" }) },
    "POST /api/tasks": ({ body }) => {
      const { id } = body as { id: string };
      return id === "there"
        ? problem(409, "TASK_EXISTS", "there is a task there already")
        : { status: 201, json: task({ id }) };
    },
    "POST /api/tasks/late/comments": { status: 201, json: {} },
  });
  const directory = t.testdir();
  const file = path.join(directory, "tasks.json");
  writeFileSync(file, (await runCli(["export", "--url", daemon.url])).out);
  const run = await runCli(["import", file, "--url", daemon.url]);
  t.match(run, {
    status: 1,
    out: "2 of 3 tasks added\n",
    err: "note: late was in progress and is added as todo\nerror: 1 not added\n  there: there is a task there already (TASK_EXISTS)\n",
  });
  const posted = daemon.requests.filter(({ method }) => method === "POST").map(({ body }) => body);
  t.same(
    posted.map((body) => (body as { id: string }).id),
    ["early", "late", "there"],
    "dependencies first",
  );
  t.same(posted[1], {
    id: "late",
    title: "Mend the build",
    description: "",
    status: "todo",
    priority: "medium",
    assignee: "claude",
    labels: [],
    project: null,
    dependsOn: ["early"],
    files: [],
    workspace: null,
    dueDate: null,
    estimate: null,
    requiresReview: false,
  });

  const withComments = (await runCli(["export", "--comments", "--url", daemon.url])).out;
  await runCli(["import", "-", "--url", daemon.url], { input: withComments });
  t.match(
    daemon.requests.find(({ path }) => path === "/api/tasks/late/comments"),
    { body: { author: "diego", content: "hm" } },
  );

  const bad: [text: string, err: RegExp][] = [
    ['{"tasks": [1]}', /^error: -: task 1 of 1 is not an object\n$/],
    ["{}", /^error: - holds no tasks: wanted/],
    ["{", /^error: -, line 1, column 2: found the end of the file, wanted a key in double quotes\n$/],
  ];
  for (const [input, err] of bad)
    t.match(await runCli(["import", "-", "--url", daemon.url], { input }), { status: 1, err }, input);
});

t.test("a cycle of dependencies is left to the daemon to refuse", async (t) => {
  const daemon = await stubDaemon(t, { "POST /api/tasks": ({ body }) => ({ status: 201, json: body }) });
  const input = JSON.stringify([
    { id: "a", title: "a", dependsOn: ["b"] },
    { id: "b", title: "b", dependsOn: ["a", "elsewhere"] },
  ]);
  t.match(await runCli(["import", "-", "--url", daemon.url], { input }), { status: 0, out: "2 of 2 tasks added\n" });
  t.equal(daemon.requests.length, 2);
});

t.test("what the daemon refuses is one clear line, and its fields below", async (t) => {
  const errors = [{ path: "/dueDate", message: "must be a date (^\\d{4}$)" }];
  const daemon = await stubDaemon(t, {
    "POST /api/tasks": problem(400, "INVALID_REQUEST", "/dueDate must be a date (^\\d{4}$)", { errors }),
    "GET /api/orchestrate": problem(401, "UNAUTHORISED", "a token is needed"),
    "PATCH /api/tasks/x": problem(503, "STORAGE_UNAVAILABLE", "the disk does not take it", { outcome: "unknown" }),
  });
  const url = ["--url", daemon.url];
  t.match(await runCli(["task", "add", "t", ...url]), {
    status: 1,
    out: "",
    err: "error: the request is not valid (INVALID_REQUEST)\n  /dueDate: must be a date\n",
  });
  t.match(await runCli(["status", ...url]), {
    status: 1,
    out: "",
    err: "error: a token is needed (UNAUTHORISED); give the daemon's token in JARVIS_TOKEN or JARVIS_TOKEN_FILE, or with --token-file\n",
  });
  t.match(await runCli(["task", "move", "x", "done", ...url]), {
    status: 1,
    err: "error: the disk does not take it (STORAGE_UNAVAILABLE); look whether it was done before you repeat it\n",
  });
  await daemon.stop();
  t.match(await runCli(["status", ...url]), {
    status: 1,
    out: "",
    err: `error: nothing listens at ${daemon.url}: start the daemon with \`jarvis-orchestrator serve\`, or name another with --url\n`,
  });
});

t.test("wrong usage is said on standard error and ends with 2", async (t) => {
  const table: [args: string[], err: RegExp][] = [
    [[], /^Usage: jarvis-orchestrator/],
    [["statsu"], /unknown command 'statsu'\n\(Did you mean status\?\)/],
    [["status", "--jsno"], /unknown option '--jsno'\n\(Did you mean --json\?\)/],
    [["status", "now"], /too many arguments/],
    [["task"], /^Usage: jarvis-orchestrator task/],
    [["task", "add"], /missing required argument 'title'/],
    [
      ["task", "add", "t", "--priority", "hot"],
      /argument 'hot' is invalid. Allowed choices are urgent, high, medium, low/,
    ],
    [["task", "add", "t", "--timeout", "soon"], /Wanted a duration such as 90s, 30m, 2h, or milliseconds/],
    [["task", "add", "t", "--id", "a b"], /Wanted 1 to 64 letters/],
    [["task", "add", "t", "--id", "-x"], /Wanted 1 to 64 letters.*beginning with no "-"/],
    [["task", "add", "t", "--due", "tomorrow"], /Wanted a date such as 2026-12-31 or 2026-12-31T12:00:00Z/],
    [["task", "add", "t", "--due", "2026-02-30"], /Wanted a date/],
    [["task", "list", "--all", "--limit", "3"], /'--all' cannot be used with option '--limit <n>'/],
    [["task", "show", ""], /^error: "" is not an id\n$/],
    [["task", "rm", ".."], /^error: ".." is not an id\n$/],
    [["logs", ""], /^error: "" is not an id\n$/],
    [["agents", "check", ""], /^error: "" is not an id\n$/],
    [
      ["task", "add", "t", "--description", "x", "--description-file", "y"],
      /--description and --description-file exclude each other/,
    ],
    [["task", "move", "tsk_1", "finished"], /value 'finished' is invalid for argument 'status'/],
    [["dispatch", "--limit", "0"], /Wanted a whole number of at least 1/],
    [["logs", "x", "-f", "--json"], /--json and --follow exclude each other/],
    [["task", "comment", "x", "y"], /who says it\? Give --author/],
    [["status", "--url", "localhost:3333"], /"localhost:3333" is not the URL of a daemon/],
    [["status", "--url", "http://user:secret@host"], /is not the URL of a daemon/],
    [["status", "--token-file", "missing"], /--token-file: found \/nowhere\/missing, which cannot be read \(ENOENT\)/],
    [
      ["serve", "--port", "x"],
      /the configuration cannot be used\n {2}--port: found "x", wanted a whole number from 0 to 65535/,
    ],
    [["serve", "--config", "missing.json"], /missing\.json: found no such file, though --config names it/],
  ];
  for (const [args, err] of table) {
    const run = await runCli(args, { env: { USER: "a b" } });
    t.match(run, { status: 2, out: "", err }, args.join(" "));
  }
});

t.test("every command has help with an example, and says its version", async (t) => {
  const commands = [
    "",
    "serve",
    "status",
    "dispatch",
    "task",
    "task add",
    "task list",
    "task show",
    "task move",
    "task assign",
    "task comment",
    "task release",
    "task rm",
    "sessions",
    "cancel",
    "logs",
    "agents",
    "agents pause",
    "agents resume",
    "agents check",
    "locks",
    "init",
    "doctor",
    "export",
    "import",
    "repair",
  ];
  for (const command of commands) {
    const run = await runCli([...command.split(" ").filter(Boolean), "--help"]);
    t.match(
      run,
      { status: 0, err: "", out: /^Usage: jarvis-orchestrator[\s\S]*\nExample:\n {2}\$ jarvis-orchestrator / },
      command,
    );
  }
  const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  t.match(await runCli(["help"]), { status: 0, err: "", out: /^Usage: jarvis-orchestrator / });
  t.match(await runCli(["help", "status"]), { status: 0, err: "", out: /^Usage: jarvis-orchestrator status / });
  const { out } = await runCli(["agents", "check", "--help"]);
  t.equal(out.match(/--json/g)?.length, 1);
  t.match(await runCli(["--version"]), { status: 0, out: `${version}\n`, err: "" });
});

t.test("the daemon is found by config, variable and flag, and gets the token of its data directory only", async (t) => {
  const daemon = await stubDaemon(t, { "GET /api/orchestrate": { json: status() } });
  const directory = t.testdir({ token: "0123456789abcdef", config: "fedcba9876543210" });
  const port = Number(new URL(daemon.url).port);
  writeFileSync(path.join(directory, "config.json"), JSON.stringify({ server: { port } }));
  const sent = async (args: string[], env: Record<string, string> = {}) => {
    const run = await runCli(["status", "--data", directory, ...args], { cwd: directory, env });
    t.equal(run.status, 0, run.err);
    return daemon.requests.at(-1)?.headers.authorization;
  };
  t.equal(await sent([]), "Bearer 0123456789abcdef");
  t.equal(await sent([], { JARVIS_URL: daemon.url }), "Bearer 0123456789abcdef");
  t.equal(await sent(["--token-file", "config"]), "Bearer fedcba9876543210");
  t.equal(await sent([], { JARVIS_TOKEN: "a-token-of-the-environment" }), "Bearer a-token-of-the-environment");

  const named = `http://0.0.0.0:${port}`;
  t.equal(await sent(["--url", named]), undefined, "a URL that might be anybody's gets no token that nobody named");
  t.equal(await sent(["--url", named, "--token-file", "token"]), "Bearer 0123456789abcdef");

  writeFileSync(path.join(directory, "config.json"), '{"server": {"port": 1}}');
  const listening = (pid: number) =>
    writeFileSync(path.join(directory, "listening.json"), JSON.stringify({ url: daemon.url, pid }));
  const refused = /^error: http:\/\/127\.0\.0\.1:1 cannot be reached/;
  const missed = async (args: string[], env: Record<string, string> = {}) =>
    t.match(await runCli(["status", "--data", directory, ...args], { env }), { status: 1, err: refused });
  listening(process.pid);
  t.equal(await sent([]), "Bearer 0123456789abcdef", "the daemon's own word is newer than the config's");
  await missed(["--url", "http://127.0.0.1:1"]);
  await missed([], { JARVIS_URL: "http://127.0.0.1:1" });
  await missed([], { JARVIS_PORT: "1" });
  const { pid = 0 } = spawnSync(process.execPath, ["--version"]);
  listening(pid);
  await missed([]);

  writeFileSync(path.join(directory, "config.json"), '{"server": {"prot": 1}}');
  t.match(await runCli(["status", "--data", directory]), {
    status: 2,
    err: /^error: no daemon to call, for the config cannot be used \(--url names one without it\)\n {2}server.prot: found an unknown key/,
  });
});

t.test("a ./data that nobody named does not say where a token goes", async (t) => {
  const cwd = t.testdir({ data: {}, token: "fedcba9876543210" });
  const config = path.join(cwd, "data", "config.json");
  const ask = (args: string[], env: Record<string, string> = {}) => runCli(["status", ...args], { cwd, env });
  const elsewhere = "0.0.0.1";
  writeFileSync(config, JSON.stringify({ server: { host: elsewhere, port: 1 } }));
  const kept = {
    status: 2,
    err: `error: the token would be sent to http://${elsewhere}:1, which only ${cwd}/data names: if that is meant, say so with --data or --url\n`,
  };
  t.match(await ask([], { JARVIS_TOKEN: "a-token-of-the-environment" }), kept);
  t.match(await ask([], { JARVIS_TOKEN_FILE: "token" }), kept);
  t.match(await ask(["--token-file", "token"]), kept);
  for (const [args, env] of [
    [["--data", "data"], {}],
    [["--config", "data/config.json"], {}],
    [[], { JARVIS_URL: `http://${elsewhere}:1` }],
    [[], { JARVIS_HOST: elsewhere }],
  ] as const) {
    const named = await ask([...args, "--token-file", "token"], env);
    t.match(named, { status: 1, err: /cannot be reached|nothing listens/ }, JSON.stringify([args, env]));
  }

  const daemon = await stubDaemon(t, { "GET /api/orchestrate": { json: status() } });
  const port = Number(new URL(daemon.url).port);
  writeFileSync(config, JSON.stringify({ server: { port } }));
  t.match(await ask(["--token-file", "token"]), { status: 0 });
  t.equal(daemon.requests[0]?.headers.authorization, "Bearer fedcba9876543210");

  const skip = process.getuid?.() === 0 ? false : "only root can give a file away";
  await t.test("nor is another user's config taken", { skip }, async (t) => {
    chownSync(config, 65_534, 65_534);
    const foreign = {
      status: 2,
      err: `error: the configuration cannot be used\n  ${config}: found a file of another user, which nobody named, wanted one of your own, or --data or --config to name it\n`,
    };
    t.match(await ask([]), foreign);
    t.match(await runCli(["serve"], { cwd }), foreign);
    t.match(await ask(["--data", "data"]), { status: 0 });
  });
});

t.test("repair fails where there is no data directory, and makes none", async (t) => {
  const directory = t.testdir();
  const missing = path.join(directory, "missing");
  t.same(await runCli(["repair", "--data", missing]), {
    status: 1,
    out: "",
    err: `error: there is no data directory ${missing}\n`,
  });
  t.notOk(existsSync(missing));
});

t.test("init makes a data directory that serve accepts, and overwrites nothing", async (t) => {
  const directory = path.join(t.testdir(), "new", "data");
  const run = await runCli(["init", "--data", directory]);
  t.match(run, { status: 0, err: "" });
  t.match(run.out, `created   ${directory}/config.json\ncreated   ${directory}/token\n`);
  t.match(run.out, `jarvis-orchestrator serve --data ${directory}`);
  const modes = ["", "config.json", "token"].map((name) => statSync(path.join(directory, name)).mode & 0o777);
  t.same(modes, [0o700, 0o600, 0o600]);

  const { config, warnings } = loadConfig({ flags: { data: directory }, env: {}, cwd: "/" });
  t.match(config.token, /^[0-9a-f]{64}$/);
  t.same(warnings, []);
  const { token: _, ...rest } = config;
  const { token: __, ...defaults } = loadConfig({
    flags: { data: path.join(directory, "other") },
    env: {},
    cwd: "/",
  }).config;
  t.same({ ...rest, dataDirectory: "", configFile: "" }, { ...defaults, dataDirectory: "", configFile: "" });

  writeFileSync(path.join(directory, "config.json"), "mine");
  chmodSync(directory, 0o750);
  const again = await runCli(["init", "--data", directory]);
  t.match(again, { status: 0, out: `kept      ${directory}/config.json\nkept      ${directory}/token\n` });
  t.equal(readFileSync(path.join(directory, "config.json"), "utf8"), "mine");
  t.equal(statSync(directory).mode & 0o777, 0o750, "a directory that was there keeps its mode");

  writeFileSync(path.join(directory, "file"), "");
  t.match(await runCli(["init", "--data", path.join(directory, "file")]), {
    status: 1,
    err: /^error: the data directory was not set up: /,
  });
});

t.test("doctor looks at config, data directory, daemon and agents", async (t) => {
  const daemon = await stubDaemon(t, {
    "GET /api/orchestrate": {
      json: status({
        agents: [agent(), agent({ agent: "gemini" }), agent({ agent: "jarvis", availability: "not_dispatchable" })],
      }),
    },
    "POST /api/agents/claude/check": {
      json: {
        agent: "claude",
        ok: true,
        message: "it can be reached and its program is there",
        findings: [
          { about: "program", state: "ok", message: "claude is there" },
          { about: "version", state: "ok", message: "2.0.1" },
          { about: "clock", state: "warn", message: "its clock is 60 s behind ours" },
        ],
      },
    },
    "POST /api/agents/gemini/check": { json: { agent: "gemini", ok: false, message: "the host mac does not answer" } },
  });
  const directory = t.testdir({ token: "0123456789abcdef" });
  chmodSync(directory, 0o700);
  chmodSync(path.join(directory, "token"), 0o600);
  const args = ["doctor", "--data", directory];
  const healthy = await runCli([...args, "--url", daemon.url]);
  t.equal(
    healthy.out.replaceAll(directory, "DATA").replaceAll(daemon.url, "URL"),
    `ok    config          no config file; built-in settings: agents gemini, claude, copilot
ok    data directory  DATA: yours, not in use
ok    daemon          URL: ok
ok    claude          program: claude is there
ok    claude          version: 2.0.1
warn  claude          clock: its clock is 60 s behind ours
warn  gemini          the host mac does not answer
`,
  );
  t.equal(healthy.status, 0);

  await daemon.stop();
  writeFileSync(path.join(directory, "config.json"), '{"retry": {"maxAttempts": 0}}');
  writeFileSync(path.join(directory, "owner.json"), '{"pid": 4711, "ownedSince": "2026-11-22T11:00:00.000Z"}');
  const ill = await runCli([...args, "--json", "--url", daemon.url]);
  t.equal(ill.status, 1);
  t.match(JSON.parse(ill.out), {
    ok: false,
    findings: [
      { about: "config", state: "fail", message: "retry.maxAttempts: found 0, wanted a whole number from 1 to 1000" },
      { about: "data directory", state: "ok", message: /in use by process 4711, since 2026-11-22T11:00:00.000Z$/ },
      { about: "daemon", state: "fail", message: /^nothing listens at / },
    ],
  });
  t.match(
    (await runCli(["doctor", "--data", path.join(directory, "none"), "--url", daemon.url])).out,
    "none is not there yet",
  );
});
