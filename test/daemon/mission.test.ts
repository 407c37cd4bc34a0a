/** The session of the mission, with `curl` as its user types it, against the daemon with stand-ins for the three programs. */
import { execFile } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { promisify } from "node:util";
import t, { type Test } from "tap";
import { startSshServer } from "../../scripts/demo/ssh-server.ts";
import type { OrchestrateStatus } from "../../src/api/orchestrate.ts";
import type { Session } from "../../src/api/session.ts";
import type { Comment, Task } from "../../src/api/task.ts";
import type { Dispatch } from "../support/client.ts";
import { type DaemonProcess, Home } from "../support/daemon.ts";

t.setTimeout(180_000);

/** Reads its prompt and reports by its exit alone. */
const GEMINI = `#!/bin/sh
read -r first
echo "gemini read \\"$first\\""
`;

/** Reports over HTTP before it exits. */
const COPILOT = `#!/bin/sh
cat >/dev/null
curl -sS -X PUT "$JARVIS_CALLBACK_URL" -H "Authorization: Bearer $JARVIS_CALLBACK_TOKEN" -H 'Content-Type: application/json' \\
  -d '{"taskId": "'"$JARVIS_TASK_ID"'", "status": "completed", "result": "Squashed.", "usage": {"costUsd": 0.25, "inputTokens": 1200}}'
`;

t.test("three tasks go out to gemini, claude and copilot, and come back as comments", async (t) => {
  const { daemon, sh, json } = await mission(t);

  // Create a task for each.
  const create = (body: object) =>
    json<Task>(`curl -X POST $URL/api/tasks -H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`);
  const research = await create({ title: "Research job queues", assignee: "gemini", priority: "high" });
  const coding = await create({ title: "Write the parser", assignee: "claude", priority: "urgent" });
  const squash = await create({ title: "Squash the commits", assignee: "copilot" });
  t.match(
    [research, coding, squash].map(({ status, version }) => [status, version]),
    [
      ["todo", 1],
      ["todo", 1],
      ["todo", 1],
    ],
  );
  const own = await create({ title: "Ask Diego", assignee: "diego", priority: "urgent" });

  // What is there to do?
  const before = await json<OrchestrateStatus>("curl $URL/api/orchestrate");
  t.match(before, {
    activeSessions: [],
    recentCompleted: [],
    pendingDispatch: [
      { taskId: coding.id, agent: "claude", priority: "urgent", position: 1 },
      { taskId: research.id, agent: "gemini", priority: "high", position: 2 },
      { taskId: squash.id, agent: "copilot", priority: "medium", position: 3 },
    ],
    metrics: { totalDispatched: 0 },
  });
  t.equal(await sh("curl $URL/api/orchestrate?format=heartbeat"), before.heartbeat);
  t.match(before.heartbeat, /^3 tasks can be dispatched \(claude 1, gemini 1, copilot 1\)/);

  // Dry run.
  const plan = await json<Dispatch>(
    `curl -X POST $URL/api/orchestrate -H 'Content-Type: application/json' -d '{"dryRun": true}'`,
  );
  t.match(plan, {
    dryRun: true,
    wouldDispatch: [{ taskId: coding.id }, { taskId: research.id }, { taskId: squash.id }],
    skipped: [],
  });
  t.same(await json("curl $URL/api/orchestrate"), before, "and nothing is changed");

  // Dispatch.
  const { success, message, dispatched = [], skipped } = await json<Dispatch>("curl -X POST $URL/api/orchestrate");
  t.match({ success, message, skipped }, { success: true, message: "Dispatched 3 tasks", skipped: [] });
  t.match(dispatched, [
    {
      taskId: coding.id,
      agent: "claude",
      method: "sessions_spawn",
      attempt: 1,
      spawn: { tool: "sessions_spawn", args: { mode: "run", cleanup: "keep" } },
    },
    { taskId: research.id, agent: "gemini", method: "ssh" },
    { taskId: squash.id, agent: "copilot", method: "cli" },
  ]);
  t.match(
    await json("curl -X POST $URL/api/orchestrate"),
    { dispatched: [], message: "Dispatched 0 tasks" },
    "only once",
  );

  // claude: Jarvis starts the sub-agent, which follows its prompt.
  const prompt = dispatched[0]?.spawn?.args.task ?? "";
  const [claim = "", complete = ""] = prompt.split("\n").filter((line) => line.startsWith("curl "));
  t.match(await json(claim.replace("<your session key>", "agent:main:subagent:1")), {
    success: true,
    sessionId: dispatched[0]?.sessionId,
    newStatus: "in_progress",
  });
  t.match(await json(claim.replace("<your session key>", "agent:main:subagent:2")), {
    status: 409,
    code: "SESSION_CLAIMED",
  });
  const callback = `curl -X PUT $URL/api/orchestrate -H 'Content-Type: application/json' -d '${JSON.stringify({ taskId: coding.id, status: "completed", result: "The parser is written." })}'`;
  t.match(await json(callback), { success: true, taskId: coding.id, newStatus: "done" });
  t.match(await json(callback), { success: true, duplicate: true }, "told twice, counted once");
  t.match(await json(complete), { success: true, duplicate: true });

  // gemini and copilot come back by themselves.
  for (const { sessionId } of dispatched) await daemon.client.ended(sessionId);
  const comments = async (id: string) =>
    (await json<{ comments: Comment[] }>(`curl $URL/api/tasks/${id}/comments`)).comments.map(({ author, content }) => [
      author,
      content,
    ]);
  t.same(await comments(coding.id), [["claude", "The parser is written."]]);
  t.same(await comments(research.id), [["gemini", 'gemini read "# Research job queues"']]);
  t.same(await comments(squash.id), [["copilot", "Squashed."]], "its exit after its callback adds nothing");

  // Metrics.
  const after = await json<OrchestrateStatus>("curl $URL/api/orchestrate");
  t.match(after, {
    activeSessions: [],
    pendingDispatch: [],
    heartbeat: "HEARTBEAT_OK",
    metrics: { totalDispatched: 3 },
  });
  for (const agent of ["gemini", "claude", "copilot"]) {
    t.match(after.metrics.byAgent[agent], { dispatched: 1, completed: 1, failed: 0 });
    t.ok((after.metrics.averageCompletionTime[agent] ?? -1) >= 0);
  }
  t.equal(after.recentCompleted.length, 3);
  t.match(await json("curl $URL/api/metrics"), {
    byAgent: { copilot: { successRate: 1, costUsd: 0.25, inputTokens: 1200 }, claude: { costUnknown: 1 } },
  });
  t.match(await sh("curl $URL/metrics"), /^jarvis_sessions_total\{agent="gemini",outcome="completed"\} 1$/m);
  t.match(
    await json(`curl $URL/api/tasks/${own.id}`),
    { status: "todo", attempts: 0 },
    "a human's task is nobody else's",
  );
});

