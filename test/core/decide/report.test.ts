import fc from "fast-check";
import t from "tap";
import { type Callback, callback, type RunReport, runEnded, runStarted } from "../../../src/core/decide/report.ts";
import { cancelSession } from "../../../src/core/decide/sessions.ts";
import { COMMENT_LENGTH_MAX } from "../../../src/core/decide/settle.ts";
import { changeTask, createTask, deleteTask } from "../../../src/core/decide/tasks.ts";
import { metricsOf } from "../../../src/core/metrics.ts";
import type { Cost, Outcome } from "../../../src/core/session.ts";
import {
  aRunningWorld,
  aWorld,
  codeOf,
  MINUTE,
  measured,
  SECOND,
  START,
  start,
  typesOf,
  type World,
} from "../world.ts";

const UNKNOWN: Cost = { usd: null, basis: "unknown" };
const RUN = { host: "here", pid: 42, pidStart: "1", bootId: "b" };

const report = (world: World, fields: Partial<Callback> & Pick<Callback, "status">) =>
  world.execute(callback({ taskId: "t1", ...fields }));

function exit(world: World, sessionId: string, fields: Partial<RunReport> = {}) {
  const outcome: Outcome = { status: "completed", result: "its output" };
  return world.execute(runEnded({ sessionId, exit: { exitCode: 0 }, outcome, ...fields }));
}

/** A task with a comment for each session, and counts that say each end once. */
const counts = (world: World, agent = "copilot") => {
  const { dispatched, completed, failed, cancelled } = metricsOf(world.state.metrics, agent);
  return { dispatched, completed, failed, cancelled };
};
const contents = (world: World) => world.task("t1").comments.map(({ content }) => content);

t.test("completed: the result is a comment by the agent, the task is done, and the counts say so", async (t) => {
  const world = aRunningWorld({ files: ["src/**"] });
  world.must(runStarted(world.sessionId, RUN));
  world.pass(MINUTE);
  const done = report(world, { status: "completed", result: "all is well", sessionId: world.sessionId });
  t.match(done, {
    ok: true,
    answer: { taskId: "t1", sessionId: world.sessionId, newStatus: "done", duplicate: false },
  });
  t.match(world.task("t1"), { status: "done", retryAt: null, hold: null, lastError: null });
  t.match(world.task("t1").comments, [
    { author: "copilot", content: "all is well", createdAt: START + MINUTE, sessionId: world.sessionId },
  ]);
  t.match(world.session(world.sessionId), {
    status: "stopping",
    stoppingAt: START + MINUTE,
    stopAt: START + MINUTE + 10 * SECOND,
  });
  t.same(counts(world), { dispatched: 1, completed: 1, failed: 0, cancelled: 0 });
  t.equal(metricsOf(world.state.metrics, "copilot").completionTotalMs, MINUTE);
  t.equal(world.state.locks.byId.size, 1, "its program still runs, so its locks stay");
  t.throws(() => start(world, "t1"), /NOT_TODO/);

  world.pass(SECOND);
  exit(world, world.sessionId, { exit: { exitCode: 0 } });
  t.match(world.session(world.sessionId), {
    status: "completed",
    completedAt: START + MINUTE,
    exitCode: 0,
    outcome: { result: "all is well" },
  });
  t.equal(world.state.locks.byId.size, 0);
  t.equal(world.state.sessions.activeByAgent.size, 0);
  t.equal(world.task("t1").comments.length, 1, "the exit says nothing twice");
  t.same(counts(world), { dispatched: 1, completed: 1, failed: 0, cancelled: 0 });
});

t.test("processes that a program left running are told of", async (t) => {
  const world = aRunningWorld();
  const leftovers = Array.from({ length: 25 }, (_, index) => 1000 + index);
  exit(world, world.sessionId, { exit: { exitCode: 0, leftovers }, outcome: { status: "completed", result: "done" } });
  t.match(world.session(world.sessionId), { status: "completed", leftovers });
  t.match(contents(world), [/^done\n\n.*left alone.*: 1000, 1001, .*, 1019 and 5 more\.$/s]);
});

t.test("a task that asks for review goes there", async (t) => {
  const world = aRunningWorld({ requiresReview: true });
  t.match(report(world, { status: "completed" }), { answer: { newStatus: "review" } });
});

