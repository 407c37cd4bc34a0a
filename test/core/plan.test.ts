import { deepStrictEqual } from "node:assert/strict";
import fc from "fast-check";
import t from "tap";
import { pauseAgent } from "../../src/core/decide/agents.ts";
import { dispatch } from "../../src/core/decide/dispatch.ts";
import { acquireLock } from "../../src/core/decide/locks.ts";
import { callback } from "../../src/core/decide/report.ts";
import { cancelSession } from "../../src/core/decide/sessions.ts";
import { changeTask, createTask, deleteTask, type NewTask } from "../../src/core/decide/tasks.ts";
import type { Context } from "../../src/core/decision.ts";
import { conflicts } from "../../src/core/lock.ts";
import { claimOf, type Plan, type PlanOptions, plan, WAITING_SHOWN } from "../../src/core/plan.ts";
import type { TaskStatus } from "../../src/core/task.ts";
import { naivePlan } from "./naive-plan.ts";
import {
  aCreation,
  activeSessions,
  anyStep,
  aSimulation,
  idOf,
  type Simulation,
  type Step,
  take,
} from "./simulation.ts";
import { AGENTS, anAgent, aWorld, MINUTE, SECOND, START, start, type World } from "./world.ts";

type Fields = Partial<NewTask> & { readonly id: string };

function aBoard(tasks: readonly Fields[], settings: Partial<Context> = {}): World {
  const world = aWorld(settings);
  for (const task of tasks) create(world, task);
  return world;
}

function create(world: World, task: Fields): void {
  world.must(createTask({ title: `the task ${task.id}`, assignee: "copilot", ...task }));
}

const look = (world: World, options: PlanOptions = {}) => plan(world.state, world.context, options);
const startsOf = ({ starts }: Plan) => starts.map(({ task, agent }) => `${task.id} → ${agent.name}`);
const codesOf = ({ waiting }: Plan) =>
  Object.fromEntries(waiting.map(({ taskId, reasons }) => [taskId, reasons.map(({ code }) => code)]));
const agentsWith = (name: string, maxConcurrent: number) =>
  new Map(AGENTS.map((agent) => [agent.name, agent.name === name ? { ...agent, maxConcurrent } : agent]));

t.test("what can start now starts in order, with the agent that the task names", async (t) => {
  const world = aBoard([
    { id: "b" },
    { id: "a" },
    { id: "late", assignee: "gemini", dueDate: "2026-03-01" },
    { id: "soon", assignee: "claude", dueDate: "2026-02-01" },
    { id: "first", assignee: "gemini", priority: "urgent" },
  ]);
  const planned = look(world);
  t.same(startsOf(planned), ["first → gemini", "soon → claude", "late → gemini", "a → copilot", "b → copilot"]);
  t.same(planned.waiting, []);
  t.same(planned.byReason, {});
  t.equal(planned.waitingTotal, 0);
  t.equal(planned.validUntil, Number.POSITIVE_INFINITY);
});

t.test("only todo is ever started, and humans' tasks are neither started nor listed", async (t) => {
  const statuses: readonly TaskStatus[] = ["backlog", "planning", "review", "done"];
  const world = aBoard([
    ...statuses.map((status) => ({ id: status, status })),
    { id: "human", assignee: "diego" },
    { id: "hands", assignee: "diego", status: "in_progress" },
    { id: "jarvis", assignee: "jarvis" },
  ]);
  const planned = look(world);
  t.same(startsOf(planned), []);
  t.same(planned.waiting, []);
  t.equal(planned.waitingTotal, 0);
  t.same(look(world, { taskIds: ["human", "jarvis"] }).byReason, { HUMAN_ASSIGNEE: 2 });
});

