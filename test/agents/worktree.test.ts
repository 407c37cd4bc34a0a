/** Programs that work in a git worktree of their task: real repositories, real processes. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import t, { type Test } from "tap";
import { createCliAdapter } from "../../src/agents/cli.ts";
import { createSpawnAdapter } from "../../src/agents/spawn.ts";
import { branchOf, safeName } from "../../src/agents/worktree/names.ts";
import { refusingIsolation } from "../../src/agents/worktree/refusing.ts";
import { createWorktrees } from "../../src/agents/worktree/worktrees.ts";
import type { AgentAdapter, RunEnd, RunSpec } from "../../src/dispatcher/ports.ts";
import { newSpec, openSession, runToEnd, testAgents, until } from "../support/agents.ts";
import { AS_AGENT, git, testRepository } from "../support/git.ts";

const sh = (script: string) => ["sh", "-c", script, "stand-in"];
const ISOLATED = { isolation: "worktree" } as const;

function setUp(
  t: Test,
  create: (context: ReturnType<typeof testAgents>["context"]) => AgentAdapter = createCliAdapter,
) {
  const agents = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "cli" });
  const adapters: AgentAdapter[] = [];
  const another = () => {
    const adapter = create(agents.context);
    adapters.push(adapter);
    return adapter;
  };
  t.teardown(async () => {
    await Promise.all(adapters.map((adapter) => adapter.close()));
  });
  const { worktrees } = agents.context;
  const diff = (taskId: string, bytesMax = 1_000_000) => worktrees.diff(taskId, bytesMax);
  const remove = (taskId: string, force = false, isFree = () => true) => worktrees.remove(taskId, { force, isFree });
  return {
    ...agents,
    adapter: another(),
    another,
    diff,
    remove,
    config: agents.context.config() as { worktreeRoot: string },
  };
}

const errorOf = ({ outcome }: RunEnd) =>
  "error" in outcome ? outcome.error : { code: "", message: JSON.stringify(outcome) };

t.test("cli and spawn: in a worktree on the task's branch, and again in the same one", async (t) => {
  for (const create of [createCliAdapter, createSpawnAdapter]) {
    await t.test(create.name, async (t) => {
      const { adapter, agent, workspaces, worktreeRoot, diff } = setUp(t, create);
      const repository = testRepository(join(workspaces, "shop"));
      const head = repository.git("rev-parse", "HEAD");
      const name = agent(sh("pwd; git branch --show-current; echo more >>a.txt; echo new >b.txt; git status --short"));
      const spec = { workspace: repository.path, taskId: "task-1", ...ISOLATED };
      const first = openSession(adapter, newSpec(name, spec));
      const { worktree } = await first.started;
      const path = join(realpathSync(worktreeRoot), readdirSync(worktreeRoot)[0] ?? "", "task-1");
      t.match(basename(dirname(path)), /^shop-[0-9a-f]{10}$/);
      t.same(worktree, { path, branch: "jarvis/task-1", base: head });
      const said = (end: RunEnd) => (end.outcome.status === "completed" ? end.outcome.result.split("\n") : end.outcome);
      t.same(said(await first.ended), [path, "jarvis/task-1", " M a.txt", "?? b.txt"]);
      t.equal(repository.git("status", "--short"), "", "the workspace is as it was");
      // The workspace goes on meanwhile.
      repository.write("c.txt", "later\n");
      repository.git("add", "--all");
      repository.git("commit", "--quiet", "-m", "second");
      const again = agent(sh("pwd; cat b.txt; git log --format=%s"));
      t.same(said(await runToEnd(adapter, newSpec(again, spec))), [path, "new", "first"]);
      const { files, base } = (await diff("task-1")) ?? {};
      t.equal(base, head);
      t.same(
        files?.map(({ path }) => path),
        ["a.txt", "b.txt"],
      );
    });
  }
});

t.test(
  "a diff has what was committed, what was not, and what git does not know yet; and touches nothing",
  async (t) => {
    const { adapter, agent, workspaces, diff } = setUp(t);
    const { path: workspace, git: inRepository } = testRepository(join(workspaces, "r"), {
      "a.txt": "one\n",
      "gone.txt": "bye\n",
      "old name.txt": "a\nb\nc\nd\ne\n",
      ".gitignore": "build/\n",
    });
    const script = `echo two >>a.txt; git mv "old name.txt" "new
name.txt"; ${AS_AGENT} commit -qam work; rm gone.txt; echo staged >staged; git add staged; printf 'x\\0y' >'bin "ö"'; mkdir build; echo no >build/x; mkfifo pipe; ln -s /etc/passwd link; git init -q nested; echo secret >nested/s; pwd`;
    const end = await runToEnd(adapter, newSpec(agent(sh(script)), { workspace, ...ISOLATED }));
    const path = "result" in end.outcome ? (end.outcome.result ?? "") : "";
    const before = git(path, "status", "--porcelain=v2", "--untracked-files=all");
    const index = readFileSync(join(git(path, "rev-parse", "--absolute-git-dir"), "index"));
    const objects = inRepository("count-objects");
    const found = await diff("task-1");
    t.same(found?.files, [
      { path: "a.txt", status: "modified", additions: 1, deletions: 0 },
      { path: 'bin "ö"', status: "added", additions: null, deletions: null },
      { path: "gone.txt", status: "deleted", additions: 0, deletions: 1 },
      { path: "link", status: "added", additions: 1, deletions: 0 },
      { path: "new\nname.txt", status: "renamed", from: "old name.txt", additions: 0, deletions: 0 },
      { path: "staged", status: "added", additions: 1, deletions: 0 },
      // A repository in this one is named, not entered: nobody loses it for not having seen it.
      { path: "nested/", status: "added", additions: null, deletions: null },
    ]);
    t.equal(found?.head, git(path, "rev-parse", "HEAD"));
    t.equal(found?.truncated, true);
    const text = found?.diff.toString() ?? "";
    t.match(text, "+two");
    t.match(text, "+staged");
    t.notMatch(text, /root:|secret/);
    t.same(readFileSync(join(git(path, "rev-parse", "--absolute-git-dir"), "index")), index, "the agent's index");
    t.equal(git(path, "status", "--porcelain=v2", "--untracked-files=all"), before);
    t.equal(inRepository("count-objects"), objects, "no object is left in the repository");

    // What is too large to be read, or whose name is no text, is named.
    writeFileSync(join(path, "large"), Buffer.alloc(17 * 1024 * 1024));
    writeFileSync(Buffer.from(`${path}/\xff`, "latin1"), "x");
    const more = await diff("task-1");
    t.equal(more?.truncated, true);
    t.match(more?.files.slice(-3), [
      { path: "large", additions: null },
      { path: "nested/", additions: null },
      { path: "\ufffd", additions: null },
    ]);
    t.equal(more?.files.length, 9);

    const cut = await diff("task-1", 200);
    t.equal(cut?.truncated, true);
    t.ok((cut?.diff.length ?? 999) <= 200);
    t.ok(cut?.diff.toString().endsWith("\n"));
  },
);

t.test("a workspace within its repository: the program runs at the same place of the worktree", async (t) => {
  const { adapter, agent, workspaces, worktreeRoot } = setUp(t);
  const { path, write } = testRepository(join(workspaces, "mono"), { "packages/web app/x": "1\n" });
  const end = await runToEnd(
    adapter,
    newSpec(agent(sh("pwd; cat x")), { workspace: join(path, "packages/web app"), ...ISOLATED }),
  );
  t.match(end.outcome, {
    status: "completed",
    result: new RegExp(`^${realpathSync(worktreeRoot)}/.*/task-1/packages/web app\n1$`),
  });
  write("untracked/y", "2");
  const nowhere = await runToEnd(
    adapter,
    newSpec(agent(sh("pwd")), { workspace: join(path, "untracked"), taskId: "task-2", ...ISOLATED }),
  );
  t.match(errorOf(nowhere), { code: "NO_WORKTREE", message: /untracked is not in the commit.*commit it first/ });
  t.throws(() => git(path, "rev-parse", "--verify", "jarvis/task-2"), "and nothing was made");
});

t.test("names: safe for git and for files, and no two tasks have the same", async (t) => {
  const ids = [
    ".",
    "..",
    "...",
    "a..b",
    "a.b",
    "x.lock",
    "X.LOCK",
    ".hidden",
    "end.",
    "-n",
    "--force",
    "HEAD",
    "_",
    "a",
    "z".repeat(64),
    ".".repeat(64),
  ];
  const names = ids.map(safeName);
  t.equal(new Set(names).size, ids.length);
  const { git: inRepository } = testRepository(join(setUp(t).workspaces, "r"));
  for (const id of ids) {
    t.match(safeName(id), /^[A-Za-z0-9._=-]{1,200}$/);
    t.notMatch(safeName(id), /^\.|\.\.|\.$|\.lock$/i);
    inRepository("check-ref-format", `refs/heads/${branchOf(id)}`);
    inRepository("branch", branchOf(id));
  }
  t.equal(safeName("task_01J.x-1"), "task_01J.x-1", "a plain one stays as it is");
});

t.test("hostile ids end in worktrees of their own, below the root", async (t) => {
  const { adapter, agent, workspaces, worktreeRoot, remove } = setUp(t);
  const { path: workspace } = testRepository(join(workspaces, "r"));
  const name = agent(sh("pwd; git branch --show-current"));
  for (const taskId of ["..", ".", "x.lock", "-f", "a..b"]) {
    const end = await runToEnd(adapter, newSpec(name, { workspace, taskId, ...ISOLATED }));
    const [path = "", branch] = "result" in end.outcome ? (end.outcome.result ?? "").split("\n") : [];
    t.equal(dirname(dirname(path)), realpathSync(worktreeRoot), JSON.stringify(end.outcome));
    t.equal(branch, branchOf(taskId));
    t.equal(await remove(taskId), "removed");
    t.notOk(existsSync(path));
  }
});

t.test("what cannot have a worktree says why, and what to do", async (t) => {
  const { adapter, agent, workspaces, worktreeRoot, dataDirectory, config } = setUp(t);
  const name = agent(sh("pwd"));
  const plain = join(workspaces, "plain");
  mkdirSync(plain);
  const empty = testRepository(join(workspaces, "empty"), {});
  const { path, git: inRepository } = testRepository(join(workspaces, "r"));
  git(workspaces, "clone", "--quiet", "--bare", path, "bare.git");
  const fail = async (spec: Partial<RunSpec>, message: RegExp, root = worktreeRoot) => {
    config.worktreeRoot = root;
    const end = await runToEnd(adapter, newSpec(name, { ...ISOLATED, ...spec }));
    t.match(errorOf(end), { code: "NO_WORKTREE", message });
  };
  await fail(
    { workspace: plain },
    /is in no git repository: run "git init" and commit in it, or set isolation to none/,
  );
  await fail({ workspace: empty.path }, /has no commit yet/);
  await fail({ workspace: join(workspaces, "bare.git") }, /no worktree can be made of the workspace/);
  await fail({ workspace: null }, /has no workspace: give it one/);
  await fail({ workspace: path }, /lies in the data directory/, join(dataDirectory, "trees"));
  await fail({ workspace: path }, /lies in the workspace's repository/, join(path, "trees"));
  await fail({ workspace: path }, /cannot be made or reached \(ENOTDIR\)/, join(path, "a.txt", "trees"));
  config.worktreeRoot = worktreeRoot;

  inRepository("branch", "jarvis/taken");
  await fail({ workspace: path, taskId: "taken" }, /branch jarvis\/taken is there already/);
  const elsewhere = join(workspaces, "elsewhere");
  inRepository("worktree", "add", "--quiet", elsewhere, "jarvis/taken");
  await fail({ workspace: path, taskId: "taken" }, /branch jarvis\/taken is there already/);
  const folder = join(worktreeRoot, readdirSync(worktreeRoot)[0] ?? "");
  mkdirSync(join(folder, "there"));
  writeFileSync(join(folder, "there", "precious"), "mine");
  await fail({ workspace: path, taskId: "there" }, /is there already, and was not made for this task/);
  symlinkSync(plain, join(folder, "link"));
  await fail({ workspace: path, taskId: "link" }, /is there already/);
  symlinkSync(join(workspaces, "nowhere"), join(folder, "dangling"));
  await fail({ workspace: path, taskId: "dangling" }, /is there already/);
  t.same(readdirSync(plain), []);
  t.same(readdirSync(join(folder, "there")), ["precious"]);

  const other = testRepository(join(workspaces, "other"));
  inRepository("branch", "jarvis-mine");
  await runToEnd(adapter, newSpec(name, { workspace: path, taskId: "moved", ...ISOLATED }));
  await fail({ workspace: other.path, taskId: "moved" }, /worktree of another repository.*task rmtree moved/);
  other.git("branch", "jarvis");
  await fail({ workspace: other.path, taskId: "x" }, /a branch is called "jarvis"/);
});

t.test("git that is not there", async (t) => {
  const { context, agent, workspaces } = setUp(t);
  const { path: workspace } = testRepository(join(workspaces, "r"));
  const environment = { ...context.environment, PATH: "/nonexistent" };
  const adapter = createCliAdapter({
    ...context,
    environment,
    worktrees: createWorktrees(context.config, environment),
  });
  t.teardown(() => adapter.close());
  const end = await runToEnd(adapter, newSpec(agent(["/bin/sh", "-c", ":"]), { workspace, ...ISOLATED }));
  t.match(errorOf(end), { code: "NO_WORKTREE", message: /git is not on the daemon's PATH/ });
});

t.test("symlinks that appear later lead nowhere", async (t) => {
  const { adapter, agent, workspaces, worktreeRoot, remove, diff } = setUp(t);
  const { path: workspace } = testRepository(join(workspaces, "r"), { "sub/x": "1\n" });
  const spec = { workspace: join(workspace, "sub"), ...ISOLATED };
  await runToEnd(adapter, newSpec(agent(sh("pwd")), spec));
  const folder = join(worktreeRoot, readdirSync(worktreeRoot)[0] ?? "");
  const victim = join(workspaces, "victim");
  mkdirSync(victim);
  writeFileSync(join(victim, "precious"), "mine");
  const fail = async (message: RegExp) =>
    t.match(errorOf(await runToEnd(adapter, newSpec(agent(sh("pwd")), spec))), { code: "NO_WORKTREE", message });

  // The directory of the program.
  rmSync(join(folder, "task-1/sub"), { recursive: true });
  symlinkSync(victim, join(folder, "task-1/sub"));
  await fail(/leads elsewhere/);
  rmSync(join(folder, "task-1/sub"));
  // The worktree.
  renameSync(join(folder, "task-1"), join(folder, "moved"));
  symlinkSync(victim, join(folder, "task-1"));
  await fail(/no longer the worktree/);
  t.equal(await remove("task-1", true), "not_ours");
  rmSync(join(folder, "task-1"));
  renameSync(join(folder, "moved"), join(folder, "task-1"));
  // The folder around it.
  renameSync(folder, join(victim, "folder"));
  symlinkSync(join(victim, "folder"), folder);
  await fail(/no longer the worktree|no directory/);
  t.equal(await remove("task-1", true), "not_ours");
  t.match(await diff("task-1"), { files: [] }, "only what the branch has");
  t.ok(existsSync(join(victim, "folder/task-1/.git")));
  t.same(readFileSync(join(victim, "precious"), "utf8"), "mine");
});

t.test("nothing of the repository's own is run", async (t) => {
  const { adapter, agent, workspaces, diff, remove } = setUp(t);
  const {
    path: workspace,
    git: inRepository,
    write,
  } = testRepository(join(workspaces, "r"), {
    ".gitattributes": "*.txt filter=evil diff=evil\n",
    "a.txt": "one\n",
  });
  const proof = join(workspaces, "was-run");
  const evil = `sh -c 'echo "$0" >>${proof}; cat' `;
  const hostile = [
    ["core.fsmonitor", `${evil}fsmonitor`],
    ["core.hooksPath", join(workspaces, "hooks")],
    ["core.pager", `${evil}pager`],
    ["core.editor", `${evil}editor`],
    ["core.sshCommand", `${evil}ssh`],
    ["diff.external", `${evil}external`],
    ["diff.evil.command", `${evil}driver`],
    ["diff.evil.textconv", `${evil}textconv`],
    ["filter.evil.clean", `${evil}clean`],
    ["filter.evil.smudge", `${evil}smudge`],
    ["filter.evil.process", `${evil}process`],
    ["filter.evil.required", "true"],
    ["gpg.program", `${evil}gpg`],
    ["log.showSignature", "true"],
    ["diff.noprefix", "true"],
    ["color.ui", "always"],
    ["worktree.useRelativePaths", "true"],
  ] as const;
  mkdirSync(join(workspaces, "hooks"));
  for (const hook of ["post-checkout", "reference-transaction", "post-index-change", "pre-commit"])
    for (const folder of [join(workspaces, "hooks"), join(workspace, ".git/hooks")])
      writeFileSync(join(folder, hook), `#!/bin/sh\necho ${hook} >>${proof}\n`, { mode: 0o755 });
  for (const [key, value] of hostile) inRepository("config", key, value);
  write("unrelated", "x");
  rmSync(proof, { force: true });
  const script = "echo two >>a.txt; echo new >b.txt; cat a.txt";
  const end = await runToEnd(adapter, newSpec(agent(sh(script)), { workspace, ...ISOLATED }));
  t.match(end.outcome, { status: "completed", result: "one\ntwo" });
  const found = await diff("task-1");
  t.match(found?.diff.toString(), "diff --git a/a.txt b/a.txt");
  t.match(found?.diff.toString(), "+two");
  t.equal(await remove("task-1"), "uncommitted");
  t.equal(await remove("task-1", true), "removed");
  t.notOk(existsSync(proof), existsSync(proof) ? readFileSync(proof, "utf8") : "");
});

