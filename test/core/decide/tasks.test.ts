import fc from "fast-check";
import t from "tap";
import { callback, runEnded } from "../../../src/core/decide/report.ts";
import { archive, cancelSession } from "../../../src/core/decide/sessions.ts";
import { addComment, changeTask, createTask, deleteTask } from "../../../src/core/decide/tasks.ts";
import { hasRun, isActive } from "../../../src/core/session.ts";
import type { Task, TaskChanges, TaskStatus } from "../../../src/core/task.ts";
import { aRunningWorld, aTask, aWorld, codeOf, MINUTE, START, start, typesOf, type World } from "../world.ts";

function leave(world: World, sessionId: string): void {
  world.must(runEnded({ sessionId, exit: { signal: "SIGTERM" }, outcome: { status: "failed" } }));
}

t.test("a task that only has a title gets the defaults", async (t) => {
  const world = aWorld();
  const task = world.must(createTask({ title: "write it down" }));
  t.strictSame(task, aTask({ id: "task_000001", title: "write it down", assignee: "jarvis" }));
  t.equal(world.task(task.id), task);
});

t.test("a task keeps every field that it was given, and its own id", async (t) => {
  const world = aWorld();
  const given = {
    id: "my-task",
    title: "t",
    description: "d",
    status: "backlog",
    priority: "urgent",
    assignee: "auto",
    labels: ["x"],
    project: "p",
    dependsOn: ["later"],
    files: ["src/**"],
    workspace: "/w",
    dueDate: "2026-02-01",
    estimate: "2h",
    requiresReview: true,
    maxAttempts: 5,
    timeoutMs: MINUTE,
    hold: { code: "MANUAL", message: "wait" },
  } as const;
  t.match(world.must(createTask(given)), given);
});

t.test("an id is given once, archived tasks included", async (t) => {
  const world = aWorld();
  world.must(createTask({ id: "a", title: "a" }));
  world.archived.add("old");
  t.equal(codeOf(world.execute(createTask({ id: "a", title: "again" }))), "TASK_EXISTS");
  t.equal(codeOf(world.execute(createTask({ id: "old", title: "again" }))), "TASK_EXISTS");
  t.equal(world.task("a").title, "a", "a refusal changes nothing");
});

t.test("in_progress by hand is for humans' tasks only", async (t) => {
  const world = aWorld();
  t.equal(
    codeOf(world.execute(createTask({ title: "x", assignee: "copilot", status: "in_progress" }))),
    "STATUS_NOT_ALLOWED",
  );
  t.equal(
    codeOf(world.execute(createTask({ title: "x", assignee: "auto", status: "in_progress" }))),
    "STATUS_NOT_ALLOWED",
  );
  t.equal(codeOf(world.execute(createTask({ id: "h", title: "x", assignee: "diego", status: "in_progress" }))), "ok");
  world.must(createTask({ id: "a", title: "x", assignee: "copilot" }));
  const change = (taskId: string, changes: TaskChanges) => codeOf(world.execute(changeTask({ taskId, changes })));
  t.equal(change("a", { status: "in_progress" }), "STATUS_NOT_ALLOWED");
  t.equal(change("a", { status: "in_progress", assignee: "gemini" }), "STATUS_NOT_ALLOWED");
  t.equal(change("h", { title: "y" }), "ok", "a human's task in progress can be changed");
  t.equal(change("h", { assignee: "copilot" }), "STATUS_NOT_ALLOWED", "but not handed to an agent as it is");
  t.equal(change("h", { assignee: "copilot", status: "todo" }), "ok");
  t.equal(change("a", { status: "in_progress", assignee: "diego" }), "ok");
});

t.test("a task in progress whose session is stopping already cannot be handed to an agent", async (t) => {
  const world = aRunningWorld();
  const change = (changes: TaskChanges) => codeOf(world.execute(changeTask({ taskId: "t1", changes })));
  t.equal(change({ status: "todo" }), "ok");
  t.equal(change({ status: "in_progress", assignee: "diego" }), "ok", "a human takes it while the program stops");
  t.equal(change({ assignee: "gemini" }), "STATUS_NOT_ALLOWED", "or it would be in progress for ever");
  leave(world, world.sessionId);
  t.equal(world.task("t1").status, "in_progress");
});