t.test("each reason has its code, its facts and the time when it ends, where that is known", async (t) => {
  interface Case {
    readonly code: string;
    readonly fields?: Partial<NewTask>;
    readonly before?: (world: World) => void;
    readonly settings?: Partial<Context>;
    readonly options?: PlanOptions;
    readonly facts?: object;
    readonly message?: RegExp;
  }
  const busy = (world: World) => {
    create(world, { id: "other", files: ["src/**"], workspace: "/w" });
    start(world, "other");
  };
  const cases: readonly Case[] = [
    { code: "NO_SLOT", settings: { agents: agentsWith("copilot", 1) }, before: busy, message: /copilot has 1 of 1/ },
    { code: "GLOBAL_LIMIT", settings: { maxConcurrent: 1 }, before: busy, message: /1 of 1/ },
    {
      code: "LOCKED",
      fields: { files: ["src/a.ts"], workspace: "/w" },
      before: busy,
      facts: { heldBy: ["ses_000001"], until: undefined },
      message: /copilot on task other/,
    },
    {
      code: "LOCKED",
      fields: { files: ["lib/a.ts"], workspace: "/w" },
      before: (world) => {
        busy(world);
        world.must(acquireLock({ sessionId: "ses_000001", paths: ["lib"], mode: "shared", ttlMs: MINUTE }));
      },
      facts: { heldBy: ["ses_000001"], until: START + MINUTE },
    },
    {
      code: "RETRY_LATER",
      before: (world) => {
        start(world, "t");
        world.must(callback({ taskId: "t", status: "failed" }));
        world.happen({
          type: "session.ended",
          at: START,
          sessionId: "ses_000001",
          taskId: "t",
          agent: "copilot",
          exit: {},
          cost: { usd: null, basis: "unknown" },
        });
      },
      facts: { until: START + 7500 },
      message: /attempt 1 failed/,
    },
    {
      code: "ATTEMPTS_EXHAUSTED",
      fields: { maxAttempts: 1, assignee: "claude" },
      before: (world) => {
        start(world, "t");
        world.must(callback({ taskId: "t", status: "failed" }));
      },
      message: /1 of 1 attempts/,
    },
    {
      code: "HELD",
      fields: { assignee: "claude" },
      before: (world) => world.must(cancelSession(start(world, "t"), "Diego")),
      message: /cancelled by Diego/,
    },
    { code: "NO_ISOLATION", fields: { isolation: "worktree", assignee: "gemini" }, message: /no worktree can be made/ },
    {
      code: "NO_ISOLATION",
      fields: { isolation: "worktree", assignee: "auto" },
      settings: { agents: new Map(AGENTS.filter(({ canIsolate }) => !canIsolate).map((one) => [one.name, one])) },
    },
    { code: "HELD", fields: { hold: { code: "MANUAL", message: "wait" } }, message: /wait/ },
    { code: "DEPENDENCY", fields: { dependsOn: ["x"] }, facts: { heldBy: ["x"] }, message: /x \(does not exist\)/ },
    {
      code: "DEPENDENCY",
      fields: { dependsOn: ["d", "r"] },
      before: (world) => {
        create(world, { id: "d", status: "done" });
        create(world, { id: "r", status: "review" });
      },
      facts: { heldBy: ["r"] },
      message: /waits for r \(review\) to be done/,
    },
    {
      code: "AGENT_UNAVAILABLE",
      before: (world) => world.unavailable.set("copilot", { reason: "copilot is not installed", noticedAt: START }),
      message: /copilot is not installed/,
    },
    {
      code: "AGENT_PAUSED",
      before: (world) => world.must(pauseAgent("copilot", "it costs too much")),
      message: /it costs too much/,
    },
    { code: "UNKNOWN_AGENT", fields: { assignee: "nobody" }, message: /nobody/ },
    { code: "UNKNOWN_AGENT", fields: { assignee: "auto" }, settings: { agents: new Map() } },
    { code: "UNKNOWN_AGENT", fields: { assignee: "jarvis" }, settings: { humans: new Set() } },
    { code: "HUMAN_ASSIGNEE", fields: { assignee: "diego" }, options: { taskIds: ["t"] }, message: /diego/ },
    { code: "NOT_TODO", fields: { status: "review" }, options: { taskIds: ["t"] }, message: /review/ },
    { code: "NOT_TODO", fields: { status: "in_progress", assignee: "diego" }, options: { taskIds: ["t"] } },
    {
      code: "ALREADY_RUNNING",
      before: (world) => void start(world, "t"),
      options: { taskIds: ["t"] },
      facts: { heldBy: ["ses_000001"] },
    },
    {
      code: "ALREADY_RUNNING",
      before: (world) => {
        start(world, "t");
        world.must(changeTask({ taskId: "t", changes: { status: "todo" } }));
      },
      message: /still stopping/,
    },
    { code: "LIMIT", options: { limit: 0 }, message: /limit of 0/ },
    { code: "LIMIT", fields: { assignee: "claude" }, options: { unattended: true }, message: /heartbeat/ },
  ];
  for (const { code, fields, before, settings, options, facts, message } of cases) {
    const world = aBoard([{ id: "t", ...fields }], settings);
    before?.(world);
    const planned = look(world, options);
    const waiting = planned.waiting.find(({ taskId }) => taskId === "t");
    t.same(codesOf(planned)["t"], [code], code);
    t.match(waiting?.reasons[0], { message: message ?? /./, ...facts }, `${code}: what it says`);
    t.equal(planned.byReason[code as keyof Plan["byReason"]], 1, `${code}: counted`);
    t.equal(waiting?.agent, fields?.assignee ?? "copilot");
  }
});