t.test("failed: the error is a comment, and the task is tried again by the retry rule", async (t) => {
  const world = aRunningWorld({ assignee: "claude", files: ["src"] });
  const done = report(world, { status: "failed", error: "no such branch" });
  t.same(typesOf(done), ["session.settled", "session.ended"], "nothing of a spawn is left");
  t.match(done, { answer: { newStatus: "todo" } });
  const task = world.task("t1");
  t.match(task, {
    status: "todo",
    attempts: 1,
    retryAt: START + 7500,
    hold: null,
    lastError: { code: "AGENT_REPORTED", message: "no such branch" },
  });
  t.match(contents(world), [/^Attempt 1 failed: no such branch\n/]);
  t.equal(world.state.locks.byId.size, 0);
  t.same(counts(world, "claude"), { dispatched: 1, completed: 0, failed: 1, cancelled: 0 });
});

t.test("when its attempts are used up, a task is held", async (t) => {
  for (const fields of [{ maxAttempts: 2 }, {}]) {
    const world = aRunningWorld(
      { assignee: "claude", ...fields },
      { retry: { maxAttempts: 2, initialDelayMs: 0, maxDelayMs: 0 } },
    );
    report(world, { status: "failed", error: "no" });
    t.equal(world.task("t1").retryAt, START, "at once, where the delay is 0");
    const second = start(world, "t1");
    t.match(world.session(second), { attempt: 2 });
    t.equal(world.task("t1").retryAt, null);
    report(world, { status: "failed", error: "no" });
    t.match(world.task("t1"), { status: "todo", attempts: 2, retryAt: null, hold: { code: "ATTEMPTS_EXHAUSTED" } });
    t.throws(() => start(world, "t1"), /ATTEMPTS_EXHAUSTED/);
    t.match(contents(world).at(-1), /waits in todo for a person/);
  }
});

t.test("what no further attempt can mend is held at once, with the reason", async (t) => {
  const world = aRunningWorld();
  exit(world, world.sessionId, {
    outcome: { status: "failed", error: { code: "NOT_INSTALLED", message: "copilot is not there" } },
  });
  t.match(world.task("t1"), {
    status: "todo",
    hold: { code: "NOT_INSTALLED", message: "copilot is not there" },
    retryAt: null,
    attempts: 1,
  });
});

t.test("the same report again is a duplicate: nothing is counted, said or changed twice", async (t) => {
  for (const agent of ["copilot", "claude"]) {
    for (const status of ["completed", "failed"] as const) {
      const world = aRunningWorld({ assignee: agent });
      report(world, { status, result: "r", error: "e", sessionId: world.sessionId });
      const before = structuredClone(world.state);
      for (const sessionId of [world.sessionId, undefined]) {
        const again = report(world, { status, result: "another", error: "another", sessionId });
        t.match(again, {
          ok: true,
          events: [],
          answer: { sessionId: world.sessionId, duplicate: true, newStatus: world.task("t1").status },
        });
      }
      if (agent === "copilot") exit(world, world.sessionId);
      t.match(
        report(world, { status, sessionId: world.sessionId }),
        { answer: { duplicate: true } },
        "also after its end",
      );
      t.same(world.task("t1"), before.tasks.byId.get("t1"));
      t.same(counts(world, agent), { dispatched: 1, completed: 0, failed: 0, cancelled: 0, [status]: 1 });
    }
  }
});

t.test("running again is a duplicate and changes nothing", async (t) => {
  const world = aRunningWorld({ assignee: "claude" });
  t.match(report(world, { status: "running", sessionKey: "k" }), {
    answer: { duplicate: false, newStatus: "in_progress" },
  });
  world.pass(SECOND);
  t.match(report(world, { status: "running", sessionKey: "k" }), { ok: true, events: [], answer: { duplicate: true } });
  t.match(report(world, { status: "running" }), { ok: true, events: [], answer: { duplicate: true } });
});

t.test("another status for a session that is over is refused and touches nothing", async (t) => {
  const ends: readonly [
    string,
    (world: World & { sessionId: string }) => unknown,
    refused: readonly Callback["status"][],
  ][] = [
    ["completed", (world) => report(world, { status: "completed" }), ["running", "failed"]],
    ["failed", (world) => report(world, { status: "failed" }), ["running", "completed"]],
    ["cancelled", (world) => world.must(cancelSession(world.sessionId, "diego")), ["running", "completed", "failed"]],
    [
      "moved",
      (world) => world.must(changeTask({ taskId: "t1", changes: { status: "done" } })),
      ["running", "completed", "failed"],
    ],
    [
      "lost",
      (world) => exit(world, world.sessionId, { outcome: { status: "lost" } }),
      ["running", "completed", "failed"],
    ],
    [
      "timed out",
      (world) => exit(world, world.sessionId, { outcome: { status: "timed_out" } }),
      ["running", "completed", "failed"],
    ],
  ];
  for (const [name, end, refused] of ends) {
    for (const assignee of ["copilot", "claude"]) {
      const world = aRunningWorld({ assignee });
      end(world);
      const seq = world.journal.length;
      for (const status of refused) {
        const late = report(world, { status, sessionId: world.sessionId });
        t.match(late, { ok: false, refusal: { code: "SESSION_NOT_ACTIVE" } }, `${name}, then ${status}`);
      }
      t.equal(world.journal.length, seq);
    }
  }
});