t.test("a task in progress can be changed, its assignee too, and its session goes on", async (t) => {
  const world = aRunningWorld();
  for (const changes of [
    { title: "better" },
    { assignee: "gemini" },
    { assignee: "diego" },
    { status: "in_progress" as const },
  ]) {
    t.equal(codeOf(world.execute(changeTask({ taskId: "t1", changes }))), "ok");
    t.equal(world.session(world.sessionId).status, "starting");
    t.equal(world.task("t1").status, "in_progress");
  }
});

t.test("every change counts one version and is refused when the caller saw another one", async (t) => {
  const world = aWorld();
  world.must(createTask({ id: "a", title: "1" }));
  world.pass(5);
  t.match(world.must(changeTask({ taskId: "a", changes: { title: "2" }, ifVersion: 1 })), {
    version: 2,
    updatedAt: START + 5,
    createdAt: START,
  });
  const stale = world.execute(changeTask({ taskId: "a", changes: { title: "3" }, ifVersion: 1 }));
  t.match(stale, { ok: false, refusal: { code: "STALE_VERSION", facts: { version: 2 } } });
  t.equal(world.task("a").title, "2");
  world.must(addComment({ taskId: "a", author: "diego", content: "hm" }));
  t.equal(world.task("a").version, 2, "a comment is no change of the task");
});

t.test("fields that are not named stay, and null clears", async (t) => {
  const world = aWorld();
  const before = world.must(createTask({ id: "a", title: "1", dueDate: "2026-02-01", labels: ["x"], workspace: "/w" }));
  const after = world.must(changeTask({ taskId: "a", changes: { dueDate: null } }));
  t.strictSame({ ...after, version: 1 }, { ...before, dueDate: null });
});

t.test("who is not there cannot be changed, deleted or commented on", async (t) => {
  const world = aWorld();
  t.equal(codeOf(world.execute(changeTask({ taskId: "x", changes: {} }))), "TASK_NOT_FOUND");
  t.equal(codeOf(world.execute(deleteTask("x"))), "TASK_NOT_FOUND");
  t.equal(codeOf(world.execute(addComment({ taskId: "x", author: "a", content: "b" }))), "TASK_NOT_FOUND");
});

t.test("tasks cannot wait for each other", async (t) => {
  const world = aWorld();
  const create = (id: string, dependsOn: readonly string[]) => world.execute(createTask({ id, title: id, dependsOn }));
  t.match(create("self", ["self"]), {
    ok: false,
    refusal: { code: "DEPENDENCY_CYCLE", facts: { cycle: ["self", "self"] } },
  });
  create("a", ["b"]);
  create("b", ["c", "d"]);
  t.match(
    create("c", ["a"]),
    { ok: false, refusal: { code: "DEPENDENCY_CYCLE", facts: { cycle: ["c", "a", "b", "c"] } } },
    "a dependency may be made later",
  );
  t.equal(codeOf(create("c", [])), "ok");
  create("d", ["c"]);
  const change = (taskId: string, dependsOn: readonly string[]) =>
    world.execute(changeTask({ taskId, changes: { dependsOn } }));
  t.match(change("c", ["a"]), { ok: false, refusal: { code: "DEPENDENCY_CYCLE", message: /c → a → b → (d → )?c$/ } });
  t.equal(codeOf(change("c", ["unknown"])), "ok");
  t.equal(codeOf(change("b", ["d"])), "ok", "the same dependency by fewer ways");
});

t.test("a task that comes back from the archive cannot close a circle either", async (t) => {
  const world = aWorld();
  world.archived.add("old");
  world.must(createTask({ id: "new", title: "new", dependsOn: ["old"] }));
  const archived = aTask({ id: "old", status: "done", dependsOn: ["new"] });
  const back = world.execute(changeTask({ taskId: "old", changes: { status: "todo" }, archived }));
  t.equal(codeOf(back), "DEPENDENCY_CYCLE");
});