t.test("a task says everything that stands against it, not only the first", async (t) => {
  const world = aBoard(
    [
      { id: "other", files: ["src/**"] },
      { id: "t", files: ["src/a.ts"], dependsOn: ["x"] },
    ],
    { agents: agentsWith("copilot", 1), maxConcurrent: 1 },
  );
  start(world, "other");
  world.must(pauseAgent("copilot", "no"));
  world.unavailable.set("copilot", { reason: "gone", noticedAt: START });
  world.happen({
    type: "task.changed",
    at: START,
    taskId: "t",
    changes: { hold: { code: "X", message: "x" }, retryAt: START + 5, attempts: 1 },
  });
  t.same(codesOf(look(world)), {
    t: ["HELD", "RETRY_LATER", "DEPENDENCY", "LOCKED", "AGENT_PAUSED", "AGENT_UNAVAILABLE", "NO_SLOT", "GLOBAL_LIMIT"],
  });
});

t.test("no agent gets more sessions than it has slots, and all together no more than the limit for all", async (t) => {
  const tasks = ["copilot", "gemini", "claude"].flatMap((assignee) =>
    [1, 2, 3].map((n) => ({ id: `${n}-${assignee}`, assignee })),
  );
  t.same(startsOf(look(aBoard(tasks))), [
    "1-claude → claude",
    "1-copilot → copilot",
    "1-gemini → gemini",
    "2-claude → claude",
    "2-copilot → copilot",
    "2-gemini → gemini",
  ]);
  const few = look(aBoard(tasks, { maxConcurrent: 4 }));
  t.same(startsOf(few).length, 4);
  t.same(codesOf(few), {
    "2-copilot": ["GLOBAL_LIMIT"],
    "2-gemini": ["GLOBAL_LIMIT"],
    "3-claude": ["NO_SLOT", "GLOBAL_LIMIT"],
    "3-copilot": ["GLOBAL_LIMIT"],
    "3-gemini": ["GLOBAL_LIMIT"],
  });
});

t.test(
  "a slot that is full early tells the tasks behind it also of the limit for all that is reached later",
  async (t) => {
    const world = aBoard([{ id: "1" }, { id: "2" }, { id: "3", assignee: "gemini" }, { id: "4" }], {
      agents: agentsWith("copilot", 1),
      maxConcurrent: 2,
    });
    t.same(codesOf(look(world)), { "2": ["NO_SLOT"], "4": ["NO_SLOT", "GLOBAL_LIMIT"] });
    t.same(
      look(world, { waitingMax: 1 }).byReason,
      { NO_SLOT: 2, GLOBAL_LIMIT: 1 },
      "also where tasks are only counted",
    );
  },
);

t.test("a stopping session keeps its slot and its task, but not the other tasks of its agent", async (t) => {
  const world = aBoard([{ id: "1" }, { id: "2" }, { id: "3" }]);
  start(world, "1");
  world.must(changeTask({ taskId: "1", changes: { status: "todo" } }));
  const planned = look(world);
  t.same(startsOf(planned), ["2 → copilot"]);
  t.same(codesOf(planned), { "1": ["ALREADY_RUNNING"], "3": ["NO_SLOT"] });
});

t.test("tasks that would touch the same files do not start in the same plan", async (t) => {
  const world = aBoard([
    { id: "1", files: ["src/**"], workspace: "/w" },
    { id: "2", files: ["src/a.ts"], workspace: "/w" },
    { id: "3", files: ["src/a.ts"], workspace: "/v", assignee: "gemini" },
    { id: "4", files: ["lib/*.ts"], workspace: "/w" },
    { id: "5", files: ["w/lib/x.ts"], workspace: "/", assignee: "gemini" },
  ]);
  const planned = look(world);
  t.same(startsOf(planned), ["1 → copilot", "3 → gemini", "4 → copilot"]);
  t.same(codesOf(planned), { "2": ["LOCKED"], "5": ["LOCKED"] });
  t.match(planned.waiting[0]?.reasons[0], { heldBy: ["1"], message: /task 1, which goes first/ });
});

