import t from "tap";
import { dispatch } from "../../../src/core/decide/dispatch.ts";
import { acquireLock } from "../../../src/core/decide/locks.ts";
import { callback, runEnded, runStarted } from "../../../src/core/decide/report.ts";
import { archive, cancelSession, expire } from "../../../src/core/decide/sessions.ts";
import { changeTask, createTask } from "../../../src/core/decide/tasks.ts";
import { metricsOf } from "../../../src/core/metrics.ts";
import { AGENTS, aRunningWorld, codeOf, MINUTE, SECOND, START, start, typesOf, type World } from "../world.ts";

const RUN = { host: "here", pid: 42 };

/** Lets the clocks look; every session was heard of just now, unless told otherwise. */
const tick = (world: World, lastSignAt = world.context.now) => world.execute(expire(() => lastSignAt));

t.test("a person's cancel stops a session, and its task waits in todo, held", async (t) => {
  const world = aRunningWorld({ files: ["src"] });
  world.must(runStarted(world.sessionId, RUN));
  world.pass(SECOND);
  const cancelled = world.execute(cancelSession(world.sessionId, "diego"));
  t.same(typesOf(cancelled), ["session.settled"]);
  t.match(cancelled, { ok: true, answer: { id: world.sessionId, status: "stopping", stopAt: START + SECOND } });
  t.match(world.task("t1"), {
    status: "todo",
    attempts: 1,
    retryAt: null,
    hold: { code: "CANCELLED", message: "cancelled by diego" },
  });
  t.match(world.task("t1").comments, [{ author: "copilot", content: /^Attempt 1 cancelled: cancelled by diego/ }]);
  t.equal(world.state.locks.byId.size, 1, "its locks stay until its run is gone");
  t.same(typesOf(world.execute(cancelSession(world.sessionId, "diego"))), [], "asked again it goes on stopping");
  world.must(runEnded({ sessionId: world.sessionId, exit: { signal: "SIGTERM" }, outcome: { status: "failed" } }));
  t.match(world.session(world.sessionId), { status: "cancelled", signal: "SIGTERM", completedAt: START + SECOND });
  t.equal(world.state.locks.byId.size, 0);
  t.match(metricsOf(world.state.metrics, "copilot"), { dispatched: 1, completed: 0, failed: 0, cancelled: 1 });
  t.equal(codeOf(world.execute(cancelSession(world.sessionId, "diego"))), "SESSION_NOT_ACTIVE");
  t.equal(codeOf(world.execute(cancelSession("ghost", "diego"))), "SESSION_NOT_FOUND");
  world.must(changeTask({ taskId: "t1", changes: { hold: null } }));
  t.match(world.session(start(world, "t1")), { attempt: 1 }, "a released hold counts afresh");
});

t.test("a cancelled spawn is over at once", async (t) => {
  const world = aRunningWorld({ assignee: "claude", files: ["src"] });
  t.same(typesOf(world.execute(cancelSession(world.sessionId, "diego"))), ["session.settled", "session.ended"]);
  t.equal(world.session(world.sessionId).status, "cancelled");
  t.equal(world.state.locks.byId.size, 0);
});

t.test("cancelling what has completed changes nothing of its outcome", async (t) => {
  const world = aRunningWorld();
  world.must(callback({ taskId: "t1", status: "completed", result: "done" }));
  t.match(world.execute(cancelSession(world.sessionId, "diego")), {
    ok: true,
    events: [],
    answer: { status: "stopping" },
  });
  t.equal(world.task("t1").status, "done");
});

t.test("nothing expires before its time", async (t) => {
  for (const assignee of ["copilot", "claude"]) {
    const world = aRunningWorld({ assignee, files: ["src"] });
    t.same(typesOf(tick(world)), []);
    world.pass(10 * MINUTE - 1);
    t.same(typesOf(tick(world)), []);
  }
});

t.test("a spawn is handed out three times before it fails, however slow the heartbeat is", async (t) => {
  for (const everyMs of [10 * MINUTE, 12 * MINUTE, 30 * MINUTE]) {
    const world = aRunningWorld({ assignee: "claude", files: ["src"] });
    let times = 1;
    let handedOutAt = START;
    while (world.context.now < handedOutAt + 10 * MINUTE || times < 3) {
      world.pass(MINUTE);
      t.same(times < 3 || world.context.now < handedOutAt + 10 * MINUTE ? typesOf(tick(world)) : [], []);
      if ((world.context.now - START) % everyMs !== 0 || times === 3) continue;
      const { dispatched } = world.must(dispatch({}));
      t.match(dispatched, [{ again: true, session: { id: world.sessionId } }]);
      times++;
      handedOutAt = world.context.now;
    }
    t.same(typesOf(tick(world)), ["session.settled", "session.ended"], `every ${everyMs / MINUTE} min`);
    t.match(world.session(world.sessionId), {
      status: "failed",
      outcome: { error: { code: "SPAWN_UNCLAIMED", message: /handed out 3 times/ } },
    });
    t.match(world.task("t1"), { status: "todo", attempts: 1, retryAt: world.context.now + 7500 });
    t.equal(world.state.locks.byId.size, 0);
  }
});

t.test("a spawn that no heartbeat ever asks for does not hold its locks for ever", async (t) => {
  const world = aRunningWorld({ assignee: "claude", files: ["src"] });
  world.pass(40 * MINUTE - 1);
  t.same(typesOf(tick(world)), []);
  world.pass(1);
  t.same(typesOf(tick(world)), ["session.settled", "session.ended"]);
  t.match(world.session(world.sessionId), { outcome: { error: { code: "SPAWN_UNCLAIMED" } } });
});