t.test("a late report of a replaced session never touches the newer attempt", async (t) => {
  const world = aRunningWorld({ assignee: "claude" }, { retry: { maxAttempts: 5, initialDelayMs: 0, maxDelayMs: 0 } });
  const first = world.sessionId;
  report(world, { status: "failed", error: "no" });
  const second = start(world, "t1");
  for (const caller of [undefined, first]) {
    t.equal(
      codeOf(report(world, { status: "completed", result: "late", sessionId: first, callerSessionId: caller })),
      "SESSION_NOT_ACTIVE",
    );
    t.match(report(world, { status: "failed", sessionId: first, callerSessionId: caller }), {
      ok: true,
      events: [],
      answer: { duplicate: true },
    });
  }
  t.equal(
    codeOf(report(world, { status: "completed", callerSessionId: first })),
    "SESSION_NOT_ACTIVE",
    "its token names it",
  );
  t.match(world.session(second), { status: "starting", attempt: 2 });
  t.match(
    report(world, { status: "completed" }),
    { answer: { sessionId: second, newStatus: "done" } },
    "without a name it is the active one",
  );
});

t.test("without a session id it is the token's session, else the active one, else the latest", async (t) => {
  const world = aRunningWorld({ assignee: "claude" }, { retry: { maxAttempts: 5, initialDelayMs: 0, maxDelayMs: 0 } });
  report(world, { status: "failed" });
  const second = start(world, "t1");
  report(world, { status: "failed" });
  t.match(report(world, { status: "failed" }), { answer: { sessionId: second, duplicate: true } }, "the latest");
  t.match(report(world, { status: "failed", callerSessionId: world.sessionId }), {
    answer: { sessionId: world.sessionId, duplicate: true },
  });
});

t.test("who reports on what is not there, or not theirs, is told so", async (t) => {
  const world = aRunningWorld();
  world.must(createTask({ id: "t2", title: "two", assignee: "gemini" }));
  world.must(createTask({ id: "never", title: "never", assignee: "gemini" }));
  const other = start(world, "t2");
  const table: readonly [Partial<Callback>, string][] = [
    [{ taskId: "ghost" }, "TASK_NOT_FOUND"],
    [{ taskId: "ghost", callerSessionId: other }, "TASK_NOT_FOUND"],
    [{ sessionId: "ghost" }, "SESSION_NOT_FOUND"],
    [{ sessionId: other }, "SESSION_NOT_FOUND"],
    [{ taskId: "never" }, "SESSION_NOT_ACTIVE"],
    [{ sessionId: world.sessionId, callerSessionId: other }, "NOT_YOUR_SESSION"],
    [{ callerSessionId: other }, "NOT_YOUR_SESSION"],
    [{ sessionId: other, callerSessionId: other }, "NOT_YOUR_SESSION"],
    [{ taskId: "never", callerSessionId: other }, "NOT_YOUR_SESSION"],
  ];
  for (const [fields, code] of table)
    t.equal(codeOf(report(world, { status: "completed", ...fields })), code, JSON.stringify(fields));
  t.same(counts(world), { dispatched: 1, completed: 0, failed: 0, cancelled: 0 });
});

t.test("a spawn is claimed by its first callback, and the first key binds", async (t) => {
  const world = aRunningWorld({ assignee: "claude" });
  t.match(world.session(world.sessionId), {
    status: "starting",
    handout: { times: 1 },
    deadlineAt: START + 60 * MINUTE,
  });
  world.pass(5 * MINUTE);
  t.same(typesOf(report(world, { status: "running" })), ["session.running"], "Jarvis claims it without a key");
  const claimed = world.session(world.sessionId);
  t.match(claimed, { status: "running", deadlineAt: START + 35 * MINUTE }, "its time counts from the claim");
  t.notOk("handout" in claimed, "it is not handed out any more");
  t.same(
    typesOf(report(world, { status: "running", sessionKey: "one" })),
    ["session.running"],
    "the sub-agent binds its key",
  );
  t.match(world.session(world.sessionId), { status: "running", sessionKey: "one", deadlineAt: START + 35 * MINUTE });
  for (const status of ["running", "completed", "failed"] as const) {
    t.equal(codeOf(report(world, { status, sessionKey: "two" })), "SESSION_CLAIMED", status);
  }
  t.match(report(world, { status: "completed", sessionKey: "one" }), { answer: { newStatus: "done" } });
  t.match(report(world, { status: "completed", sessionKey: "one" }), { answer: { duplicate: true } });
  t.equal(codeOf(report(world, { status: "completed", sessionKey: "two" })), "SESSION_CLAIMED");
  t.equal(world.task("t1").comments.length, 1);
});