t.test("a workspace inside another one is the same files", async (t) => {
  const world = aBoard([
    { id: "1", files: ["app/src/**"], workspace: "/w" },
    { id: "2", files: ["src/a.ts"], workspace: "/w/app", assignee: "gemini" },
    { id: "3", files: ["src/a.ts"], workspace: "/w/application", assignee: "gemini" },
    { id: "4", files: ["**"], workspace: "/w/app/src/deep", assignee: "claude" },
    { id: "5", files: ["src/a.ts"], workspace: null },
    { id: "6", files: ["deep/x"], workspace: "/v/[id]", assignee: "claude" },
    { id: "7", files: ["[!x]id]/deep"], workspace: "/v", assignee: "claude" },
  ]);
  t.same(codesOf(look(world)), { "2": ["LOCKED"], "4": ["LOCKED"], "7": ["LOCKED"] });
  world.must(dispatch({}));
  t.same(codesOf(look(world)), { "2": ["LOCKED"], "4": ["LOCKED"], "7": ["LOCKED"] }, "held or planned is the same");
});

t.test("a workspace in the home is the same by either name, for locks", async (t) => {
  const world = aBoard([
    { id: "1", files: ["x"], workspace: "~/p" },
    { id: "2", files: ["p/x"], workspace: "/home/me", assignee: "gemini" },
    { id: "3", files: ["p/y"], workspace: "~", assignee: "gemini" },
  ]);
  t.same(codesOf(look(world)), { "2": ["LOCKED"] });
  world.must(dispatch({}));
  t.same(codesOf(look(world)), { "2": ["LOCKED"] });
  const session = world.state.sessions.activeByTask.get("3")?.id ?? "";
  t.equal(world.state.sessions.byId.get(session)?.workspace, "~", "the agent's host has a home of its own");
  const asked = acquireLock({ sessionId: session, paths: ["p/x"], mode: "shared" });
  t.match(world.execute(asked), { ok: false, refusal: { code: "LOCKED" } });
});

t.test("whatever is locked and wherever, a task waits if and only if its files conflict with it", async (t) => {
  const workspace = fc.constantFrom("/", "/w", "/w/a", "/w/a/b", "/w/[a]", "/v");
  const file = fc.constantFrom(
    "**",
    "a",
    "a/b",
    "a/*",
    "b/**",
    "*.ts",
    "a.ts",
    "w/a/x.ts",
    "?/b/x.ts",
    "a/b/x.ts",
    "x.ts",
  );
  const claim = fc.record({ workspace, files: fc.uniqueArray(file, { minLength: 1, maxLength: 3 }) });
  let locked = 0;
  fc.assert(
    fc.property(fc.array(claim, { minLength: 1, maxLength: 4 }), claim, (held, asked) => {
      const world = aBoard(held.map((one, n) => ({ ...one, id: `h${n}` })));
      world.must(dispatch({}));
      const locks = [...world.state.locks.byId.values()];
      world.must(createTask({ id: "asked", title: "asked", assignee: "gemini", ...asked }));
      const task = world.state.tasks.byId.get("asked");
      if (task === undefined) return false;
      const expected = locks.some((lock) => conflicts(lock, claimOf(task, world.context.home)));
      if (expected) locked++;
      return (codesOf(look(world))["asked"] ?? []).includes("LOCKED") === expected;
    }),
    { numRuns: 600 },
  );
  t.ok(locked > 100 && locked < 500, `${locked} of 600 were locked`);
});

t.test("a dependency is met when it is done, archived or not; a missing one never is", async (t) => {
  const world = aBoard([
    { id: "done", status: "done" },
    { id: "open", assignee: "diego" },
    { id: "1", dependsOn: ["done"] },
    { id: "2", dependsOn: ["done", "open"] },
    { id: "3", dependsOn: ["put away"], assignee: "gemini" },
    { id: "4", dependsOn: ["never was"], assignee: "gemini" },
  ]);
  world.archived.add("put away");
  t.same(startsOf(look(world)), ["1 → copilot", "3 → gemini"]);
  t.same(codesOf(look(world)), { "2": ["DEPENDENCY"], "4": ["DEPENDENCY"] });
  world.must(changeTask({ taskId: "open", changes: { status: "done" } }));
  t.same(startsOf(look(world)), ["1 → copilot", "2 → copilot", "3 → gemini"]);
  world.must(deleteTask("done"));
  t.same(codesOf(look(world)), { "1": ["DEPENDENCY"], "2": ["DEPENDENCY"], "4": ["DEPENDENCY"] });
});

