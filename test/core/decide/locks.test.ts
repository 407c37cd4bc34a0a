import t from "tap";
import { acquireLock, releaseLock, renewLock } from "../../../src/core/decide/locks.ts";
import { callback, runEnded } from "../../../src/core/decide/report.ts";
import { createTask } from "../../../src/core/decide/tasks.ts";
import { conflicts, isHeld, type LockMode } from "../../../src/core/lock.ts";
import { aWorld, codeOf, MINUTE, SECOND, START, start, typesOf, type World } from "../world.ts";

/** Two sessions in one workspace, a third in another one. */
function threeSessions(): World & { readonly a: string; readonly b: string; readonly c: string } {
  const world = aWorld();
  const begin = (id: string, assignee: string, workspace: string) => {
    world.must(createTask({ id, title: id, assignee, workspace }));
    return start(world, id);
  };
  return { ...world, a: begin("a", "copilot", "/w"), b: begin("b", "gemini", "/w"), c: begin("c", "gemini", "/other") };
}

t.test("exclusive excludes all, shared only exclusive, under one workspace", async (t) => {
  const table: readonly [LockMode, LockMode, boolean][] = [
    ["exclusive", "exclusive", true],
    ["exclusive", "shared", true],
    ["shared", "exclusive", true],
    ["shared", "shared", false],
  ];
  for (const [first, second, inTheWay] of table) {
    const world = threeSessions();
    const lock = world.must(acquireLock({ sessionId: world.a, paths: ["src/**"], mode: first }));
    const asked = world.execute(acquireLock({ sessionId: world.b, paths: ["docs", "src/a.ts"], mode: second }));
    t.equal(codeOf(asked), inTheWay ? "LOCKED" : "ok", `${first}, then ${second}`);
    if (inTheWay) {
      const holder = {
        lockId: lock.id,
        sessionId: world.a,
        taskId: "a",
        agent: "copilot",
        paths: ["src/**"],
        mode: first,
      };
      t.match(
        asked,
        { refusal: { message: /copilot on task a/, facts: { heldBy: [holder] } } },
        "each holder is named",
      );
      t.equal(world.state.locks.byId.size, 1, "all paths or none");
    }
    t.equal(
      codeOf(world.execute(acquireLock({ sessionId: world.c, paths: ["src/a.ts"], mode: second }))),
      "ok",
      "elsewhere it is free",
    );
    t.equal(
      codeOf(world.execute(acquireLock({ sessionId: world.b, paths: ["lib"], mode: second }))),
      "ok",
      "other paths are free",
    );
  }
});

t.test("a session holds so many locks and no more", async (t) => {
  const world = threeSessions();
  const ask = (name: string) =>
    codeOf(world.execute(acquireLock({ sessionId: world.a, paths: [name], mode: "exclusive" })));
  let asked = 0;
  while (ask(`file${asked}`) === "ok" && asked < 1000) asked++;
  t.equal(asked, 100);
  t.equal(ask("one-more"), "TOO_MANY_LOCKS");
  const [first = ""] = world.state.locks.bySession.get(world.a) ?? [];
  world.must(releaseLock(first));
  t.equal(ask("one-more"), "ok");
});

t.test("a session's paths are bounded in all", async (t) => {
  const world = threeSessions();
  const ask = (n: number) => {
    const paths = Array.from({ length: 20 }, (_, index) => `${n}-${index}-${"x".repeat(1000)}`);
    return codeOf(world.execute(acquireLock({ sessionId: world.a, paths, mode: "exclusive" })));
  };
  let asked = 0;
  while (ask(asked) === "ok" && asked < 100) asked++;
  t.equal(asked, 6);
  t.equal(ask(asked), "TOO_MANY_LOCKS");
});

t.test("claims conflict where some path can be both's", async (t) => {
  const claim = (workspace: string | null, path: string, mode: LockMode = "exclusive") => ({
    workspace,
    paths: [path],
    mode,
  });
  const table: readonly [string | null, string, string | null, string, boolean][] = [
    ["/w", "a", "/w", "a", true],
    ["/w", "a", "/v", "a", false],
    [null, "a", null, "a", true],
    [null, "a", "/w", "a", false],
    ["/w", "sub/a", "/w/sub", "a", true],
    ["/w", "sub/**", "/w/sub/deep", "a", true],
    ["/w", "sub", "/w/sub/deep", "a", true],
    ["/w", "*.ts", "/w/sub", "a.ts", false],
    ["/w", "**", "/w/sub", "a", true],
    ["/w", "sub2/a", "/w/sub", "a", false],
    ["/w", "sub/a", "/w/su", "a", false],
    ["/", "w/a", "/w", "a", true],
    ["~", "w/a", "~/w", "a", true],
    ["/w", "x{a,b}y/z", "/w/x{a,b}y", "z", false],
    ["/w", "x?a,b?y/z", "/w/x{a,b}y", "z", true],
  ];
  for (const [left, path, right, other, expected] of table) {
    t.equal(conflicts(claim(left, path), claim(right, other)), expected, `${left}: ${path} and ${right}: ${other}`);
    t.equal(conflicts(claim(right, other), claim(left, path)), expected, "the same the other way round");
    t.equal(conflicts(claim(left, path, "shared"), claim(right, other, "shared")), false, "never when both are shared");
  }
});