t.test("many at once of one repository, and each is whole", async (t) => {
  const { adapter, agent, workspaces } = setUp(t);
  const files = Object.fromEntries(
    Array.from({ length: 300 }, (_, index) => [`dir-${index % 20}/${index}`, `${index}\n`]),
  );
  const { path: workspace } = testRepository(join(workspaces, "r"), files);
  const name = agent(sh("find . -type f -path '*/dir-*' | wc -l; git status --short"));
  const ends = await Promise.all(
    Array.from({ length: 12 }, (_, index) =>
      runToEnd(adapter, newSpec(name, { workspace, taskId: `task-${index}`, ...ISOLATED })),
    ),
  );
  for (const { outcome } of ends) t.match(outcome, { status: "completed", result: /^\s*300$/ });
});

t.test("a worktree that is made is stopped, left alone, and gone on with", async (t) => {
  const { adapter, agent, workspaces, context } = setUp(t);
  const { path: workspace, git: inRepository } = testRepository(join(workspaces, "r"));
  const name = agent(sh("cat a.txt"));
  const spec = newSpec(name, { workspace, ...ISOLATED });
  const slow = slowGit(t, workspaces, context);
  const stopped = openSession(slow.adapter, spec);
  await slow.began();
  stopped.run.stop();
  t.match((await stopped.ended).outcome, { status: "failed", error: { code: "STOPPED" } });

  const left = openSession(slow.adapter, newSpec(name, { workspace, taskId: "task-2", ...ISOLATED }));
  await slow.began();
  const from = Date.now();
  await left.run.detach();
  t.ok(Date.now() - from < 8000, "it does not wait for git");
  for (const taskId of ["task-1", "task-2"]) {
    const end = await runToEnd(adapter, newSpec(name, { workspace, taskId, ...ISOLATED }));
    t.match(end.outcome, { status: "completed", result: "one" });
  }
  t.match(inRepository("worktree", "list"), /task-1.*\n.*task-2/);
});