t.test("an auto task goes to the cheapest able agent with room, and waits for what stops all of them", async (t) => {
  const auto = (id: string, labels: readonly string[] = []) => ({ id, assignee: "auto", labels });
  const world = aBoard([1, 2, 3, 4, 5, 6, 7].map((n) => auto(String(n))));
  t.same(startsOf(look(world)), ["1 → gemini", "2 → gemini", "3 → copilot", "4 → copilot", "5 → claude", "6 → claude"]);
  t.same(codesOf(look(world)), { "7": ["NO_SLOT"] });
  const coding = aBoard([auto("1", ["coding"])]);
  t.same(startsOf(look(coding)), ["1 → copilot"]);
  coding.must(pauseAgent("copilot", "no"));
  t.same(startsOf(look(coding)), ["1 → claude"]);
  coding.unavailable.set("claude", { reason: "no", noticedAt: START });
  t.same(codesOf(look(coding)), { "1": ["AGENT_PAUSED", "AGENT_UNAVAILABLE"] });
});

t.test("with nobody there to take a spawn, an auto task goes to an agent that can be started, or waits", async (t) => {
  const auto = (id: string, labels: readonly string[] = []) => ({ id, assignee: "auto", labels });
  const unattended = { unattended: true };
  const agents = new Map(
    AGENTS.map((agent) => [agent.name, agent.name === "claude" ? { ...agent, costMultiplier: 0 } : agent]),
  );
  const world = aBoard([auto("1"), auto("2", ["coding"]), auto("3", ["git"]), auto("4", ["git"])], { agents });
  t.same(startsOf(look(world)), ["1 → claude", "2 → claude", "3 → copilot", "4 → copilot"]);
  t.same(startsOf(look(world, unattended)), ["1 → gemini", "2 → copilot", "3 → copilot"]);
  t.same(codesOf(look(world, unattended)), { "4": ["NO_SLOT"] });
  world.must(pauseAgent("copilot", "no"));
  t.same(codesOf(look(world, unattended)), { "2": ["AGENT_PAUSED"], "3": ["AGENT_PAUSED"], "4": ["AGENT_PAUSED"] });
  const only = new Map([...agents].filter(([name]) => name === "claude"));
  const spawns = aBoard([auto("1")], { agents: only });
  t.same(startsOf(look(spawns)), ["1 → claude"]);
  t.same(codesOf(look(spawns, unattended)), { "1": ["LIMIT"] }, "left to the next heartbeat");
  t.match(look(spawns, unattended).waiting[0]?.reasons[0]?.message, /heartbeat/);
});

t.test("a limit lets so many start, hand-outs included; the next ones are skipped for it", async (t) => {
  const world = aBoard([{ id: "1", assignee: "claude" }, { id: "2" }, { id: "3" }, { id: "4", assignee: "gemini" }]);
  start(world, "1");
  world.pass(10 * MINUTE);
  const planned = look(world, { limit: 2 });
  t.same(
    planned.again.map(({ taskId }) => taskId),
    ["1"],
  );
  t.same(startsOf(planned), ["2 → copilot"]);
  t.same(codesOf(planned), { "3": ["LIMIT"], "4": ["LIMIT"] });
  t.same(look(world, { limit: 0 }).again, []);
});

t.test("named tasks are started or skipped, every one of them, in order, once", async (t) => {
  const many = Array.from({ length: 30 }, (_, n) => ({ id: `m${String(n).padStart(2, "0")}`, assignee: "gemini" }));
  const world = aBoard([
    ...many,
    { id: "2" },
    { id: "1" },
    { id: "done", status: "done" },
    { id: "running", assignee: "claude" },
  ]);
  start(world, "running");
  world.archived.add("put away");
  const planned = look(world, { taskIds: ["2", "ghost", "done", "1", "running", "2", "put away", "ghost"] });
  t.same(startsOf(planned), ["1 → copilot", "2 → copilot"]);
  t.same(codesOf(planned), {
    ghost: ["TASK_NOT_FOUND"],
    done: ["NOT_TODO"],
    running: ["ALREADY_RUNNING"],
    "put away": ["NOT_TODO"],
  });
  t.equal(planned.waitingTotal, 4);
  const all = look(world, { taskIds: many.map(({ id }) => id) });
  t.equal(all.starts.length + all.waiting.length, 30, "none is left out");
  t.same(look(world, { taskIds: [] }).starts, [], "an empty list names none");
});