t.test("a cycle is refused if and only if there is one", async (t) => {
  const step = fc.record({ task: fc.nat({ max: 6 }), dependsOn: fc.array(fc.nat({ max: 6 }), { maxLength: 3 }) });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 25, size: "max" }), (steps) => {
      const world = aWorld();
      const edges = new Map<string, readonly string[]>();
      const reaches = (from: string, to: string, over = new Set<string>()): boolean =>
        (edges.get(from) ?? []).some((next) => next === to || (!over.has(next) && reaches(next, to, over.add(next))));
      for (const step of steps) {
        const id = `t${step.task}`;
        const dependsOn = step.dependsOn.map((n) => `t${n}`);
        const before = edges.get(id);
        edges.set(id, dependsOn);
        const cyclic = reaches(id, id);
        const done = world.state.tasks.byId.has(id)
          ? world.execute(changeTask({ taskId: id, changes: { dependsOn } }))
          : world.execute(createTask({ id, title: id, dependsOn }));
        if (cyclic !== (codeOf(done) === "DEPENDENCY_CYCLE")) return false;
        if (cyclic && before === undefined) edges.delete(id);
        else if (cyclic) edges.set(id, before ?? []);
      }
      return true;
    }),
    { numRuns: 300 },
  );
  t.pass();
});

t.test("moving a running task asks its session to stop at once, and the person's status stands", async (t) => {
  const statuses: readonly TaskStatus[] = ["backlog", "planning", "todo", "review", "done"];
  for (const status of statuses) {
    const world = aRunningWorld({ files: ["src/**"] });
    world.pass(MINUTE);
    const moved = world.execute(changeTask({ taskId: "t1", changes: { status } }));
    t.same(typesOf(moved), ["task.changed", "session.settled"], status);
    const expected = {
      status: "stopping",
      stopAt: START + MINUTE,
      outcome: { status: "cancelled", error: { code: "TASK_MOVED" } },
    };
    t.match(world.session(world.sessionId), expected);
    t.equal(world.task("t1").status, status);
    t.equal(world.state.locks.byId.size, 1, "its locks stay until the run is gone");
    leave(world, world.sessionId);
    t.equal(world.task("t1").status, status, "whatever the program said when it was stopped");
    t.equal(world.task("t1").hold, null);
    t.equal(world.session(world.sessionId).status, "cancelled");
    t.equal(world.state.locks.byId.size, 0);
    const counts = world.state.metrics.byAgent.get("copilot");
    t.match(counts, { dispatched: 1, completed: 0, failed: 0, cancelled: 1 });
    t.equal(world.task("t1").comments.length, 1, "one comment says what happened");
  }
});

t.test("deleting a running task asks its session to stop, and nothing of the task comes back", async (t) => {
  const world = aRunningWorld({ files: ["src/**"] });
  t.same(typesOf(world.execute(deleteTask("t1"))), ["task.deleted", "session.settled"]);
  t.match(world.session(world.sessionId), {
    status: "stopping",
    outcome: { status: "cancelled", error: { code: "TASK_DELETED" } },
  });
  t.equal(world.state.locks.byId.size, 1);
  leave(world, world.sessionId);
  t.equal(world.state.tasks.byId.size, 0);
  t.equal(world.state.locks.byId.size, 0);
  t.equal(world.state.tasks.queues.size, 0);
  t.equal(world.session(world.sessionId).status, "cancelled");
});

t.test("a task of the same id made after a deletion waits until the old one's program is gone", async (t) => {
  const world = aRunningWorld();
  world.must(deleteTask("t1"));
  world.must(createTask({ id: "t1", title: "the new one", assignee: "copilot" }));
  t.throws(() => start(world, "t1"), /ALREADY_RUNNING/);
  leave(world, world.sessionId);
  t.equal(world.task("t1").title, "the new one");
  t.equal(world.task("t1").comments.length, 0, "the old session says nothing to the new task");
  start(world, "t1");
});

t.test("a handed out spawn that is moved or deleted is over at once: it has no program of ours", async (t) => {
  for (const [done, types] of [
    [
      changeTask({ taskId: "t1", changes: { status: "backlog" } }),
      ["task.changed", "session.settled", "session.ended"],
    ],
    [deleteTask("t1"), ["task.deleted", "session.settled", "session.ended"]],
  ] as const) {
    const world = aRunningWorld({ assignee: "claude", files: ["src"] });
    t.same(typesOf(world.execute<Task | null>(done)), types);
    const session = world.session(world.sessionId);
    t.equal(isActive(session) || hasRun(session), false);
    t.equal(world.state.locks.byId.size, 0);
    t.equal(
      codeOf(world.execute(callback({ taskId: "t1", status: "running", sessionId: world.sessionId }))),
      "SESSION_NOT_ACTIVE",
    );
  }
});