t.test("a run that was made is found again, whatever became of the workspace", async (t) => {
  const { adapter, another, agent, gate, workspaces } = setUp(t);
  const { path: workspace } = testRepository(join(workspaces, "r"));
  const { wait, open } = gate();
  const spec = newSpec(agent(sh(`${wait}; cat a.txt`)), { workspace, ...ISOLATED });
  const first = openSession(adapter, spec);
  const { worktree, pid } = await first.started;
  await first.run.detach();
  renameSync(workspace, `${workspace}-moved`);
  const second = openSession(another(), { ...spec, hasBegun: true });
  t.match(await second.started, { pid, worktree });
  open();
  t.match((await second.ended).outcome, { status: "completed", result: "one" });
});

t.test("what looks at the work does so in the worktree, and makes none", async (t) => {
  const { adapter, agent, workspaces, remove } = setUp(t);
  const { path: workspace } = testRepository(join(workspaces, "r"));
  const name = agent(sh("echo new >b.txt"));
  await runToEnd(adapter, newSpec(name, { workspace, ...ISOLATED }));
  const check = { workspace, command: ["cat", "b.txt"] as const, ...ISOLATED };
  t.match((await runToEnd(adapter, newSpec(name, check))).outcome, { status: "completed", result: "new" });
  t.equal(await remove("task-1", true), "removed");
  t.match(errorOf(await runToEnd(adapter, newSpec(name, check))), {
    code: "NO_WORKTREE",
    message: /not there any more/,
  });
});