t.test("a claimed spawn is not handed out any more, and its own time ends it", async (t) => {
  const world = aRunningWorld({ assignee: "claude" });
  world.pass(5 * MINUTE);
  world.must(callback({ taskId: "t1", status: "running", sessionKey: "k" }));
  world.pass(30 * MINUTE - 1);
  t.same(world.must(dispatch({})).dispatched, []);
  t.same(typesOf(tick(world)), []);
  world.pass(1);
  t.same(typesOf(tick(world)), ["session.settled", "session.ended"]);
  t.match(world.session(world.sessionId), {
    status: "timed_out",
    outcome: { error: { code: "TIMED_OUT", message: /1800 s/ } },
  });
  t.match(world.task("t1"), { status: "todo", retryAt: world.context.now + 7500 });
});

t.test("a run's deadline is kept by its wrapper and told by its adapter: this clock leaves it alone", async (t) => {
  for (const running of [true, false]) {
    const world = aRunningWorld({ timeoutMs: MINUTE });
    if (running) world.must(runStarted(world.sessionId, RUN));
    world.pass(60 * MINUTE);
    t.same(typesOf(tick(world)), [], "it may have ended well while nobody looked");
  }
});

t.test("a spawn that is past its time gets a while to report after a start", async (t) => {
  const world = aRunningWorld({ assignee: "claude" });
  world.must(callback({ taskId: "t1", status: "running", sessionKey: "k" }));
  world.pass(60 * MINUTE);
  const { now } = world.context;
  t.same(typesOf(world.execute(expire(() => START, now + 1))), []);
  t.same(typesOf(world.execute(expire(() => START, now))), ["session.settled", "session.ended"]);
});

t.test("a program that has not begun in time has failed, one that has is not ended by that clock", async (t) => {
  for (const begins of [false, true]) {
    const world = aRunningWorld({ startTimeoutMs: MINUTE, stallTimeoutMs: 0 });
    world.pass(MINUTE - 1);
    t.same(typesOf(tick(world, START)), []);
    if (begins) world.must(runStarted(world.sessionId, RUN));
    world.pass(1);
    t.same(typesOf(tick(world, START)), begins ? [] : ["session.settled"], "what may still begin is stopped first");
    if (begins) continue;
    t.match(world.session(world.sessionId), {
      status: "stopping",
      outcome: { status: "failed", error: { code: "START_TIMED_OUT", message: /60 s/ } },
    });
    t.match(world.task("t1"), { status: "todo", attempts: 1, hold: null });
  }
});

t.test("silence ends a running session whose output streams, not one that has yet to start", async (t) => {
  const world = aRunningWorld();
  world.pass(5 * MINUTE);
  t.same(typesOf(tick(world, START)), [], "starting is not silence");
  world.must(runStarted(world.sessionId, RUN));
  t.same(typesOf(tick(world, START + 1)), []);
  t.same(typesOf(tick(world, START)), ["session.settled"]);
  t.match(world.session(world.sessionId), {
    status: "stopping",
    outcome: { status: "stalled", error: { code: "STALLED", message: /300 s/ } },
  });
  t.match(metricsOf(world.state.metrics, "copilot"), { failed: 1 });

  const quiet = new Map(AGENTS.map((agent) => [agent.name, { ...agent, stallTimeoutMs: 0 }]));
  const silent = aRunningWorld({}, { agents: quiet });
  silent.must(runStarted(silent.sessionId, RUN));
  silent.pass(29 * MINUTE);
  t.same(typesOf(tick(silent, START)), [], "0 turns it off");
});

t.test("a stopping session waits for its run, however long that takes", async (t) => {
  const world = aRunningWorld();
  world.must(callback({ taskId: "t1", status: "completed" }));
  world.pass(1000 * MINUTE);
  t.same(typesOf(tick(world, START)), []);
});

t.test("a lock with a time to live goes when that is over, and only that one", async (t) => {
  const world = aRunningWorld({ files: ["src"] });
  const lock = world.must(acquireLock({ sessionId: world.sessionId, paths: ["docs"], mode: "shared", ttlMs: MINUTE }));
  world.must(acquireLock({ sessionId: world.sessionId, paths: ["lib"], mode: "exclusive" }));
  world.pass(MINUTE - 1);
  t.same(typesOf(tick(world)), []);
  world.pass(1);
  t.match(tick(world), {
    ok: true,
    events: [{ type: "lock.released", lockId: lock.id, sessionId: world.sessionId, why: "expired" }],
  });
  t.equal(world.state.locks.byId.size, 2);
});

t.test("only what is over can be put away", async (t) => {
  const world = aRunningWorld();
  for (const id of ["done", "open"]) world.must(createTask({ id, title: id, status: id === "done" ? "done" : "todo" }));
  const putAway = () => typesOf(world.execute(archive(["done", "open", "t1", "ghost"], [world.sessionId, "ghost"])));
  world.must(callback({ taskId: "t1", status: "completed" }));
  t.same(putAway(), ["task.archived"], "a done task whose program still stops stays");
  t.same([...world.state.tasks.byId.keys()], ["t1", "open"]);
  t.same(putAway(), []);
  world.must(runEnded({ sessionId: world.sessionId, exit: {}, outcome: { status: "completed" } }));
  t.same(putAway(), ["task.archived", "session.archived"]);
  t.same([...world.state.tasks.byId.keys()], ["open"]);
  t.equal(world.state.sessions.byId.size, 0);
  t.equal(world.state.sessions.byTask.size, 0);
  t.match(metricsOf(world.state.metrics, "copilot"), { dispatched: 1, completed: 1 }, "the counts stay");
});