t.test("a report that completes a spawn at once claims it too", async (t) => {
  const world = aRunningWorld({ assignee: "claude" });
  const done = report(world, { status: "completed", sessionKey: "one", result: "quick" });
  t.same(typesOf(done), ["session.running", "session.settled", "session.ended"]);
  t.match(world.session(world.sessionId), { status: "completed", sessionKey: "one" });
  t.equal(codeOf(report(world, { status: "completed", sessionKey: "two" })), "SESSION_CLAIMED");
});

t.test("a callback before its program is known to run does not make it run", async (t) => {
  const world = aRunningWorld();
  t.same(typesOf(report(world, { status: "running" })), []);
  t.equal(world.session(world.sessionId).status, "starting");
  t.same(typesOf(report(world, { status: "running", sessionKey: "k" })), ["session.running"], "but its key binds");
  t.equal(codeOf(report(world, { status: "running", sessionKey: "other" })), "SESSION_CLAIMED");
  t.same(typesOf(world.execute(runStarted(world.sessionId, RUN))), ["session.running"]);
  t.match(world.session(world.sessionId), {
    status: "running",
    run: RUN,
    sessionKey: "k",
    deadlineAt: START + 30 * MINUTE,
  });
  t.same(typesOf(world.execute(runStarted(world.sessionId, { host: "here", pid: 43 }))), [], "told once is enough");
});

t.test("a deleted task's session can still say that it is over, and answers null for its status", async (t) => {
  const world = aRunningWorld();
  world.must(deleteTask("t1"));
  t.equal(codeOf(report(world, { status: "completed", result: "late" })), "SESSION_NOT_ACTIVE");
  t.same(typesOf(exit(world, world.sessionId)), ["session.ended"]);
  t.same(counts(world), { dispatched: 1, completed: 0, failed: 0, cancelled: 1 });
  t.equal(world.state.tasks.byId.size, 0);
});

t.test("who never calls back is settled by the exit", async (t) => {
  const world = aRunningWorld({ files: ["src"] });
  world.must(runStarted(world.sessionId, RUN));
  world.context.price = () => ({ usd: 0.1, basis: "estimated" });
  world.pass(MINUTE);
  const usage = { inputTokens: 10, outputTokens: 5 };
  t.same(typesOf(exit(world, world.sessionId, { usage })), ["session.settled", "session.ended"]);
  t.match(world.session(world.sessionId), {
    status: "completed",
    completedAt: START + MINUTE,
    usage,
    cost: { usd: 0.1 },
    exitCode: 0,
  });
  t.same(contents(world), ["its output"]);
  t.equal(world.state.locks.byId.size, 0);
  t.match(metricsOf(world.state.metrics, "copilot"), {
    completed: 1,
    inputTokens: 10,
    outputTokens: 5,
    costUsd: 0.1,
    costUnknown: 0,
  });
  t.same(typesOf(exit(world, world.sessionId)), [], "told again it changes nothing");
  t.same(typesOf(world.execute(runStarted(world.sessionId, RUN))), []);
  t.same(typesOf(exit(world, "ghost")), []);
});

t.test("what a program printed before it failed is in the comment", async (t) => {
  const world = aRunningWorld();
  const error = { code: "EXIT", message: "it exited with 2" };
  exit(world, world.sessionId, { exit: { exitCode: 2 }, outcome: { status: "failed", error, result: "half of it" } });
  t.match(contents(world), [
    /^Attempt 1 failed: it exited with 2\n\nThe task is back in todo.*\n\nIts last output:\n\nhalf of it$/,
  ]);
});

t.test("nothing said is said as such", async (t) => {
  for (const result of [undefined, ""]) {
    const world = aRunningWorld();
    exit(world, world.sessionId, { outcome: { status: "completed", ...(result === undefined ? {} : { result }) } });
    t.same(contents(world), ["(completed without a result)"]);
  }
  const world = aRunningWorld();
  report(world, { status: "failed" });
  t.match(contents(world), [/without a reason/]);
});