t.test("releasing a hold, or bringing a task to todo, starts counting attempts afresh", async (t) => {
  const used = { attempts: 3, retryAt: START + 5, hold: { code: "ATTEMPTS_EXHAUSTED", message: "3 of 3" } };
  const fresh = { attempts: 0, retryAt: null, hold: null };
  const table: readonly [from: Partial<Task>, changes: TaskChanges, after: Partial<Task>, what: string][] = [
    [{ status: "todo", ...used }, { hold: null }, fresh, "the hold is released"],
    [{ status: "review", ...used }, { status: "todo" }, fresh, "it comes from review"],
    [{ status: "done", ...used }, { status: "todo", title: "again" }, fresh, "it comes from done"],
    [{ status: "todo", ...used }, { status: "todo" }, used, "it is in todo already"],
    [{ status: "todo", ...used }, { title: "x" }, used, "something else changed"],
    [{ status: "todo", ...used }, { status: "backlog" }, used, "it is put aside"],
    [
      { status: "backlog" },
      { status: "todo", hold: { code: "M", message: "m" } },
      { attempts: 0, hold: { code: "M", message: "m" } },
      "held as it comes",
    ],
    [
      { status: "todo" },
      { hold: { code: "M", message: "m" } },
      { hold: { code: "M", message: "m" } },
      "a person holds it",
    ],
  ];
  for (const [from, changes, after, what] of table) {
    const world = aWorld();
    world.happen({ type: "task.created", at: START, task: aTask({ id: "t", ...from }) });
    t.match(world.must(changeTask({ taskId: "t", changes })), after, what);
  }
});

t.test("a change or a comment brings a task back from the archive, with what it had", async (t) => {
  const world = aWorld();
  world.must(createTask({ id: "a", title: "old", status: "done" }));
  world.must(addComment({ taskId: "a", author: "diego", content: "first" }));
  const archived = world.task("a");
  world.must(archive(["a"], []));
  world.archived.add("a");
  t.equal(world.state.tasks.byId.size, 0);
  t.equal(codeOf(world.execute(changeTask({ taskId: "a", changes: {}, ifVersion: 9, archived }))), "STALE_VERSION");
  t.equal(world.state.tasks.byId.size, 0, "a refusal brings nothing back");
  t.same(typesOf(world.execute(addComment({ taskId: "a", author: "diego", content: "second", archived }))), [
    "task.restored",
    "comment.added",
  ]);
  t.same(
    world.task("a").comments.map(({ content }) => content),
    ["first", "second"],
  );
  world.must(archive(["a"], []));
  t.same(typesOf(world.execute(changeTask({ taskId: "a", changes: { status: "todo" }, archived }))), [
    "task.restored",
    "task.changed",
  ]);
  t.match(world.task("a"), { title: "old", status: "todo", version: 2 });
});

t.test("a comment has its author, its time and the session in which it was written", async (t) => {
  const world = aRunningWorld();
  world.pass(7);
  const plain = world.must(addComment({ taskId: "t1", author: "diego", content: "well done" }));
  t.strictSame(plain, { id: plain.id, author: "diego", content: "well done", createdAt: START + 7 });
  const said = world.must(
    addComment({ taskId: "t1", author: "copilot", content: "thanks", sessionId: world.sessionId }),
  );
  t.equal(said.sessionId, world.sessionId);
  t.strictSame(world.task("t1").comments, [plain, said]);
});

t.test("a cancelled session's task can be moved on like any other", async (t) => {
  const world = aRunningWorld();
  world.must(cancelSession(world.sessionId, "diego"));
  t.equal(world.task("t1").status, "todo");
  t.same(
    typesOf(world.execute(changeTask({ taskId: "t1", changes: { status: "done" } }))),
    ["task.changed"],
    "its session is not settled twice",
  );
  leave(world, world.sessionId);
  t.equal(world.task("t1").status, "done");
});
