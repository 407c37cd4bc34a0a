import t from "tap";
import { pauseAgent, resumeAgent } from "../../../src/core/decide/agents.ts";
import { dispatch } from "../../../src/core/decide/dispatch.ts";
import { createTask } from "../../../src/core/decide/tasks.ts";
import { aRunningWorld, aWorld, codeOf, MINUTE, START, start, typesOf } from "../world.ts";

t.test("a dispatch starts sessions with everything that they need, and their locks in the same event", async (t) => {
  const world = aWorld();
  world.must(
    createTask({
      id: "a",
      title: "the title",
      assignee: "copilot",
      files: ["src/**"],
      workspace: "/w",
      timeoutMs: MINUTE,
    }),
  );
  world.must(createTask({ id: "b", title: "b", assignee: "gemini", files: ["docs"] }));
  world.must(createTask({ id: "c", title: "c", assignee: "claude" }));
  world.pass(5);
  const done = world.execute(dispatch({}));
  t.same(typesOf(done), ["session.started", "session.started", "session.started"]);
  const { dispatched } = done.ok ? done.answer : { dispatched: [] };
  const now = START + 5;
  t.strictSame(dispatched[0], {
    again: false,
    session: {
      id: "ses_000001",
      taskId: "a",
      taskTitle: "the title",
      agent: "copilot",
      attempt: 1,
      method: "cli",
      status: "starting",
      startedAt: now,
      deadlineAt: now + MINUTE,
      timeoutMs: MINUTE,
      stallTimeoutMs: 5 * MINUTE,
      startTimeoutMs: 0,
      exitGraceMs: 10_000,
      files: ["src/**"],
      workspace: "/w",
    },
  });
  t.match(dispatched[1], { session: { method: "ssh", deadlineAt: now + 30 * MINUTE } });
  t.match(dispatched[2], {
    session: { method: "sessions_spawn", handout: { times: 1, expiresAt: now + 10 * MINUTE } },
  });
  const lock = {
    taskId: "a",
    agent: "copilot",
    workspace: "/w",
    paths: ["src/**"],
    mode: "exclusive",
    acquiredAt: now,
  };
  t.strictSame(world.state.locks.byId.get("lock_ses_000001"), {
    id: "lock_ses_000001",
    sessionId: "ses_000001",
    ...lock,
    fence: 1,
  });
  t.equal(world.state.locks.byId.get("lock_ses_000002")?.fence, 2);
  t.equal(world.state.locks.byId.size, 2, "no files, no lock");
  for (const id of ["a", "b", "c"])
    t.match(world.task(id), { status: "in_progress", attempts: 1, version: 2, updatedAt: now });
  t.same(typesOf(world.execute(dispatch({}))), [], "what was started is not started again");
});

t.test("a task's own times take the place of its agent's", async (t) => {
  const world = aWorld();
  const own = { timeoutMs: 3000, stallTimeoutMs: 0, startTimeoutMs: 2000 };
  world.must(createTask({ id: "t1", title: "a", assignee: "copilot", ...own }));
  const { dispatched } = world.must(dispatch({}));
  t.match(dispatched[0]?.session, { ...own, deadlineAt: START + 3000 });
});

t.test("a hand-out counts its times and starts its time afresh", async (t) => {
  const world = aRunningWorld({ assignee: "claude" });
  world.pass(17 * MINUTE);
  const done = world.execute(dispatch({}));
  t.match(done, {
    ok: true,
    events: [
      { type: "session.handed_out", sessionId: world.sessionId, handout: { times: 2, expiresAt: START + 27 * MINUTE } },
    ],
  });
  t.match(world.session(world.sessionId), { status: "starting", handout: { times: 2 } });
  t.match(world.task("t1"), { attempts: 1 }, "it is no new attempt");
  t.equal(world.state.metrics.totalDispatched, 1, "and no new dispatch");
});

t.test("a paused agent gets nothing until it is resumed; asking twice is no mistake", async (t) => {
  const world = aWorld();
  world.must(createTask({ id: "a", title: "a", assignee: "copilot" }));
  t.same(typesOf(world.execute(pauseAgent("copilot", "why not"))), ["agent.paused"]);
  t.same(typesOf(world.execute(pauseAgent("copilot", "again"))), []);
  t.match(world.state.ledger.pauses.get("copilot"), { reason: "why not", pausedAt: START });
  t.throws(() => start(world, "a"), /AGENT_PAUSED.*why not/);
  t.same(typesOf(world.execute(resumeAgent("copilot"))), ["agent.resumed"]);
  t.same(typesOf(world.execute(resumeAgent("copilot"))), []);
  start(world, "a");
  t.equal(codeOf(world.execute(pauseAgent("nobody", ""))), "AGENT_NOT_FOUND");
  t.equal(codeOf(world.execute(resumeAgent("nobody"))), "AGENT_NOT_FOUND");
});
