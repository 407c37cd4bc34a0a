import { mkdirSync, readdirSync, readFileSync, symlinkSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import t, { type Test } from "tap";
import type { Finding, PathReport } from "../../src/cli/doctor-report.ts";
import { type DaemonProcess, Home, LIMIT_MS, within } from "../support/daemon.ts";

/** What `--json` prints. */
interface Answer {
  readonly ok: boolean;
  readonly findings: readonly Finding[];
  readonly runs?: readonly PathReport[];
}

const PLAIN = fileURLToPath(new URL("../agents/output/fixtures/gemini/plain.stdout.jsonl", import.meta.url));
const NOT_SIGNED_IN = fileURLToPath(
  new URL("../agents/output/fixtures/claude/not_logged_in.stdout.jsonl", import.meta.url),
);

const ALL_STEPS = ["dispatched", "started", "ended", "result", "comment", "task", "lock", "metrics", "cost", "removed"];

/** A sleep, so that the session is seen at work. */
const WORK = "cat > /dev/null; sleep 1";

/** A daemon with these agents and no others. `{bin}` in their settings is where stand-in programs lie. */
async function daemonWith(
  t: Test,
  agents: Readonly<Record<string, object>>,
  more: object = {},
): Promise<[Home, DaemonProcess]> {
  const home = new Home(t);
  const off = { adapter: "cli", command: ["true"], enabled: false };
  const config = { ...more, agents: { gemini: off, claude: off, copilot: off, ...agents } };
  home.configure(JSON.stringify(config).replaceAll("{bin}", home.path("bin")));
  return [home, await home.start()];
}

/** A stand-in for a known program that prints what the real one printed. */
function install(home: Home, name: string, script: string): void {
  mkdirSync(home.path("bin"), { recursive: true });
  home.script(`bin/${name}`, `#!/bin/sh\n[ "$1" = --version ] && { echo 1.2.3; exit; }\n${WORK}\n${script}\n`);
}

const onPath = { env: { PATH: "{bin}:/usr/bin:/bin" } };

async function doctorJson(home: Home, args: readonly string[]): Promise<Answer & { readonly code: number | null }> {
  const { code, stdout, stderr } = await home.run(["doctor", "--json", ...args]);
  if (stderr !== "") throw new Error(stderr);
  return { ...(JSON.parse(stdout) as Answer), code };
}

const states = (run: PathReport | undefined) =>
  Object.fromEntries(run?.steps.map(({ step, state }) => [step, state]) ?? []);
const messageOf = (run: PathReport | undefined, name: string) => run?.steps.find(({ step }) => step === name)?.message;

t.test("--run sends a task through the real program, and each step is a line", async (t) => {
  const [home, daemon] = await daemonWith(t, {
    gemini: { adapter: "cli", preset: "gemini", ...onPath },
    claude: { adapter: "spawn", via: "heartbeat" },
    missing: { adapter: "cli", command: ["surely-not-installed"] },
  });
  // The program that is known by this name, with the words that were asked for in place of what it said then.
  install(home, "gemini", `sed 's/All done:/OK/; /the pars/d; /er has 41/d; / tests/d' '${PLAIN}'`);
  await daemon.client.post("/api/agents/gemini/check");

  const { code, stdout, stderr } = await home.run(["doctor", "--run"]);
  t.equal(stderr, "");
  t.equal(code, 0, "an agent that is not there, of those that nobody named, is no failure");
  const lines = stdout
    .split("\n")
    .filter((line) => /^(?:ok|warn|fail) +(?:gemini +[a-z]+: |missing +not|run |claude)/.test(line));
  const shown = lines
    .map((line) => line.replace(/ses_\w+/, "SESSION").replace(/on \S+, pid \d+/, "on HOST, pid N"))
    .filter((line) => !/(?:program|version|login|disk): /.test(line));
  t.match(
    shown.join("\n").replace(/after \d+ m?s/, "after TIME"),
    [
      "ok    claude          is started by Jarvis at a heartbeat: there is nothing here to check",
      "ok    gemini          dispatched: session SESSION, attempt 1, by cli",
      "ok    gemini          started: its program ran on HOST, pid N",
      "ok    gemini          ended: completed after TIME",
      'ok    gemini          result: read: "OK"',
      "ok    gemini          comment: gemini commented on the task with its result",
      "ok    gemini          task: the task is in done",
      "ok    gemini          lock: held while it was at work, and released",
      "ok    gemini          metrics: 1 more dispatched, 1 more completed",
      "ok    gemini          cost: 1200 tokens in (200 of them from a cache), 50 out by gemini-2.5-pro; $0.00178, estimated from the prices of its model",
      "ok    gemini          removed: the task is off the board again",
      "warn  missing         not run: it is unavailable: surely-not-installed is not on the PATH of its agent",
    ].join("\n"),
  );
  t.match(shown.at(-1), "ok    run             1 sent; paid: $0.00178");
  t.same((await daemon.client.get<{ tasks: object[] }>("/api/tasks")).tasks, []);

  const [session] = (await daemon.client.get<{ sessions: { id: string }[] }>("/api/sessions")).sessions;
  const prompt = readFileSync(join(home.data, "runs", session?.id ?? "", "prompt.md"), "utf8");
  t.match(prompt, "Reply with the single word OK and nothing else. Do not use any tool");
});

t.test("--run of agents that fail says with what, and what their programs wrote last", async (t) => {
  const [home, daemon] = await daemonWith(t, {
    claude: { adapter: "cli", preset: "claude", ...onPath },
    broken: {
      adapter: "cli",
      command: ["sh", "-c", `${WORK}; echo 'first'; printf 'the \\033[31mlast word\\n' >&2; exit 4`],
    },
    slow: { adapter: "cli", command: ["sh", "-c", "cat > /dev/null; exec sleep 60"], killGraceMs: 1000 },
    other: { adapter: "cli", command: ["sh", "-c", `${WORK}; echo 'I would rather not'`] },
  });
  install(home, "claude", `cat '${NOT_SIGNED_IN}'; exit 1`);
  await daemon.client.post("/api/agents/claude/check");

  const answer = await doctorJson(home, ["--run", "claude", "broken", "slow", "other", "--timeout", "2s"]);
  t.match(answer, { ok: false, code: 1 });
  const [claude, broken, slow, other] = answer.runs ?? [];
  const failed = {
    dispatched: "ok",
    started: "ok",
    ended: "fail",
    comment: "ok",
    task: "ok",
    lock: "ok",
    metrics: "ok",
    removed: "ok",
  };
  t.match(states(claude), failed);
  t.match(messageOf(claude, "ended"), /^failed after .*: AUTH \(auth\): .* sign in with it as the user/);
  t.match(claude?.session, { status: "failed", agent: "claude", error: { code: "AUTH", class: "auth" } });
  t.same(states(broken), failed);
  t.match(
    messageOf(broken, "ended"),
    /^failed after .*: EXIT_STATUS \(crashed\): .* status 4.*; run the program by hand/,
  );
  t.same(broken?.steps.find(({ step }) => step === "ended")?.details, [
    "the last that it wrote:",
    "  the \u001b[31mlast word",
  ]);
  t.match(messageOf(broken, "task"), "the task is in todo, held: ATTEMPTS_EXHAUSTED");
  t.match(messageOf(broken, "metrics"), "1 more dispatched, 1 more failed");
  t.same(states(slow), failed);
  t.match(messageOf(slow, "ended"), /^timed out after 2 s: TIMED_OUT \(timed_out\)/);
  t.same(Object.keys(states(other)), ALL_STEPS);
  t.match(states(other), { ended: "ok", result: "warn", cost: "warn" });
  t.match(messageOf(other, "result"), 'read "I would rather not", where "OK" was asked for');
  t.same((await daemon.client.get<{ tasks: object[] }>("/api/tasks")).tasks, []);

  const screen = await home.run(["doctor", "--run", "broken"]);
  t.equal(screen.code, 1);
  t.match(screen.stdout, /\n {22}the last that it wrote:\n {24}the last word\n/, "no escape sequence reaches a screen");
});

t.test("--run of one that cannot be run says why, and waits for a slot no longer than a task may take", async (t) => {
  const [home, daemon] = await daemonWith(t, {
    claude: { adapter: "spawn", via: "heartbeat" },
    missing: { adapter: "cli", command: ["surely-not-installed"] },
    resting: { adapter: "cli", command: ["true"] },
    busy: { adapter: "cli", command: ["sh", "-c", "cat > /dev/null; exec sleep 60"], killGraceMs: 1000 },
  });
  await daemon.client.post("/api/agents/resting/pause", { reason: "on holiday" });
  await daemon.client.post("/api/tasks", { id: "work", title: "Work", assignee: "busy" });
  await daemon.client.post("/api/orchestrate");

  const answer = await doctorJson(home, [
    "--run",
    "claude",
    "missing",
    "resting",
    "jarvis",
    "nobody",
    "busy",
    "--timeout",
    "1s",
  ]);
  t.match(answer, { ok: false, code: 1 });
  const why = (about: string) => answer.findings.find((one) => one.about === about && one.state === "fail")?.message;
  t.match(why("claude"), /^not run: only Jarvis can start it: `task add .* --assignee claude`/);
  t.match(why("missing"), /^not run: it is unavailable: surely-not-installed is not on the PATH/);
  t.match(why("resting"), "not run: it is paused: on holiday; `agents resume resting` lets it work again");
  t.match(why("jarvis"), "not run: works at the board");
  t.match(why("nobody"), "not run: no agent is called nobody; there are ");
  const [busy] = answer.runs ?? [];
  t.same(states(busy), { dispatched: "fail", removed: "ok" });
  t.match(messageOf(busy, "dispatched"), "nothing was started: busy has 1 of 1 slots in use");
  const { tasks } = await daemon.client.get<{ tasks: { id: string; status: string }[] }>("/api/tasks");
  t.match(tasks, [{ id: "work", status: "in_progress" }], "the work of others goes on");
});

t.test("--run of an agent that others keep busy, too, beside a daemon that dispatches by itself", async (t) => {
  const [home, daemon] = await daemonWith(
    t,
    { shared: { adapter: "cli", command: ["sh", "-c", `${WORK}; echo OK`], maxConcurrent: 3 } },
    { dispatch: { auto: true, intervalMs: 100 } },
  );
  const run = doctorJson(home, ["--run"]);
  for (let count = 0; count < 20; count++) {
    await daemon.client.post("/api/tasks", { title: "Work", assignee: "shared" });
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  const answer = await run;
  t.match(answer, { ok: true, code: 0 });
  t.match(states(answer.runs?.[0]), { dispatched: "ok", ended: "ok", comment: "ok", metrics: "ok", removed: "ok" });
});

t.test("Ctrl-C during --run leaves neither task nor session", async (t) => {
  const [home, daemon] = await daemonWith(t, {
    slow: { adapter: "cli", command: ["sh", "-c", "cat > /dev/null; exec sleep 60"], killGraceMs: 1000 },
  });
  const child = home.command(["doctor", "--run", "--json"], {});
  const output = child.stdout?.setEncoding("utf8").toArray();
  const exited = new Promise<number | null>((resolve) => child.once("close", resolve));
  await within(LIMIT_MS, "the session", running(daemon));
  child.kill("SIGINT");
  child.kill("SIGINT");
  t.equal(await within(LIMIT_MS, "its end", exited), 130);
  t.match(JSON.parse((await output)?.join("") ?? ""), {
    ok: false,
    runs: [
      {
        steps: [
          { step: "dispatched" },
          { step: "started" },
          { step: "ended", state: "fail", message: "cut short" },
          { step: "removed", state: "ok" },
        ],
      },
    ],
  });
  t.same((await daemon.client.get<{ tasks: object[] }>("/api/tasks")).tasks, []);
  t.match((await daemon.client.get<{ sessions: object[] }>("/api/sessions")).sessions, [{ status: "cancelled" }]);
  t.same(home.livingRuns(), []);
});

async function running(daemon: DaemonProcess): Promise<void> {
  for (;;) {
    const { activeSessions } = await daemon.client.status();
    if (activeSessions.some(({ status }) => status === "running")) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

t.test("--run without a daemon, and options that exclude each other", async (t) => {
  const home = new Home(t);
  const alone = await home.run(["doctor", "--run"]);
  t.equal(alone.code, 1);
  t.match(alone.stdout, /^fail {2}run {13}nothing was run: nothing listens at /m);
  t.match(await home.run(["doctor", "--run", "--self-test"]), { code: 2, stderr: /cannot be used with/ });
  t.match((await home.run(["help", "doctor"])).stdout, "IT COSTS what that one answer");
});

const SELF_TEST = [
  ["exit", "completed"],
  ["callback", "completed"],
  ["failure", "failed"],
  ["cancel", "cancelled"],
  ["restart", "completed"],
];

t.test("--self-test works through dispatch, callback, failure, cancel and kill -9, and leaves nothing", async (t) => {
  const home = new Home(t);
  mkdirSync(home.path("tmp"));
  // What leads other commands to the user's own daemon leads this one nowhere.
  const env = {
    TMPDIR: home.path("tmp"),
    JARVIS_URL: "http://127.0.0.1:9",
    JARVIS_PORT: "1",
    JARVIS_CONFIG: "/nowhere",
  };
  const begin = performance.now();
  const { code, stdout, stderr } = await home.run(["doctor", "--self-test", "--json"], env);
  t.comment(`took ${Math.round(performance.now() - begin)} ms`);
  t.equal(stderr, "");
  const answer = JSON.parse(stdout) as Answer;
  t.same(
    answer.findings.filter(({ state }) => state !== "ok"),
    [],
  );
  t.match({ ...answer, code }, { ok: true, code: 0 });
  t.same(
    answer.runs?.map(({ name, session }) => [name, session?.status]),
    SELF_TEST,
  );
  for (const run of answer.runs ?? []) {
    t.same(
      run.steps.filter(({ state }) => state !== "ok"),
      [],
      run.name,
    );
  }
  t.match(messageOf(answer.runs?.[1], "result"), 'read: "OK, by callback"');
  t.match(
    answer.findings.find(({ about }) => about === "restart"),
    { message: /^found again: pid \d+ after kill -9 of the daemon, started once$/ },
  );
  t.same(readdirSync(home.path("tmp")), []);
  const pids = answer.runs?.map(({ session }) => session?.pid ?? 0) ?? [];
  t.notOk(pids.some((pid) => pid === 0 || isThere(pid)));
});

t.test("--self-test without curl leaves the callback out, and says so", async (t) => {
  const home = new Home(t);
  const bin = home.path("bin");
  mkdirSync(bin);
  for (const directory of (process.env["PATH"] ?? "").split(delimiter)) {
    for (const name of namesIn(directory)) if (name !== "curl") linkUnlessThere(join(directory, name), join(bin, name));
  }
  const { code, stdout } = await home.run(["doctor", "--self-test"], { PATH: bin });
  t.equal(code, 0, stdout);
  t.match(stdout, /^warn {2}callback {8}skipped: curl is not there/m);
  t.match(stdout, /^ok {4}restart {9}found again: /m);
});

t.test("Ctrl-C during --self-test leaves nothing", async (t) => {
  const home = new Home(t);
  mkdirSync(home.path("tmp"));
  const child = home.command(["doctor", "--self-test"], { TMPDIR: home.path("tmp") });
  const exited = new Promise<number | null>((resolve) => child.once("close", resolve));
  child.stderr?.resume();
  let said = "";
  for await (const text of child.stdout?.setEncoding("utf8") ?? []) {
    said += text;
    if (said.includes("callback") && !child.killed) child.kill("SIGINT");
  }
  t.equal(await within(LIMIT_MS, "its end", exited), 130);
  t.match(said, /^ok {4}removed {9}the daemon is stopped, its data deleted$/m);
  t.notMatch(said, "restart");
  t.same(readdirSync(home.path("tmp")), []);
});

function isThere(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function linkUnlessThere(target: string, path: string): void {
  try {
    symlinkSync(target, path);
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
}
