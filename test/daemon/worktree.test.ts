/** Tasks in git worktrees of their own, through the real daemon and its command. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import type { Session } from "../../src/api/session.ts";
import type { TaskDiff } from "../../src/api/worktree.ts";
import type { Problem } from "../support/client.ts";
import { Home, LIMIT_MS, within } from "../support/daemon.ts";
import { fileSays } from "../support/files.ts";
import { AS_AGENT, git, testRepository } from "../support/git.ts";

t.setTimeout(300_000);

/** Commits one file, leaves another that git does not know, waits for a word, and ends with it. */
const WORKER = `#!/bin/sh
pwd
echo "$JARVIS_SESSION_ID" >>committed.txt
git add committed.txt && ${AS_AGENT} commit -qm "attempt of $JARVIS_TASK_ID" || exit 9
echo left >left.txt
touch "$1.at-work"
until [ -e "$1" ]; do sleep 0.05; done
read -r status <"$1"
rm "$1"
exit "$status"
`;

function setUp(t: Test) {
  const home = new Home(t);
  const repository = testRepository(home.path("shop"), { "a.txt": "one\n" });
  const agents = {
    worker: { adapter: "cli", command: [home.script("worker.sh", WORKER), home.path("{taskId}.go")], maxConcurrent: 4 },
    idle: { adapter: "cli", command: ["echo", "done"] },
    claude: { adapter: "spawn", via: "heartbeat" },
  };
  const verifiers = {
    tested: { command: ["sh", "-c", "pwd && grep -q . committed.txt && grep -q left left.txt"] },
    changed: { changed: true },
  };
  home.configure({
    agents,
    verifiers,
    workspaceRoots: [home.directory],
    worktreeRoot: home.path("trees"),
    retry: { initialDelayMs: 0, maxDelayMs: 0 },
  });
  const task = { title: "mend it", assignee: "worker", workspace: repository.path, isolation: "worktree" };
  return { home, repository, task };
}

t.test("dispatched, reviewed, verified, tried again, removed", async (t) => {
  const { home, repository, task } = setUp(t);
  const daemon = await home.start();
  const { client } = daemon;
  const verify = ["tested", "changed"];
  await client.post("/api/tasks", { ...task, id: "x.lock", verify, requiresReview: true });
  const first = (await client.dispatch()).dispatched?.[0]?.sessionId ?? "";
  await fileSays(home.path("x.lock.go.at-work"), /^/);
  const session = await client.until<Session>("its program", async () => {
    const found = await client.session(first);
    return found.worktree === undefined ? undefined : found;
  });
  const base = repository.git("rev-parse", "main");
  t.match(session, { isolation: "worktree", worktree: { branch: "jarvis/x=2Elock", base } });
  const path = session.worktree?.path ?? "";
  t.match(
    readFileSync(join(home.data, "runs", first, "prompt.md"), "utf8"),
    /git worktree of your own, on the branch jarvis\/x=2Elock/,
  );

  // While it works.
  await within(LIMIT_MS, "both files", filesOf(["committed.txt", "left.txt"]));
  const busy = await client.send<Problem>("DELETE", "/api/tasks/x.lock/worktree?force=true");
  t.match([busy.status, busy.body.code], [409, "SESSION_ACTIVE"]);
  writeFileSync(home.path("x.lock.go"), "3\n");
  t.match(await client.ended(first), { status: "failed", error: { code: "EXIT_STATUS" }, worktree: { path } });

  // And again.
  rmSync(home.path("x.lock.go.at-work"));
  const second = await client.until<string>(
    "the next attempt",
    async () => (await client.dispatch()).dispatched?.[0]?.sessionId,
  );
  await fileSays(home.path("x.lock.go.at-work"), /^/);
  writeFileSync(home.path("x.lock.go"), "0\n");
  t.match(await client.ended(second), { status: "completed", worktree: { path, base } });
  t.equal((await client.task("x.lock")).status, "review");
  t.equal(readFileSync(join(home.data, "runs", `${second}.verify-tested`, "stdout.log"), "utf8"), `${path}\n`);
  t.same(readFileSync(join(path, "committed.txt"), "utf8"), `${first}\n${second}\n`);
  t.equal(repository.git("status", "--short"), "");

  const diff = await client.get<TaskDiff>("/api/tasks/x.lock/diff");
  t.match(diff, { taskId: "x.lock", branch: "jarvis/x=2Elock", base, path, truncated: false });
  t.equal(diff.head, git(path, "rev-parse", "HEAD"));
  const patch = await client.send("GET", "/api/tasks/x.lock/diff?format=patch");
  t.match(patch.headers.get("content-type"), /^text\/plain/);
  t.equal(patch.text, diff.diff);
  const said = await home.run(["task", "diff", "x.lock"]);
  t.match(said, { code: 0, stdout: patch.text, stderr: "" });
  t.match(JSON.parse((await home.run(["task", "diff", "x.lock", "--json"])).stdout), diff);
  t.match((await home.run(["task", "show", "x.lock"])).stdout, `${path} (branch jarvis/x=2Elock)`);

  const kept = await home.run(["task", "rmtree", "x.lock"]);
  t.match(kept, { code: 1, stderr: /changes that are in no commit/ });
  git(path, "add", "left.txt");
  git(path, "commit", "-qm", "left");
  t.match(await client.send("DELETE", "/api/tasks/x.lock/worktree"), {
    status: 409,
    body: { code: "WORKTREE_NOT_MERGED" },
  });
  t.ok(existsSync(path));
  t.match(await home.run(["task", "rmtree", "x.lock", "--force"]), { code: 0, stdout: /is removed/ });
  t.notOk(existsSync(path));
  t.equal(repository.git("branch", "--list", "jarvis/*"), "");
  t.match(await client.send("GET", "/api/tasks/x.lock/diff"), { status: 404, body: { code: "WORKTREE_NOT_FOUND" } });
  t.match(await client.send("GET", "/api/tasks/nobody/diff"), { status: 404, body: { code: "TASK_NOT_FOUND" } });

  async function filesOf(wanted: readonly string[]): Promise<void> {
    const diff = await client.get<TaskDiff>("/api/tasks/x.lock/diff");
    t.same(
      diff.files.map((file) => file.path),
      wanted,
    );
    t.match(diff.diff, `+${first}`);
    t.match(diff.diff, "+left");
  }
});