t.test("a task that is over is not to do, even while its program is still stopping", async (t) => {
  const world = aBoard([{ id: "t" }]);
  start(world, "t");
  world.must(callback({ taskId: "t", status: "completed", result: "done" }));
  t.same(codesOf(look(world, { taskIds: ["t"] })), { t: ["NOT_TODO"] });
});

t.test("a spawn that nobody claims is handed out again when its time is over, three times in all", async (t) => {
  const world = aBoard([{ id: "t", assignee: "claude" }]);
  const id = start(world, "t");
  t.equal(look(world).validUntil, START + 10 * MINUTE);
  for (const times of [2, 3]) {
    t.same(look(world).again, [], "not before");
    world.pass(10 * MINUTE);
    t.same(
      look(world).again.map((session) => session.id),
      [id],
    );
    t.same(look(world, { unattended: true }).again, [], "only a heartbeat can take it");
    t.same(look(world, { taskIds: ["other"] }).again, [], "not when others are named");
    t.same(look(world, { taskIds: ["t"] }).waitingTotal, 0);
    const { dispatched } = world.must(dispatch({ taskIds: ["t"] }));
    t.match(dispatched, [{ again: true, session: { id, attempt: 1, handout: { times } } }]);
  }
  world.pass(10 * MINUTE);
  t.same(look(world).again, [], "not a fourth time");
});

t.test("a plan is good until the first of its times is over", async (t) => {
  const world = aBoard([{ id: "holder", files: ["lib"] }, { id: "failed" }, { id: "spawn", assignee: "claude" }]);
  const holder = start(world, "holder");
  world.must(acquireLock({ sessionId: holder, paths: ["docs"], mode: "exclusive", ttlMs: 8 * SECOND }));
  t.equal(look(world).validUntil, Number.POSITIVE_INFINITY, "a lock that stops nobody does not count");
  start(world, "spawn");
  t.equal(look(world).validUntil, START + 10 * MINUTE);
  create(world, { id: "wants docs", files: ["docs/a.md"], assignee: "gemini" });
  t.equal(look(world).validUntil, START + 8 * SECOND);
  start(world, "failed");
  world.must(callback({ taskId: "failed", status: "failed" }));
  t.equal(look(world).validUntil, START + 7500);
  world.pass(7500);
  t.equal(look(world).validUntil, START + 8 * SECOND, "a time that is over does not count");
  world.pass(500);
  t.same(
    startsOf(look(world)),
    ["wants docs → gemini"],
    "a lock that ran out holds nothing, its release recorded or not",
  );
});

t.test("so many waiting tasks are named, and all are counted", async (t) => {
  const world = aBoard(
    Array.from({ length: 500 }, (_, n) => ({
      id: `t${String(n).padStart(3, "0")}`,
      ...(n % 5 === 0 ? { files: [`f${n}`] } : {}),
    })),
  );
  const planned = look(world);
  t.equal(planned.starts.length, 2);
  t.equal(planned.waiting.length, WAITING_SHOWN);
  t.equal(planned.waitingTotal, 498);
  t.same(planned.byReason, { NO_SLOT: 498 });
  t.same(
    planned.waiting.map(({ taskId }) => taskId),
    Array.from({ length: 20 }, (_, n) => `t${String(n + 2).padStart(3, "0")}`),
  );
});

const MANY = 60;
/** Most tasks wait for nothing but their agent: those are the ones that are counted without a look at each. */
const creation = fc
  .tuple(aCreation(MANY), fc.integer({ min: 0, max: 3 }), fc.constantFrom("copilot", "gemini"))
  .map(([made, kind, assignee]) =>
    kind === 0 ? made : { ...made, assignee, status: "todo" as const, files: [], dependsOn: [] },
  );
