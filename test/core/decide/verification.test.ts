/** Work that counts only once it was verified: what is said of it, what may happen meanwhile, and how it ends. */
import t from "tap";
import { dispatch } from "../../../src/core/decide/dispatch.ts";
import { type Callback, callback, type RunReport, runEnded, runStarted } from "../../../src/core/decide/report.ts";
import { cancelSession, expire } from "../../../src/core/decide/sessions.ts";
import { changeTask, deleteTask } from "../../../src/core/decide/tasks.ts";
import { metricsOf } from "../../../src/core/metrics.ts";
import { aRunningWorld, codeOf, HOUR, MINUTE, START, start, typesOf, type World } from "../world.ts";

const WAYS = ["copilot", "gemini", "claude"];
const RUN = { host: "here", pid: 42, pidStart: "1", bootId: "b" };
const REFUTED = {
  ok: false,
  error: { code: "VERIFICATION_FAILED", message: 'the agent says that it is done, but "tests" says no: 3 of 41 fail' },
} as const;

const report = (world: World, status: Callback["status"], fields: Partial<Callback> = {}) =>
  world.execute(callback({ taskId: "t1", status, ...fields }));
const end = (world: World, sessionId: string, fields: Partial<RunReport> = {}) =>
  world.execute(
    runEnded({ sessionId, exit: { exitCode: 0 }, outcome: { status: "completed", result: "its output" }, ...fields }),
  );

/** Reported as done, and not verified yet. */
function aReportedWorld(assignee: string) {
  const world = aRunningWorld({ assignee, verify: ["tests", "lint"], files: ["src"] });
  if (assignee !== "claude") world.must(runStarted(world.sessionId, RUN));
  const done = report(world, "completed", { result: "all is well", usage: { inputTokens: 5 } });
  return { ...world, done };
}