t.test("removed by hand: the next attempt goes on from the branch, compared with the same commit", async (t) => {
  const { adapter, agent, workspaces, diff } = setUp(t);
  const { path: workspace, git: inRepository } = testRepository(join(workspaces, "r"));
  const base = inRepository("rev-parse", "HEAD");
  const spec = { workspace, ...ISOLATED };
  const script = `echo two >>a.txt; ${AS_AGENT} commit -qam work; pwd`;
  const { outcome } = await runToEnd(adapter, newSpec(agent(sh(script)), spec));
  rmSync("result" in outcome ? (outcome.result ?? "") : "", { recursive: true });
  t.match(await diff("task-1"), { base, path: undefined, files: [{ path: "a.txt" }] });
  t.match((await runToEnd(adapter, newSpec(agent(sh("cat a.txt")), spec))).outcome, { result: "one\ntwo" });
  t.match(await diff("task-1"), { base, files: [{ path: "a.txt" }] });
});

t.test("removing: refused while something would be lost, and then it is all that goes", async (t) => {
  const { adapter, agent, workspaces, remove, diff } = setUp(t);
  const { path: workspace, git: inRepository } = testRepository(join(workspaces, "r"));
  const spec = { workspace, ...ISOLATED };
  const run = async (script: string) => {
    const { outcome } = await runToEnd(adapter, newSpec(agent(sh(script)), spec));
    return "result" in outcome ? (outcome.result ?? "") : "";
  };
  t.equal(await remove("task-1"), "none");
  const path = await run("echo new >b.txt; pwd");
  t.equal(await remove("task-1"), "uncommitted");
  t.equal(await remove("task-1", true, () => false), "busy");
  await run(`git add b.txt; ${AS_AGENT} commit -qm work`);
  t.equal(await remove("task-1"), "unmerged");
  inRepository("merge", "--quiet", "jarvis/task-1");
  await run(`git checkout -q --detach; ${AS_AGENT} commit -q --allow-empty -m more`);
  t.equal(await remove("task-1"), "unmerged", "nor a commit that is on no branch");
  await run("git checkout -q jarvis/task-1");
  inRepository("worktree", "lock", path);
  t.equal(await remove("task-1"), "locked");
  inRepository("worktree", "unlock", path);
  inRepository("branch", "other");
  t.equal(await remove("task-1"), "removed");
  t.notOk(existsSync(path));
  t.same(inRepository("branch", "--format=%(refname:short)").split("\n"), ["main", "other"]);
  t.equal(await diff("task-1"), null);
  // The next attempt begins anew.
  t.equal(await run("git log --format=%s | head -n 1"), "work");
});