t.test("a worktree that was only made is no change", async (t) => {
  const { home, task } = setUp(t);
  const { client } = await home.start();
  await client.post("/api/tasks", { ...task, id: "idle", assignee: "idle", verify: ["changed"] });
  const sessionId = (await client.dispatch()).dispatched?.[0]?.sessionId ?? "";
  t.match(await client.ended(sessionId), { status: "failed", error: { code: "VERIFICATION_FAILED" } });
});

t.test("no agent that works elsewhere gets a task that is to be isolated", async (t) => {
  const { home, task } = setUp(t);
  const daemon = await home.start();
  const { client } = daemon;
  await client.post("/api/tasks", { ...task, id: "h", assignee: "claude" });
  t.match(await client.dispatch({ taskIds: ["h"] }), {
    dispatched: [],
    skipped: [{ reasons: [{ code: "NO_ISOLATION" }] }],
  });
  home.configure({ agents: { claude: { adapter: "spawn", via: "heartbeat", isolation: "worktree" } } });
  const refused = await home.run(["serve", "--port", "0"]);
  t.match(refused, {
    code: 2,
    stderr: /agents\.claude\.isolation: found "worktree" of an agent that is reached by spawn via heartbeat/,
  });
});

t.test("killed while a worktree is made: the next daemon goes on with it, once git is done", async (t) => {
  const { home, task } = setUp(t);
  const bin = home.path("bin");
  mkdirSync(bin);
  // A git that takes its time, holds its lock meanwhile, and outlives its daemon.
  const script = `#!/bin/sh
if [ "$1" = reset ]; then
  : >"$GIT_DIR/index.lock"; echo >>${home.path("making")}
  until [ -e ${home.path("go")} ]; do sleep 0.05; done
  rm "$GIT_DIR/index.lock"
fi
exec ${git("/", "--exec-path")}/git "$@"
`;
  writeFileSync(join(bin, "git"), script, { mode: 0o755 });
  const first = await home.start({ env: { PATH: `${bin}:${process.env["PATH"]}` } });
  await first.client.post("/api/tasks", { ...task, id: "t" });
  const sessionId = (await first.client.dispatch()).dispatched?.[0]?.sessionId ?? "";
  await fileSays(home.path("making"), /\n/);
  await first.kill();
  // One that says when it finds the lock.
  const noting = script.replace(/: >"[^"]*"; .*\n.*\n.*\n/, `echo >>${home.path("waiting")}\n`);
  writeFileSync(join(mkdirAt(home.path("bin2")), "git"), noting, { mode: 0o755 });
  const { client } = await home.start({ env: { PATH: `${home.path("bin2")}:${process.env["PATH"]}` } });
  await fileSays(home.path("waiting"), /\n\n/);
  writeFileSync(home.path("go"), "");
  writeFileSync(home.path("t.go"), "0\n");
  const session = await client.ended(sessionId);
  t.match(session, { status: "completed", worktree: { branch: "jarvis/t" } });
  t.match((await client.get<TaskDiff>("/api/tasks/t/diff")).files, [{ path: "committed.txt" }, { path: "left.txt" }]);
});

t.test("a stop waits for no git, and what was broken off is gone on with", async (t) => {
  const { home, repository, task } = setUp(t);
  const real = `${git("/", "--exec-path")}/git`;
  const slow = `#!/bin/sh
case "$1 $2" in "worktree remove") touch ${home.path("removing")}; exec sleep 600 ;; esac
exec ${real} "$@"
`;
  writeFileSync(join(mkdirAt(home.path("bin")), "git"), slow, { mode: 0o755 });
  const first = await home.start({ env: { PATH: `${home.path("bin")}:${process.env["PATH"]}` } });
  await first.client.post("/api/tasks", { ...task, id: "t", assignee: "idle" });
  await first.client.ended((await first.client.dispatch()).dispatched?.[0]?.sessionId ?? "");
  const removal = first.client.send("DELETE", "/api/tasks/t/worktree?force=true");
  await fileSays(home.path("removing"), /^/);
  // Waits for its turn.
  await first.client.post("/api/tasks", { ...task, id: "u", assignee: "idle" });
  const queued = (await first.client.dispatch()).dispatched?.[0]?.sessionId ?? "";
  const askedAt = performance.now();
  t.same(await first.stop(), { code: 0, signal: null });
  t.ok(performance.now() - askedAt < 10_000, "as for every stop");
  t.equal((await removal).status, 409);

  const { client } = await home.start();
  t.match(await client.ended(queued), { status: "completed" });
  t.equal((await client.send("DELETE", "/api/tasks/t/worktree?force=true")).status, 204);
  t.same(git(repository.path, "branch", "--format=%(refname:short)").split("\n"), ["jarvis/u", "main"]);
});

function mkdirAt(path: string): string {
  mkdirSync(path);
  return path;
}