const life = fc
  .tuple(
    fc.array(creation, { maxLength: 80, size: "max" }),
    fc.array(anyStep(MANY, { create: 20, others: 1 }), { maxLength: 60, size: "max" }),
    fc.array(creation, { maxLength: 20 }),
    // Who takes running tasks back leaves tasks that are to do and whose session is still stopping.
    fc.array(fc.record({ kind: fc.constant("take back" as const), nth: fc.nat({ max: 3 }) }), { maxLength: 3 }),
  )
  .map((parts) => parts.flat());

function liveUpTo(steps: readonly (Step | { readonly kind: "take back"; readonly nth: number })[]): Simulation {
  const sim = aSimulation();
  for (const step of steps) {
    if (step.kind !== "take back") {
      take(sim, step);
      continue;
    }
    sim.execute(dispatch({ limit: 2 }));
    const running = activeSessions(sim).filter(({ status }) => status !== "stopping");
    const taskId = running[step.nth % Math.max(1, running.length)]?.taskId;
    if (taskId !== undefined) sim.must(changeTask({ taskId, changes: { status: "todo" } }));
  }
  return sim;
}

const options = fc
  .record(
    {
      taskIds: fc.option(fc.array(fc.nat({ max: MANY }).map(idOf), { maxLength: 40 }), { nil: undefined, freq: 2 }),
      limit: fc.option(fc.nat({ max: 4 }), { nil: undefined }),
      unattended: fc.boolean(),
      waitingMax: fc.option(fc.nat({ max: 25 }), { nil: undefined }),
    },
    { noNullPrototype: true },
  )
  .map((options) => (options.taskIds === undefined ? options : { ...options, waitingMax: undefined }));
const slots = fc.record(
  { all: fc.nat({ max: 12 }), copilot: fc.nat({ max: 5 }), gemini: fc.nat({ max: 5 }) },
  { noNullPrototype: true },
);

t.test("the plan is what looking at every task one by one would give", async (t) => {
  let counted = 0;
  let bulk = 0;
  fc.assert(
    fc.property(life, options, slots, (steps, options, slots) => {
      const sim = liveUpTo(steps);
      sim.context.maxConcurrent = slots.all;
      sim.context.agents = new Map(
        [...sim.context.agents].map(([name, agent]) => [
          name,
          anAgent({ ...agent, maxConcurrent: slots[name as "gemini"] ?? agent.maxConcurrent }),
        ]),
      );
      const planned = plan(sim.state, sim.context, options);
      const naive = naivePlan(sim.state, sim.context, options);
      const shown = options.waitingMax ?? (options.taskIds === undefined ? WAITING_SHOWN : Number.POSITIVE_INFINITY);
      const told = planned.waiting.map(({ taskId, reasons }) => ({ taskId, codes: reasons.map(({ code }) => code) }));
      counted++;
      if (naive.waiting.length > told.length) bulk++;
      deepStrictEqual(
        {
          again: planned.again.map(({ id }) => id),
          starts: startsOf(planned),
          waiting: told,
          waitingTotal: planned.waitingTotal,
          byReason: planned.byReason,
          validUntil: planned.validUntil,
        },
        {
          again: naive.again,
          starts: naive.starts,
          waiting: naive.waiting.slice(0, shown),
          waitingTotal: naive.waiting.length,
          byReason: naive.byReason,
          validUntil: naive.validUntil,
        },
      );
    }),
    { numRuns: 1000 },
  );
  t.ok(bulk > 100, `${counted} plans, ${bulk} of them with more waiting than shown`);
});

t.test("a dry run is the dispatch that follows", async (t) => {
  fc.assert(
    fc.property(life, options, (steps, options) => {
      const sim = liveUpTo(steps);
      const planned = plan(sim.state, sim.context, options);
      const { dispatched, skipped } = sim.must(dispatch(options));
      const handedOut = dispatched.filter(({ again }) => again).map(({ session }) => session.id);
      const started = dispatched
        .filter(({ again }) => !again)
        .map(({ session }) => `${session.taskId} → ${session.agent}`);
      deepStrictEqual(
        handedOut,
        planned.again.map(({ id }) => id),
      );
      deepStrictEqual(started, startsOf(planned));
      deepStrictEqual(skipped, planned.waiting);
      const again = sim.must(dispatch(options)).dispatched;
      deepStrictEqual(
        again.filter(({ session }) => dispatched.some((first) => first.session.taskId === session.taskId)),
        [],
        "no task starts twice",
      );
    }),
    { numRuns: 200 },
  );
  t.pass();
});