t.test("what goes wrong is tried again, what wants review waits for it", async (t) => {
  const { daemon, json } = await mission(t);
  const { client } = daemon;
  await client.post("/api/tasks", { id: "doomed", title: "cannot be done", assignee: "broken", maxAttempts: 2 });
  await client.post("/api/tasks", {
    id: "checked",
    title: "to be looked at",
    assignee: "claude",
    requiresReview: true,
  });
  await client.post("/api/tasks", { id: "refused", title: "handed back", assignee: "claude" });
  const { dispatched = [] } = await json<Dispatch>("curl -X POST $URL/api/orchestrate");
  const put = (body: object) =>
    json(`curl -X PUT $URL/api/orchestrate -H 'Content-Type: application/json' -d '${JSON.stringify(body)}'`);
  t.match(await put({ taskId: "checked", status: "completed", result: "Please look." }), { newStatus: "review" });
  t.match(await put({ taskId: "refused", status: "failed", error: "I may not" }), { newStatus: "todo" });
  t.match(await put({ taskId: "refused", status: "completed", result: "after all" }), {
    status: 409,
    code: "SESSION_NOT_ACTIVE",
  });
  t.match(await put({ taskId: "nobody", status: "completed" }), { status: 404, code: "TASK_NOT_FOUND" });

  const [first] = dispatched.filter(({ taskId }) => taskId === "doomed").map(({ sessionId }) => sessionId);
  const failed = await client.ended(first ?? "");
  t.match(failed, {
    status: "failed",
    exitCode: 3,
    error: { code: "EXIT_STATUS", message: "the program exited with status 3: no such luck" },
  });
  const doomed = await client.task("doomed");
  const failedAt = Date.parse(failed.completedAt ?? "");
  const delayMs = Date.parse(doomed.retryAt ?? "") - failedAt;
  t.match(doomed, {
    status: "todo",
    attempts: 1,
    comments: [{ author: "broken", content: /^Attempt 1 failed: .*no such luck/ }],
  });
  t.ok(delayMs >= 500 && delayMs <= 1000, `tried again after ${delayMs} ms`);

  // The daemon's own time is over at a known moment; what can start then is asked for from then on.
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, failedAt + delayMs - Date.now() + 1)));
  const again = await json<Dispatch>(
    `curl -X POST $URL/api/orchestrate -H 'Content-Type: application/json' -d '{"taskIds": ["doomed"]}'`,
  );
  t.match(again.dispatched, [{ taskId: "doomed", attempt: 2 }]);
  await client.ended(again.dispatched?.[0]?.sessionId ?? "");
  t.match(await client.task("doomed"), { status: "todo", attempts: 2, hold: { code: "ATTEMPTS_EXHAUSTED" } });
  t.match((await client.status()).waiting, [{ taskId: "doomed", reasons: [{ code: "ATTEMPTS_EXHAUSTED" }] }]);
  t.match((await client.status()).metrics.byAgent, { broken: { dispatched: 2, completed: 0, failed: 2 } });
});