t.test("a result that is too long for a comment is cut, with a note, and never within a character", async (t) => {
  for (const shift of [0, 1]) {
    const world = aRunningWorld();
    const result = "x".repeat(shift) + "😀".repeat(COMMENT_LENGTH_MAX / 2 + 10);
    report(world, { status: "completed", result });
    const [content = ""] = contents(world);
    t.ok(content.length <= COMMENT_LENGTH_MAX);
    t.match(content, /\(cut: .* see the session's log\)$/);
    t.equal(Buffer.from(content).toString(), content, "no half of a pair is left");
  }
  const world = aRunningWorld();
  report(world, { status: "completed", result: "x".repeat(COMMENT_LENGTH_MAX) });
  t.equal(contents(world)[0]?.length, COMMENT_LENGTH_MAX);
});

t.test("usage and cost count once, whoever told them, and what was measured beats what was estimated", async (t) => {
  const said = { inputTokens: 100, outputTokens: 20, costUsd: 0.5, model: "gpt-4" };
  const table: readonly [
    what: string,
    callback: Callback["usage"],
    exit: Partial<RunReport>,
    tokens: number,
    cost: Cost,
  ][] = [
    ["nobody", undefined, {}, 0, UNKNOWN],
    ["only the callback", said, {}, 100, { usd: 0.5, basis: "measured" }],
    ["only the exit", undefined, { usage: { inputTokens: 7 } }, 7, { usd: 0.1, basis: "estimated" }],
    ["the exit's usage, without its cost", undefined, { usage: said }, 100, { usd: 0.5, basis: "measured" }],
    ["both, the exit measured", said, { usage: { inputTokens: 7, costUsd: 0.1 } }, 7, { usd: 0.1, basis: "measured" }],
    ["both, the exit estimated", said, { usage: { inputTokens: 7 } }, 7, { usd: 0.5, basis: "measured" }],
  ];
  for (const [what, usage, atExit, tokens, cost] of table) {
    const world = aRunningWorld();
    const estimated: Cost = { usd: 0.1, basis: "estimated" };
    world.context.price = (_agent, used) =>
      used?.inputTokens === 7 && used.costUsd === undefined ? estimated : measured(used);
    report(world, { status: "completed", usage });
    exit(world, world.sessionId, atExit);
    const session = world.session(world.sessionId);
    t.match(session, { status: "completed", cost }, what);
    const metrics = metricsOf(world.state.metrics, "copilot");
    t.equal(metrics.inputTokens, tokens, `${what}: tokens`);
    t.equal(metrics.costUsd, cost.usd ?? 0, `${what}: cost`);
    t.equal(metrics.costUnknown, cost.usd === null ? 1 : 0, what);
    t.equal(session.usage?.inputTokens ?? 0, tokens, `${what}: the session knows the same`);
  }
});

t.test("a spawn's usage is what its callback says", async (t) => {
  const world = aRunningWorld({ assignee: "claude" });
  report(world, { status: "completed", usage: { inputTokens: 3, costUsd: 0.25 } });
  t.match(world.session(world.sessionId), { usage: { inputTokens: 3 }, cost: { usd: 0.25, basis: "measured" } });
  t.match(metricsOf(world.state.metrics, "claude"), { inputTokens: 3, costUsd: 0.25 });
});

t.test("a callback and an exit count once, in whatever order and however often they come", async (t) => {
  const told = fc.constantFrom("running", "completed", "failed", "started", "exit 0", "exit 1", "cancel");
  fc.assert(
    fc.property(fc.array(told, { maxLength: 12 }), (list) => {
      const world = aRunningWorld({}, { retry: { maxAttempts: 99, initialDelayMs: 10, maxDelayMs: 10 } });
      const { sessionId } = world;
      for (const what of list) {
        if (what === "started") world.must(runStarted(sessionId, RUN));
        else if (what === "cancel") world.execute(cancelSession(sessionId, "diego"));
        else if (what === "exit 0") exit(world, sessionId);
        else if (what === "exit 1") exit(world, sessionId, { outcome: { status: "failed" } });
        else report(world, { status: what as Callback["status"], sessionId });
      }
      const { dispatched, completed, failed, cancelled } = counts(world);
      const settled = list.some((what) => what !== "running" && what !== "started");
      const ended = list.some((what) => what.startsWith("exit"));
      return (
        dispatched === 1 &&
        completed + failed + cancelled === (settled ? 1 : 0) &&
        world.task("t1").comments.length === (settled ? 1 : 0) &&
        world.state.sessions.ended.has(sessionId) === ended
      );
    }),
    { numRuns: 500 },
  );
  t.pass();
});

t.test("a world without sessions refuses politely", async (t) => {
  t.equal(codeOf(aWorld().execute(callback({ taskId: "t1", status: "running" }))), "TASK_NOT_FOUND");
});
