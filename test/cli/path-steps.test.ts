import t from "tap";
import { type Expectation, judge } from "../../src/cli/path-steps.ts";
import type { Evidence } from "../../src/cli/path-test.ts";
import { session, taskWithHistory } from "./samples.ts";

const COMPLETED: Expectation = { status: "completed", result: "OK" };
const NONE = { dispatched: 3, completed: 2, failed: 1, cancelled: 0 };

const done = session({
  status: "completed",
  startedAt: "2026-11-22T11:00:00.000Z",
  completedAt: "2026-11-22T11:00:07.000Z",
  result: "OK",
  host: "vm",
  pid: 12,
  usage: { inputTokens: 10, outputTokens: 1 },
  cost: { usd: 0.5, basis: "measured", by: "program" },
});
const comment = {
  id: "com_1",
  author: "claude",
  content: "OK",
  createdAt: "2026-11-22T11:00:07.000Z",
  sessionId: done.id,
};

/** All as it should be, with these exceptions. */
function evidence(over: Partial<Evidence> = {}): Evidence {
  return {
    agent: "claude",
    taskId: "doctor-1",
    refused: null,
    session: done,
    looks: 4,
    looksWithLock: 4,
    locksLeft: [],
    task: taskWithHistory({ status: "done", comments: [comment] }),
    before: NONE,
    after: { ...NONE, dispatched: 4, completed: 3 },
    othersRan: false,
    log: [],
    trouble: null,
    leftBehind: null,
    ...over,
  };
}

t.test("where all is as it should be, every step is ok", async (t) => {
  t.same(
    judge(evidence(), COMPLETED).filter(({ state }) => state !== "ok"),
    [],
  );
  t.equal(judge(evidence(), COMPLETED).length, 10);
});

const failed = session({
  ...done,
  status: "failed",
  error: { code: "STALLED", class: "timed_out", message: "silent" },
});
const { pid: _, ...pidless } = failed;
const table: [name: string, over: Partial<Evidence>, step: string, state: string, message: RegExp][] = [
  [
    "no session",
    { session: null, refused: ["it is paused"] },
    "dispatched",
    "fail",
    /nothing was started: it is paused/,
  ],
  ["no answer", { session: null, trouble: "nothing listens" }, "dispatched", "fail", /nothing listens/],
  ["no program", { session: pidless }, "started", "fail", /never ran/],
  ["another end", { session: failed }, "ended", "fail", /failed after 7 s: STALLED \(timed_out\): silent; look what/],
  ["no result", { session: { ...done, result: " \n" } }, "result", "fail", /nothing was read/],
  ["another result", { session: { ...done, result: "No.\nNo." } }, "result", "warn", /read "No\. No\."/],
  ["no comment", { task: taskWithHistory({ status: "done" }) }, "comment", "fail", /no comment by claude/],
  [
    "a comment of another session",
    { task: taskWithHistory({ status: "done", comments: [{ ...comment, sessionId: "ses_0" }] }) },
    "comment",
    "fail",
    /no comment by claude/,
  ],
  [
    "a task that is not done",
    { task: taskWithHistory({ comments: [comment] }) },
    "task",
    "fail",
    /in todo, not in done/,
  ],
  [
    "a failed task that would be tried again",
    { session: failed, task: taskWithHistory({ comments: [comment] }) },
    "task",
    "fail",
    /in todo, not held in todo/,
  ],
  ["a lock that stays", { locksLeft: ["a/**"] }, "lock", "fail", /still held after the end: a/],
  ["a lock that was not always held", { looksWithLock: 3 }, "lock", "fail", /in only 3 of 4 looks/],
  ["a session that nobody saw", { looks: 0, looksWithLock: 0 }, "lock", "warn", /over before it could be seen/],
  ["a count too few", { after: NONE }, "metrics", "fail", /0 more dispatched, 0 more completed/],
  ["a count too many", { after: { ...NONE, dispatched: 5, completed: 3 } }, "metrics", "fail", /2 more dispatched/],
  [
    "a count with those of others",
    { after: { ...NONE, dispatched: 5, completed: 3 }, othersRan: true },
    "metrics",
    "ok",
    /other sessions of claude were at work/,
  ],
  ["no cost", { session: { ...done, cost: { usd: null, basis: "unknown" } } }, "cost", "warn", /the cost is unknown/],
  ["a task that stays", { leftBehind: "it is still there" }, "removed", "fail", /it is still there/],
];
for (const [name, over, step, state, message] of table) {
  t.test(`${name}: ${step} is ${state}`, async (t) => {
    const steps = judge(evidence(over), COMPLETED);
    t.match(
      steps.find((one) => one.step === step),
      { state, message },
    );
  });
}

t.test("a failure that is expected is no failure, and is told of without advice", async (t) => {
  const over = { session: failed, task: taskWithHistory({ comments: [comment], hold: { code: "X", message: "x" } }) };
  const steps = judge(evidence({ ...over, after: { ...NONE, dispatched: 4, failed: 2 } }), { status: "failed" });
  t.same(
    steps.filter(({ state }) => state !== "ok"),
    [],
  );
  t.match(
    steps.find(({ step }) => step === "ended"),
    { message: /^failed after 7 s, as it should: STALLED \(timed_out\): silent$/ },
  );
});