t.test("a session's own locks are never in its way", async (t) => {
  const world = threeSessions();
  world.must(acquireLock({ sessionId: world.a, paths: ["src"], mode: "shared" }));
  t.equal(codeOf(world.execute(acquireLock({ sessionId: world.a, paths: ["src"], mode: "exclusive" }))), "ok");
  t.equal(codeOf(world.execute(acquireLock({ sessionId: world.b, paths: ["src"], mode: "shared" }))), "LOCKED");
});

t.test("only a session that is at work gets locks", async (t) => {
  const world = threeSessions();
  const ask = (sessionId: string) => codeOf(world.execute(acquireLock({ sessionId, paths: ["x"], mode: "shared" })));
  t.equal(ask("ghost"), "SESSION_NOT_FOUND");
  world.must(callback({ taskId: "a", status: "completed" }));
  t.equal(ask(world.a), "SESSION_NOT_ACTIVE", "not while it stops");
  world.must(runEnded({ sessionId: world.a, exit: {}, outcome: { status: "completed" } }));
  t.equal(ask(world.a), "SESSION_NOT_ACTIVE");
});

t.test("the fence only grows, whoever gets a lock and however it went", async (t) => {
  const world = threeSessions();
  const fences: number[] = [];
  for (const sessionId of [world.a, world.b, world.c, world.a]) {
    const lock = world.must(acquireLock({ sessionId, paths: ["x"], mode: "exclusive" }));
    fences.push(lock.fence);
    world.must(releaseLock(lock.id));
  }
  t.same(fences, [1, 2, 3, 4]);
});

t.test("a lock's time runs out by itself, and renewing it starts it afresh", async (t) => {
  const world = threeSessions();
  const lock = world.must(acquireLock({ sessionId: world.a, paths: ["x"], mode: "exclusive", ttlMs: MINUTE }));
  t.equal(lock.expiresAt, START + MINUTE);
  world.pass(MINUTE - 1);
  const ask = () => world.execute(acquireLock({ sessionId: world.b, paths: ["x"], mode: "exclusive" }));
  t.equal(codeOf(ask()), "LOCKED");
  t.match(world.must(renewLock({ lockId: lock.id })), { expiresAt: START + 2 * MINUTE - 1, fence: lock.fence });
  t.match(world.must(renewLock({ lockId: lock.id, ttlMs: 5 * SECOND })), { expiresAt: world.context.now + 5 * SECOND });
  world.pass(5 * SECOND);
  t.equal(isHeld(lock, world.context.now), false);
  t.equal(codeOf(world.execute(renewLock({ lockId: lock.id }))), "LOCK_NOT_FOUND", "what ran out cannot be renewed");
  const next = ask();
  t.equal(codeOf(next), "ok", "another gets it though its end was not recorded yet");
  t.ok(next.ok && next.answer.fence > lock.fence);
});

t.test("a lock without a time lives as long as its session, and its renewal changes nothing", async (t) => {
  const world = threeSessions();
  const lock = world.must(acquireLock({ sessionId: world.a, paths: ["x"], mode: "exclusive" }));
  world.pass(1000 * MINUTE);
  t.same(typesOf(world.execute(renewLock({ lockId: lock.id, ttlMs: 5 }))), []);
  t.equal(codeOf(world.execute(acquireLock({ sessionId: world.b, paths: ["x"], mode: "shared" }))), "LOCKED");
  world.must(callback({ taskId: "a", status: "failed" }));
  t.equal(world.state.locks.byId.size, 1, "still there while it stops");
  world.must(runEnded({ sessionId: world.a, exit: {}, outcome: { status: "completed" } }));
  t.equal(world.state.locks.byId.size, 0);
});

t.test("a lock is renewed and released by its own session or the operator only", async (t) => {
  const world = threeSessions();
  const { id: lockId } = world.must(acquireLock({ sessionId: world.a, paths: ["x"], mode: "shared", ttlMs: MINUTE }));
  t.equal(codeOf(world.execute(renewLock({ lockId, callerSessionId: world.b }))), "NOT_YOUR_SESSION");
  t.equal(codeOf(world.execute(releaseLock(lockId, world.b))), "NOT_YOUR_SESSION");
  t.equal(codeOf(world.execute(renewLock({ lockId, callerSessionId: world.a }))), "ok");
  t.equal(codeOf(world.execute(releaseLock(lockId, world.a))), "ok");
  t.equal(codeOf(world.execute(releaseLock(lockId, world.a))), "LOCK_NOT_FOUND");
  t.equal(codeOf(world.execute(renewLock({ lockId }))), "LOCK_NOT_FOUND");
  const again = world.must(acquireLock({ sessionId: world.a, paths: ["x"], mode: "shared" }));
  t.match(world.execute(releaseLock(again.id)), { events: [{ type: "lock.released", why: "released" }] });
});