t.test("where no worktree is made, nothing isolated runs", async (t) => {
  const { adapter, agent } = setUp(t);
  const refusing = refusingIsolation(adapter);
  const spec = newSpec(agent(sh("echo it ran")), ISOLATED);
  t.match(errorOf(await runToEnd(refusing, spec)), {
    code: "NO_WORKTREE",
    message: /set the task's isolation to none/,
  });
  t.match((await runToEnd(refusing, newSpec(spec.agent))).outcome, { result: "it ran" });
});

/** An adapter whose git hangs where it fills a worktree. */
function slowGit(t: Test, folder: string, context: ReturnType<typeof testAgents>["context"]) {
  const bin = join(folder, "bin");
  mkdirSync(bin);
  const marker = join(folder, "git-waits");
  const script = `#!/bin/sh\ncase $1 in reset) echo >${marker}; exec sleep 1000;; esac\nexec ${git("/", "--exec-path")}/git "$@"\n`;
  writeFileSync(join(bin, "git"), script, { mode: 0o755 });
  const environment = { ...context.environment, PATH: `${bin}:${process.env["PATH"]}` };
  const adapter = createCliAdapter({
    ...context,
    environment,
    worktrees: createWorktrees(context.config, environment),
  });
  t.teardown(() => adapter.close());
  const began = async () => {
    await until("git waits", () => existsSync(marker));
    rmSync(marker);
  };
  return { adapter, began };
}

t.test("another task of the same id does not get what was left of the first", async (t) => {
  const { adapter, agent, workspaces, remove } = setUp(t);
  const { path: workspace } = testRepository(join(workspaces, "r"), { "a.txt": "one\n" });
  const run = (taskCreatedAt: number) =>
    runToEnd(adapter, newSpec(agent(sh("echo left >left")), { workspace, ...ISOLATED, taskCreatedAt }));
  t.match(await run(1), { outcome: { status: "completed" } });
  t.match(await run(1), { outcome: { status: "completed" } }, "its own next attempt does");
  t.match(await run(2), { outcome: { error: { code: "NO_WORKTREE", message: /an earlier task of the id task-1/ } } });
  t.equal(await remove("task-1", true), "removed");
  t.match(await run(2), { outcome: { status: "completed" } });
});