for (const assignee of WAYS) {
  t.test(`${assignee}: who says that it is done is believed once it is verified`, async (t) => {
    const world = aReportedWorld(assignee);
    const { sessionId, done } = world;
    t.match(done, { ok: true, answer: { sessionId, newStatus: "in_progress", duplicate: false } });
    t.same(typesOf(done).slice(-1), ["session.reported"]);
    t.match(world.task("t1"), { status: "in_progress", comments: [] });
    t.match(world.session(sessionId), {
      status: "running",
      reported: { result: "all is well", reportedAt: START, stopAt: START + 10_000 },
    });
    t.equal(world.state.locks.byId.size, 1, "its locks stay");
    t.throws(() => start(world, "t1"), /ALREADY_RUNNING/);

    const seq = world.journal.length;
    t.match(report(world, "completed", { result: "again" }), {
      ok: true,
      events: [],
      answer: { duplicate: true, newStatus: "in_progress" },
    });
    for (const status of ["failed", "running"] as const) {
      t.match(
        report(world, status),
        { refusal: { code: "SESSION_NOT_ACTIVE", facts: { sessionStatus: "completed" } } },
        status,
      );
    }
    t.equal(codeOf(end(world, sessionId)), "NOT_VERIFIED");
    t.equal(codeOf(end(world, sessionId, { outcome: { status: "failed" } })), "NOT_VERIFIED", "the first word counts");
    t.equal(world.journal.length, seq, "nothing of that is written down");

    world.pass(MINUTE);
    t.same(typesOf(end(world, sessionId, { verification: { ok: true } })), ["session.settled", "session.ended"]);
    t.match(world.session(sessionId), {
      status: "completed",
      outcome: { result: "all is well" },
      usage: { inputTokens: 5 },
    });
    t.match(world.task("t1"), {
      status: "done",
      comments: [{ content: "all is well", author: assignee }],
      lastError: null,
    });
    t.equal(world.state.locks.byId.size, 0);
    t.match(metricsOf(world.state.metrics, assignee), { completed: 1, failed: 0 });
    t.match(report(world, "completed"), { answer: { duplicate: true, newStatus: "done" } });
    t.equal(world.task("t1").comments.length, 1);
  });

  t.test(`${assignee}: work that does not pass has failed, and is tried again with what was found`, async (t) => {
    const world = aReportedWorld(assignee);
    const { sessionId } = world;
    t.same(typesOf(end(world, sessionId, { verification: REFUTED })), ["session.settled", "session.ended"]);
    t.match(world.session(sessionId), { status: "failed", outcome: { error: REFUTED.error, result: "all is well" } });
    const task = world.task("t1");
    t.match(task, { status: "todo", attempts: 1, hold: null, retryAt: START + 7500, lastError: REFUTED.error });
    t.equal(task.comments.length, 1);
    t.match(
      task.comments[0]?.content,
      /^Attempt 1 failed: the agent says .* 3 of 41 fail\n\n.*tried again.*\n\nIts last output:\n\nall is well$/s,
    );
    t.match(metricsOf(world.state.metrics, assignee), { completed: 0, failed: 1 });
    t.equal(world.state.locks.byId.size, 0);
    world.pass(7500);
    t.match(world.session(start(world, "t1")), { attempt: 2, verify: ["tests", "lint"] });
  });

  t.test(`${assignee}: its own clocks are over once it reported`, async (t) => {
    const world = aReportedWorld(assignee);
    world.pass(100 * HOUR);
    t.same(typesOf(world.execute(dispatch({}))), [], "nobody else gets it meanwhile");
    t.same(typesOf(world.execute(expire(() => START))), []);
    t.match(report(world, "completed"), { answer: { duplicate: true } });
    end(world, world.sessionId, { verification: { ok: true } });
    t.equal(world.task("t1").status, "done");
  });

  t.test(`${assignee}: a person may still cancel it, move its task or delete that`, async (t) => {
    const ways: readonly (readonly [string, (world: World, sessionId: string) => unknown, object | null])[] = [
      [
        "cancel",
        (world, id) => world.must(cancelSession(id, "diego")),
        { status: "todo", hold: { code: "CANCELLED" } },
      ],
      ["move", (world) => world.must(changeTask({ taskId: "t1", changes: { status: "done" } })), { status: "done" }],
      ["delete", (world) => world.must(deleteTask("t1")), null],
    ];
    for (const [what, happens, task] of ways) {
      const world = aReportedWorld(assignee);
      const { sessionId } = world;
      happens(world, sessionId);
      t.match(world.session(sessionId), { status: "stopping", outcome: { status: "cancelled" }, stopAt: START }, what);
      t.equal(codeOf(report(world, "completed", { sessionId })), "SESSION_NOT_ACTIVE", what);
      t.same(typesOf(end(world, sessionId, { verification: REFUTED })), ["session.ended"], `${what}: the rest of it`);
      t.match(world.session(sessionId), { status: "cancelled" });
      if (task === null) t.notOk(world.state.tasks.byId.has("t1"));
      else t.match(world.task("t1"), task, what);
      t.equal(world.state.locks.byId.size, 0);
      t.match(metricsOf(world.state.metrics, assignee), { completed: 0, failed: 0, cancelled: 1 });
    }
  });
}

t.test("who never calls back is verified at its exit, and what failed is not verified at all", async (t) => {
  const quiet = aRunningWorld({ verify: ["tests"] });
  t.equal(codeOf(end(quiet, quiet.sessionId)), "NOT_VERIFIED");
  t.equal(quiet.task("t1").status, "in_progress");
  end(quiet, quiet.sessionId, { verification: REFUTED });
  t.match(quiet.task("t1"), { status: "todo", lastError: { code: "VERIFICATION_FAILED" } });

  const failing = aRunningWorld({ verify: ["tests"] });
  end(failing, failing.sessionId, { outcome: { status: "failed", error: { code: "SIGNAL", message: "killed" } } });
  t.match(failing.task("t1"), { status: "todo", lastError: { code: "SIGNAL" } });

  const reporting = aRunningWorld({ verify: ["tests"] });
  t.match(report(reporting, "failed", { error: "I cannot" }), { answer: { newStatus: "todo" } });
  t.match(reporting.task("t1").lastError, { code: "AGENT_REPORTED" });
});

t.test("a task that nobody verifies is done with its word", async (t) => {
  for (const assignee of WAYS) {
    const world = aRunningWorld({ assignee });
    t.match(report(world, "completed", { result: "r" }), { answer: { newStatus: "done" } });
    t.notOk(typesOf(end(world, world.sessionId)).includes("session.reported"));
  }
});
