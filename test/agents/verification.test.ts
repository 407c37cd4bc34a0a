/** The config's verifiers, run for real in real workspaces. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createCliAdapter } from "../../src/agents/cli.ts";
import { createVerifier } from "../../src/agents/verification.ts";
import type { VerifierSettings } from "../../src/config/schema.ts";
import type { Verification } from "../../src/core/decide/report.ts";
import type { ActiveSession } from "../../src/core/session.ts";
import { realClock } from "../../src/dispatcher/clock.ts";
import { isRunning, readOr, testAgents, until } from "../support/agents.ts";

const LONG_AGO = new Date("2020-01-01T00:00:00Z");

function setUp(t: Test, verifiers: Readonly<Record<string, Partial<VerifierSettings>>>) {
  const { context, workspaces, agent, reports } = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "cli" });
  const adapter = createCliAdapter(context);
  t.teardown(() => adapter.close());
  const workspace = join(workspaces, "project");
  mkdirSync(workspace);
  const settings = Object.entries(verifiers).map(([name, one]) => [name, { timeoutMs: 30_000, ...one }]);
  const verifier = createVerifier({
    clock: realClock,
    config: () => ({ verifiers: Object.fromEntries(settings) }),
    adapterFor: () => adapter,
  });
  let count = 0;
  const session = (verify: readonly string[]): ActiveSession =>
    ({
      id: `ses_${++count}`,
      taskId: "task-1",
      agent: agent(["true"]),
      method: "cli",
      startedAt: Date.now(),
      workspace,
      verify,
    }) as unknown as ActiveSession;
  const begin = (of: ActiveSession) => {
    const began: string[] = [];
    let run = { stop: () => {}, detach: async () => {} };
    const ended = new Promise<Verification>((resolve) => {
      run = verifier.verify(of, { began: (name) => began.push(name), ended: resolve });
    });
    return { began, ended, stop: () => run.stop(), detach: () => run.detach() };
  };
  const verify = (...names: string[]) => begin(session(names)).ended;
  return { workspace, session, begin, verify, reports };
}

const says = (verification: Verification) => (verification.ok ? "yes" : verification.error.message);

t.test("a command says yes with 0, and no with everything else and what it printed", async (t) => {
  const { workspace, verify, reports } = setUp(t, {
    fine: { command: ["sh", "-c", "pwd > where; env > environment; exit 0"] },
    broken: { command: ["sh", "-c", "echo '3 of 41 tests fail'; echo trouble >&2; exit 3"] },
    missing: { command: ["surely-not-installed"] },
    slow: { command: ["sleep", "600"], timeoutMs: 1000 },
  });
  t.same(await verify("fine"), { ok: true });
  t.equal(readFileSync(join(workspace, "where"), "utf8").trim(), workspace);
  t.notMatch(readFileSync(join(workspace, "environment"), "utf8"), /CALLBACK|SECRET_OF_THE_DAEMON/);
  t.match(await verify("broken"), { ok: false, error: { code: "VERIFICATION_FAILED" } });
  t.match(says(await verify("broken")), /"broken" says no: .*status 3: trouble[\s\S]*3 of 41 tests fail/);
  t.match(says(await verify("missing")), /not installed/);
  t.match(says(await verify("slow")), /its total time/);
  t.match(says(await verify("nobody-knows-it")), /cannot be verified: there is no "nobody-knows-it" in the config/);
  t.same(reports, [], "none of that says anything of the agent");
});

t.test("verifiers are run in their order, until one says no", async (t) => {
  const { session, begin } = setUp(t, {
    one: { command: ["true"] },
    two: { command: ["false"] },
    three: { command: ["true"] },
  });
  const { began, ended } = begin(session(["one", "two", "three"]));
  t.match(says(await ended), /"two" says no/);
  t.same(began, ["one", "two"]);
});

t.test("files must be there, whatever they are called", async (t) => {
  const odd = "a $(touch broken) 'b\"; c\n";
  const { workspace, verify } = setUp(t, { files: { files: ["made.txt", odd] } });
  t.match(says(await verify("files")), /missing: made\.txt/);
  writeFileSync(join(workspace, "made.txt"), "");
  t.match(says(await verify("files")), /^(?![\s\S]*made\.txt)[\s\S]*missing: a \$\(touch broken\)/);
  mkdirSync(join(workspace, odd));
  t.same(await verify("files"), { ok: true });
  t.equal(readOr(join(workspace, "broken"), "none"), "none", "names are never a shell's words");
});

t.test("something must have changed since the session began", async (t) => {
  const old = (file: string) => utimesSync(file, LONG_AGO, LONG_AGO);
  const git = (workspace: string, ...args: string[]) =>
    execFileSync("git", ["-c", "user.name=a", "-c", "user.email=a@b", ...args], {
      cwd: workspace,
      stdio: "pipe",
      env: { ...process.env, GIT_CONFIG_GLOBAL: "/dev/null" },
    });
  const { workspace, verify } = setUp(t, { changed: { changed: true } });
  const file = (name: string) => join(workspace, name);
  writeFileSync(file("kept"), "old");
  old(file("kept"));
  t.match(says(await verify("changed")), /nothing in the workspace has changed/);
  writeFileSync(file("made"), "new");
  t.same(await verify("changed"), { ok: true }, "a file, where there is no git");

  git(workspace, "init", "-q");
  writeFileSync(file(".gitignore"), "ignored*\n");
  git(workspace, "add", "-A");
  git(workspace, "commit", "-qm", "first");
  for (const name of ["kept", "made", ".gitignore", ".git/logs/HEAD"]) old(file(name));
  writeFileSync(file("ignored.log"), "new");
  t.match(says(await verify("changed")), /nothing in the workspace has changed/, "what git ignores is no change");
  writeFileSync(file("a file 'of odd name'"), "new");
  t.same(await verify("changed"), { ok: true }, "a file that git does not know yet");
  git(workspace, "add", "-A");
  git(workspace, "commit", "-qm", "second");
  t.same(await verify("changed"), { ok: true }, "a commit");
  for (const name of ["a file 'of odd name'", ".git/logs/HEAD"]) old(file(name));
  t.match(says(await verify("changed")), /nothing in the workspace has changed/);
  rmSync(file("kept"));
  t.same(await verify("changed"), { ok: true }, "a file that is gone");

  // What the repository names to be run belongs to whoever may write into it.
  git(workspace, "checkout", "--", "kept");
  for (const name of ["kept", ".git/logs/HEAD"]) old(file(name));
  const run = `${join(workspace, "..", "run.sh")}`;
  writeFileSync(run, '#!/bin/sh\ntouch "$0.ran"\ncat\n', { mode: 0o755 });
  git(workspace, "config", "core.fsmonitor", run);
  git(workspace, "config", "filter.own name.clean", run);
  writeFileSync(file(".git/info/attributes"), "* filter=own name\n");
  writeFileSync(file("-delete"), "a name like an argument of find");
  t.same(await verify("changed"), { ok: true });
  rmSync(file("-delete"));
  writeFileSync(file("made"), "changed, so that git looks into it");
  rmSync(`${run}.ran`, { force: true });
  t.same(await verify("changed"), { ok: true });
  t.equal(readOr(`${run}.ran`, "no"), "no", "none of it was run");
});

t.test("what cannot be verified is not said to be wrong", async (t) => {
  const { verify } = setUp(t, { missing: { command: ["surely-not-installed"] } });
  t.match(await verify("missing"), { error: { code: "NOT_INSTALLED", message: /cannot be verified \("missing"\)/ } });
  t.match(await verify("nobody-knows-it"), { error: { code: "BAD_CONFIG" } });
});

t.test("one that is stopped ends with all that it started, and says no", async (t) => {
  const { workspace, session, begin } = setUp(t, {
    endless: { command: ["sh", "-c", "sleep 600 & echo $! > pid; wait"] },
  });
  const { ended, stop } = begin(session(["endless"]));
  await until("it runs", () => readOr(join(workspace, "pid"), "").endsWith("\n"));
  stop();
  t.match(says(await ended), /it was stopped/);
  t.notOk(isRunning(Number(readFileSync(join(workspace, "pid"), "utf8"))));
});

t.test("begun again after a restart, it runs nothing twice", async (t) => {
  const { workspace, session, begin } = setUp(t, {
    first: { command: ["sh", "-c", "echo first >> runs"] },
    second: { command: ["sh", "-c", "echo second >> runs; until [ -e open ]; do sleep 0.02; done"] },
  });
  const same = session(["first", "second"]);
  const before = begin(same);
  await until("the second runs", () => readOr(join(workspace, "runs"), "") === "first\nsecond\n");
  await before.detach();
  const after = begin(same);
  writeFileSync(join(workspace, "open"), "");
  t.same(await after.ended, { ok: true });
  t.equal(readFileSync(join(workspace, "runs"), "utf8"), "first\nsecond\n");
});