t.test("the order is that of the rules, locked files wait, and humans are never dispatched", async (t) => {
  const { daemon, json } = await mission(t);
  const { client } = daemon;
  const tasks = [
    { id: "low", priority: "low" },
    { id: "later", priority: "high", dueDate: "2030-02-01" },
    { id: "sooner", priority: "high", dueDate: "2030-01-01" },
    { id: "medium" },
    { id: "urgent", priority: "urgent", files: ["src/**"] },
    { id: "same-files", priority: "urgent", files: ["src/main.ts"] },
    { id: "other-files", priority: "low", files: ["lib/main.ts"] },
    { id: "after", priority: "urgent", dependsOn: ["low"] },
  ];
  for (const task of tasks) await client.post("/api/tasks", { title: task.id, assignee: "claude", ...task });
  await client.post("/api/tasks", { id: "mine", title: "for a person", assignee: "jarvis", priority: "urgent" });
  await client.post("/api/tasks", { id: "typo", title: "for nobody", assignee: "cluade" });

  const { dispatched = [] } = await json<Dispatch>("curl -X POST $URL/api/orchestrate");
  t.same(
    dispatched.map(({ taskId }) => taskId),
    ["urgent", "sooner", "later"],
    "three slots, in order",
  );
  const named = await json<Dispatch>(
    `curl -X POST $URL/api/orchestrate -H 'Content-Type: application/json' -d '{"taskIds": ["same-files", "mine", "typo", "after", "medium", "urgent", "ghost"]}'`,
  );
  t.same(named.dispatched, []);
  const reasons = Object.fromEntries(
    (named.skipped ?? []).map(({ taskId, reasons: all }) => [taskId, all.map(({ code }) => code)]),
  );
  t.same(reasons, {
    "same-files": ["LOCKED", "NO_SLOT"],
    mine: ["HUMAN_ASSIGNEE"],
    typo: ["UNKNOWN_AGENT"],
    after: ["DEPENDENCY", "NO_SLOT"],
    medium: ["NO_SLOT"],
    urgent: ["ALREADY_RUNNING"],
    ghost: ["TASK_NOT_FOUND"],
  });
  const status = await client.status();
  t.match(status.totals.byReason, { LOCKED: 1, DEPENDENCY: 1, UNKNOWN_AGENT: 1 });
  t.match(status.waiting.find(({ taskId }) => taskId === "same-files")?.reasons, [
    { code: "LOCKED", heldBy: [dispatched[0]?.sessionId] },
  ]);
  t.notOk(status.waiting.some(({ taskId }) => taskId === "mine"));

  await json(
    `curl -X PUT $URL/api/orchestrate -H 'Content-Type: application/json' -d '{"taskId": "urgent", "status": "completed"}'`,
  );
  t.match(await json("curl $URL/api/locks"), { locks: [] }, "its end released its files");
  t.match(await json("curl -X POST $URL/api/orchestrate"), { dispatched: [{ taskId: "same-files" }] });
  t.match(
    (await client.all<Session>("sessions", "&status=starting")).map(({ taskId }) => taskId),
    ["same-files", "later", "sooner"],
  );
});

interface Mission {
  readonly daemon: DaemonProcess;
  /** Runs a line of shell in which $URL is the daemon's, and gives back what it printed. */
  sh(line: string): Promise<string>;
  json<T>(line: string): Promise<T>;
}

async function mission(t: Test): Promise<Mission> {
  const home = new Home(t);
  mkdirSync(home.path("mac"));
  const mac = await startSshServer(home.path("mac"));
  t.teardown(() => mac.stop());
  home.configure({
    retry: { initialDelayMs: 1000, maxDelayMs: 1000 },
    agents: {
      gemini: {
        adapter: "ssh",
        model: "gemini-2.5-pro",
        maxConcurrent: 2,
        command: [home.script("gemini.sh", GEMINI)],
        ssh: {
          host: "127.0.0.1",
          port: mac.port,
          username: "demo",
          privateKeyFile: mac.privateKeyFile,
          knownHostsFile: mac.knownHostsFile,
        },
      },
      claude: { adapter: "spawn", via: "heartbeat", model: "sonnet", costMultiplier: 3, maxConcurrent: 3 },
      copilot: { adapter: "cli", model: "gpt-4", costMultiplier: 2, command: [home.script("copilot.sh", COPILOT)] },
      broken: { adapter: "cli", command: ["/bin/sh", "-c", "echo no such luck >&2; exit 3"] },
    },
  });
  const daemon = await home.start();
  const env = { PATH: process.env.PATH, URL: daemon.url, CURL_HOME: home.directory, HOME: home.directory };
  writeFileSync(home.path(".curlrc"), "silent\nshow-error\n");
  const sh = async (line: string) =>
    (await promisify(execFile)("/bin/sh", ["-c", line], { env, timeout: 30_000 })).stdout;
  return { daemon, sh, json: async <T>(line: string) => JSON.parse(await sh(line)) as T };
}
