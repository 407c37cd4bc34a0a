/** What every way to reach a program must do alike. Run by cli, spawn via process, and ssh. */
import { mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Test } from "tap";
import { readRunRecord, runDirectory } from "../../src/agents/run-directory.ts";
import type { AgentAdapter } from "../../src/dispatcher/ports.ts";
import {
  isRunning,
  newSpec,
  openSession,
  problemWith,
  readOr,
  runToEnd,
  type TestAgents,
  testAgents,
  until,
} from "../support/agents.ts";

export interface ContractParts {
  readonly base: Parameters<typeof testAgents>[1];
  readonly create: (context: TestAgents["context"]) => AgentAdapter;
  /** Where the wrapper writes, which is not where the daemon reads if that is another host. */
  readonly remoteDirectory?: (sessionId: string) => string;
}

/** Strings that something on the way might take for more than text. */
const HOSTILE = [
  "$(touch /tmp/owned) `id` $HOME",
  `'single' "double" \\back\\slash '\\'' "'"`,
  "line one\nline two\n\nlast line with a break\n",
  "  leading and trailing blanks  ",
  "tab\tbell\u0007escape\u001b[31m delete\u007f one\u0001",
  "ünïcödé 漢字 🦊 \u202e",
  "; rm -rf / & | > < * ? [a] {b,c} ~ # !history %s \\n \\0",
  "-n",
  "",
  "\n",
  ".",
  "{prompt} {taskId}",
];

export function adapterContract(t: Test, parts: ContractParts): void {
  // Most of them wait for other processes.
  t.jobs = 4;
  const contract = (name: string, check: (t: Test) => Promise<void>) => t.test(name, { buffered: true }, check);
  const setUp = (test: Test) => {
    const agents = testAgents((cleanUp) => test.teardown(cleanUp), parts.base);
    const adapters: AgentAdapter[] = [];
    const another = () => {
      const adapter = parts.create(agents.context);
      adapters.push(adapter);
      return adapter;
    };
    // Before the directories go.
    test.teardown(async () => {
      await Promise.all(adapters.map((adapter) => adapter.close()));
    });
    return { ...agents, adapter: another(), another };
  };
  const sh = (script: string, ...args: string[]) => ["sh", "-c", script, "stand-in", ...args];

  contract("a program that ends well: what it printed is the result", async (t) => {
    const { adapter, agent, dataDirectory, reports } = setUp(t);
    const name = agent(sh("echo; echo it is done; echo a word of warning >&2"));
    const spec = newSpec(name);
    const session = openSession(adapter, spec);
    const facts = await session.started;
    const end = await session.ended;
    t.same(end, {
      exit: { exitCode: 0 },
      outcome: { status: "completed", result: "it is done" },
    });
    t.ok(facts.pid > 1);
    t.ok(facts.pidStart);
    t.ok(facts.bootId);
    const directory = runDirectory(dataDirectory, spec.sessionId);
    t.equal(readFileSync(join(directory, "stdout.log"), "utf8"), "\nit is done\n");
    t.equal(readFileSync(join(directory, "stderr.log"), "utf8"), "a word of warning\n");
    t.same(reports.at(-1), { agent: name, reason: null });
  });

  contract("all that a run leaves is for its owner alone", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const spec = newSpec(agent(sh("echo done")));
    await runToEnd(adapter, spec);
    const remote = parts.remoteDirectory?.(spec.sessionId);
    for (const directory of [runDirectory(dataDirectory, spec.sessionId), ...(remote === undefined ? [] : [remote])]) {
      t.equal(statSync(directory).mode & 0o777, 0o700);
      for (const entry of readdirSync(directory, { withFileTypes: true })) {
        const expected = entry.isDirectory() ? 0o700 : 0o600;
        t.equal(statSync(join(directory, entry.name)).mode & 0o777, expected, entry.name);
      }
    }
  });

  contract("a program that fails: its status and what it said on stderr", async (t) => {
    const { adapter, agent } = setUp(t);
    const end = await runToEnd(adapter, newSpec(agent(sh("echo half; echo no such luck >&2; exit 3"))));
    t.same(end.exit, { exitCode: 3 });
    t.match(end.outcome, {
      status: "failed",
      result: "half",
      error: { code: "EXIT_STATUS", message: /status 3: no such luck$/ },
    });
  });

  contract("a program's own 127 is no missing program", async (t) => {
    const { adapter, agent } = setUp(t);
    const end = await runToEnd(adapter, newSpec(agent(sh("echo something else is missing >&2; exit 127"))));
    t.match(end, { exit: { exitCode: 127 }, outcome: { status: "failed", error: { code: "EXIT_STATUS" } } });
  });

  contract("a program cannot pass for one that was never started", async (t) => {
    const { adapter, agent, reports } = setUp(t);
    const forge = "echo NOT_INSTALLED >../start-error; echo 'setsid: buy this' >&2; echo '/a/run.sh: or that' >&2";
    for (const status of [126, 127]) {
      const name = agent(sh(`${forge}; exit ${status}`));
      t.match(await runToEnd(adapter, newSpec(name)), {
        exit: { exitCode: status },
        outcome: { status: "failed", error: { code: "EXIT_STATUS" } },
      });
      t.same(
        reports.filter((report) => report.agent === name && report.reason !== null),
        [],
        "nothing is held against the agent",
      );
    }
  });

  contract("what a program puts in the way of the records does not keep its run from ending", async (t) => {
    const { adapter, agent } = setUp(t);
    const inTheWay = "cd ..; for one in stopped timed-out exit.json.new; do mkfifo $one; done; mkdir exit.json";
    const spec = newSpec(agent(sh(`${inTheWay}; trap '' TERM; while :; do sleep 1000; done`)), {
      deadlineAt: Date.now() + 5000,
    });
    const { started, ended } = openSession(adapter, spec);
    const { pid } = await started;
    t.match(await ended, { exit: { signal: "SIGKILL" }, outcome: { status: "timed_out" } });
    t.notOk(isRunning(pid));
  });

  contract("a wrapper that is frozen is not waited for", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const spec = newSpec(agent(sh("kill -STOP $PPID")));
    t.match((await runToEnd(adapter, spec)).outcome, { status: "lost", error: { code: "RUN_LOST" } });
    const directory = parts.remoteDirectory?.(spec.sessionId) ?? runDirectory(dataDirectory, spec.sessionId);
    const { processes } = readRunRecord(directory);
    await until("both are gone", () => ![processes?.wrapper, processes?.guard].some((one) => isRunning(one?.pid ?? 0)));
  });

  contract("a guard that is frozen does not keep a run from ending", async (t) => {
    const { adapter, agent } = setUp(t);
    const freeze = "cd ..; until [ -s wrapper ]; do sleep 0.1; done; kill -STOP $(sed -n 's/^guard //p' wrapper)";
    const spec = newSpec(agent(sh(`${freeze}; trap '' TERM; while :; do sleep 1000; done`)), {
      deadlineAt: Date.now() + 4000,
    });
    const { started, ended } = openSession(adapter, spec);
    const { pid } = await started;
    const { outcome } = await ended;
    t.not(outcome.status, "completed");
    t.notOk(isRunning(pid));
  });

  contract("a program that a signal ends", async (t) => {
    const { adapter, agent } = setUp(t);
    const end = await runToEnd(adapter, newSpec(agent(sh("kill -9 $$"))));
    t.same(end.exit, { signal: "SIGKILL" });
    t.match(end.outcome, { status: "failed", error: { code: "SIGNAL", message: /SIGKILL, with nothing on stderr$/ } });
  });

  contract("a program that is silent and ends well", async (t) => {
    const { adapter, agent } = setUp(t);
    const end = await runToEnd(adapter, newSpec(agent(["true"])));
    t.same(end.outcome, { status: "completed", result: "(no output)" });
  });

  contract("a prompt of 300 KB arrives whole on standard input", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const prompt = `${HOSTILE.join("\n")}\n`.repeat(1000).slice(0, 300_000);
    const spec = newSpec(agent(["cat"]), { prompt });
    t.equal((await runToEnd(adapter, spec)).outcome.status, "completed");
    t.ok(readFileSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log"), "utf8") === prompt);
  });

  contract("arguments, variables and the prompt arrive as they are, whatever stands in them", async (t) => {
    const { adapter, agent } = setUp(t);
    const env = Object.fromEntries(HOSTILE.map((text, index) => [`HOSTILE_${index}`, text]));
    const report = "process.stdout.write(JSON.stringify({ argv: process.argv.slice(1), env: process.env }))";
    const [first = "", ...others] = HOSTILE;
    const name = agent(
      [process.execPath, "-e", report, "--", "{prompt}", "a{prompt}b", "{taskId}/{sessionId}/{model}", ...others],
      { env },
    );
    for (const prompt of [first, HOSTILE.join("\n")]) {
      const spec = newSpec(name, { prompt, model: "m{prompt}", env: { JARVIS_TASK_ID: "task-1" } });
      const end = await runToEnd(adapter, spec);
      t.equal(end.outcome.status, "completed");
      const told = JSON.parse(("result" in end.outcome && end.outcome.result) || "{}");
      const places = [prompt, `a${prompt}b`, `task-1/${spec.sessionId}/m{prompt}`];
      // What stands in the config is filled in once: {prompt} and {taskId} of the last one.
      t.same(told.argv, [...places, ...others.slice(0, -1), `${prompt} task-1`]);
      for (const [key, value] of Object.entries(env)) t.equal(told.env[key], value, key);
      t.equal(told.env.JARVIS_TASK_ID, "task-1");
      t.match(told.env.JARVIS_RUN_MARK, /^[0-9a-f]{32}$/);
    }
  });

  contract("{promptFile} and {workdir} lead to the prompt and the place", async (t) => {
    const { adapter, agent, workspaces } = setUp(t);
    const script = 'cat "$1"; cat; printf " %s " "$2"; pwd';
    const end = await runToEnd(
      adapter,
      newSpec(agent(sh(script, "{promptFile}", "{workdir}")), { workspace: workspaces }),
    );
    t.match(end.outcome, { status: "completed", result: `the prompt\n ${workspaces} ${workspaces}` });
  });

  contract("nothing of the daemon's own environment but what the config names", async (t) => {
    const { adapter, agent } = setUp(t);
    const script = 'echo "$SECRET_OF_THE_DAEMON|$JARVIS_TOKEN|$GIVEN"';
    const env = { GIVEN: "given" };
    t.match((await runToEnd(adapter, newSpec(agent(sh(script), { env })))).outcome, { result: "||given" });
    const envPass = ["SECRET_OF_THE_DAEMON", "JARVIS_TOKEN"];
    const passed = await runToEnd(adapter, newSpec(agent(sh(script), { env, envPass })));
    t.match(passed.outcome, { result: "secret||given" });
  });

  contract("a program finds its signals as they should be", async (t) => {
    if (process.platform !== "linux") return void t.comment("only /proc tells");
    const { adapter, agent } = setUp(t);
    const end = await runToEnd(adapter, newSpec(agent(["grep", "-E", "SigIgn|SigBlk", "/proc/self/status"])));
    t.match(end.outcome, { result: "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000" });
  });

  contract("the total time: the wrapper ends the program and all of its group", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const script = "sleep 1000 & echo $!; sh -c 'sleep 1000 & echo $!; wait'";
    const spec = newSpec(agent(sh(script)), { deadlineAt: Date.now() + 5000 });
    const { run, started, ended } = openSession(adapter, spec);
    const { pid } = await started;
    const end = await ended;
    t.match(end, { exit: { signal: "SIGTERM" }, outcome: { status: "timed_out", error: { code: "TIMED_OUT" } } });
    const log = readFileSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log"), "utf8");
    const pids = log.trim().split("\n").map(Number);
    t.equal(pids.length, 2);
    for (const one of [pid, ...pids]) t.notOk(isRunning(one));
    run.stop();
  });

  contract("a run whose time was over before it began is never started", async (t) => {
    const { adapter, agent, workspaces } = setUp(t);
    const spec = newSpec(agent(sh(`touch ${workspaces}/begun`)), { deadlineAt: Date.now() - 1 });
    t.match((await runToEnd(adapter, spec)).outcome, { status: "timed_out" });
    t.same(readdirSync(workspaces), []);
  });

  contract("stop: TERM to the group, and what heeds it is gone", async (t) => {
    const { adapter, agent } = setUp(t);
    const { run, started, ended } = openSession(
      adapter,
      newSpec(agent(sh("trap 'echo told; exit 9' TERM; sleep 1000 & wait"))),
    );
    const { pid } = await started;
    run.stop();
    run.stop();
    const end = await ended;
    t.match(end, { exit: { exitCode: 9 }, outcome: { status: "failed", error: { code: "STOPPED" }, result: "told" } });
    t.notOk(isRunning(pid));
  });

  contract("stop: KILL after the grace for what does not heed TERM", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const script = "trap '' TERM; sh -c 'sleep 1000' & echo $!; while :; do sleep 1000; done";
    const spec = newSpec(agent(sh(script), { killGraceMs: 1000 }));
    const { run, started, ended, signs } = openSession(adapter, spec);
    const { pid } = await started;
    await until("it said something", () => signs() > 0);
    run.stop();
    const end = await ended;
    t.match(end, { exit: { signal: "SIGKILL" }, outcome: { error: { code: "STOPPED" } } });
    const helper = Number(readFileSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log"), "utf8"));
    t.notOk(isRunning(pid));
    t.notOk(isRunning(helper));
  });

  contract("stopped before it began: nothing is started", async (t) => {
    const { adapter, agent, workspaces } = setUp(t);
    const { run, ended } = openSession(adapter, newSpec(agent(sh(`touch ${workspaces}/begun`))));
    run.stop();
    t.match((await ended).outcome, { status: "failed", error: { code: "STOPPED" } });
    t.same(readdirSync(workspaces), []);
  });

  contract("helpers that a program leaves behind in its group end with the run", async (t) => {
    const { adapter, agent } = setUp(t);
    const end = await runToEnd(adapter, newSpec(agent(sh("sleep 1000 & echo $!"))));
    t.equal(end.outcome.status, "completed");
    t.notOk(isRunning(Number("result" in end.outcome && end.outcome.result)));
  });

  const stray = `setsid sh -c 'trap "" TERM; while :; do sleep 1000; done' & echo $!`;

  contract("what a program starts in a session of its own ends with the run", async (t) => {
    const { adapter, agent } = setUp(t);
    const end = await runToEnd(adapter, newSpec(agent(sh(stray))));
    t.match(end, { exit: { exitCode: 0, leftovers: undefined }, outcome: { status: "completed" } });
    t.notOk(isRunning(Number("result" in end.outcome && end.outcome.result)));
  });

  contract("stop: what a program started in a session of its own is gone with it", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const spec = newSpec(agent(sh(`${stray}; trap '' TERM; while :; do sleep 1000; done`)));
    const { run, started, ended, signs } = openSession(adapter, spec);
    const { pid } = await started;
    await until("it said something", () => signs() > 0);
    run.stop();
    t.match(await ended, { exit: { signal: "SIGKILL" }, outcome: { error: { code: "STOPPED" } } });
    const log = readFileSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log"), "utf8");
    t.same([pid, Number(log)].map(isRunning), [false, false]);
  });

  contract("leftovers that are only to be told of are told of", async (t) => {
    const { adapter, agent } = setUp(t);
    const end = await runToEnd(adapter, newSpec(agent(sh(stray), { leftovers: "report" })));
    const pid = Number("result" in end.outcome && end.outcome.result);
    t.ok(isRunning(pid));
    process.kill(-pid, "SIGKILL");
    t.ok(end.exit.leftovers?.includes(pid));
  });

  contract("what a program started in a session of its own ends even if wrapper and guard were killed", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const spec = newSpec(agent(sh(`${stray}; while :; do sleep 1000; done`)));
    const { run, started, ended, signs } = openSession(adapter, spec);
    await started;
    await until("it said something", () => signs() > 0);
    const directory = parts.remoteDirectory?.(spec.sessionId) ?? runDirectory(dataDirectory, spec.sessionId);
    await until("the wrapper wrote its records", () => readRunRecord(directory).processes !== null);
    const { processes } = readRunRecord(directory);
    for (const one of [processes?.guard, processes?.wrapper]) if (one) process.kill(one.pid, "SIGKILL");
    run.stop();
    t.match((await ended).outcome, { status: "lost" });
    const log = readFileSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log"), "utf8");
    await until("it is gone", () => !isRunning(Number(log)));
  });

  contract("a session's run is made once, whoever opens it and however often", async (t) => {
    const { agent, another, workspaces } = setUp(t);
    const spec = newSpec(agent(sh(`echo $$ >>${workspaces}/starts; echo once`)));
    const ends = await Promise.all(Array.from({ length: 6 }, () => runToEnd(another(), spec)));
    for (const { outcome } of ends) t.match(outcome, { status: "completed", result: "once" });
    t.match(readFileSync(join(workspaces, "starts"), "utf8"), /^\d+\n$/);
    t.match((await runToEnd(another(), spec)).outcome, { status: "completed", result: "once" });
    t.match(readFileSync(join(workspaces, "starts"), "utf8"), /^\d+\n$/);
  });

  contract("what has begun, as is written down, and is not found is lost, and not made again", async (t) => {
    const { adapter, agent, workspaces } = setUp(t);
    const spec = newSpec(agent(sh(`touch ${workspaces}/begun`)), { hasBegun: true });
    t.match((await runToEnd(adapter, spec)).outcome, { status: "lost", error: { code: "RUN_LOST" } });
    t.same(readdirSync(workspaces), []);
  });

  contract("let go and found again by another: the same program, and no byte is missing", async (t) => {
    const { adapter, agent, another, gate, dataDirectory } = setUp(t);
    const [first, second] = [gate(), gate()];
    const lines = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i + 1)); done";
    const spec = newSpec(agent(sh(`${lines}; ${first.wait}; ${lines}; ${second.wait}; ${lines}`)));
    const before = openSession(adapter, spec);
    const facts = await before.started;
    await before.run.detach();
    await adapter.close();
    first.open();

    const after = openSession(another(), spec);
    t.same(await after.started, facts);
    second.open();
    t.equal((await after.ended).outcome.status, "completed");
    const expected = Array.from({ length: 2000 }, (_, index) => `line ${index}\n`)
      .join("")
      .repeat(3);
    t.ok(readFileSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log"), "utf8") === expected);
  });

  contract("a run that ended while nobody looked tells how", async (t) => {
    const { adapter, agent, another, gate, dataDirectory } = setUp(t);
    const end = gate();
    const spec = newSpec(agent(sh(`${end.wait}; echo by myself; exit 4`)));
    const before = openSession(adapter, spec);
    await before.started;
    await before.run.detach();
    end.open();
    const directory = parts.remoteDirectory?.(spec.sessionId) ?? runDirectory(dataDirectory, spec.sessionId);
    await until("it ended", () => readOr(join(directory, "exit.json"), "") !== "");
    const after = await runToEnd(another(), spec);
    t.match(after, { exit: { exitCode: 4 }, outcome: { status: "failed", result: "by myself" } });
  });

  contract("an exit record that the program wrote by itself is not believed while it runs", async (t) => {
    const { adapter, agent, another, gate, dataDirectory } = setUp(t);
    const end = gate();
    const forged = '{"status":0,"signal":null,"stopped":false,"timedOut":false}';
    const spec = newSpec(agent(sh(`echo '${forged}' >../exit.json; echo forged; ${end.wait}; echo the truth; exit 7`)));
    const before = openSession(adapter, spec);
    await before.started;
    const directory = parts.remoteDirectory?.(spec.sessionId) ?? runDirectory(dataDirectory, spec.sessionId);
    await until("it is forged", () => readOr(join(directory, "stdout.log"), "") !== "");
    await before.run.detach();
    const after = openSession(another(), spec);
    await after.started;
    let ended = false;
    void after.ended.then(() => {
      ended = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    t.notOk(ended, "its program still runs");
    end.open();
    t.match(await after.ended, { exit: { exitCode: 7 }, outcome: { status: "failed", result: "forged\nthe truth" } });
  });

  contract("let go, the total time is still kept", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const spec = newSpec(agent(["sleep", "1000"]), { deadlineAt: Date.now() + 5000 });
    const { run, started } = openSession(adapter, spec);
    const { pid } = await started;
    await run.detach();
    await adapter.close();
    await until("the wrapper ended it", () => !isRunning(pid));
    const directory = parts.remoteDirectory?.(spec.sessionId) ?? runDirectory(dataDirectory, spec.sessionId);
    await until("it is written down", () => readRunRecord(directory).exit !== null);
    t.match(readRunRecord(directory).exit, { timedOut: true, stopped: false, signal: "SIGTERM" });
  });

  contract("a run whose wrapper was killed goes on, and is lost once its program has ended", async (t) => {
    const { adapter, agent, gate, dataDirectory } = setUp(t);
    const end = gate();
    const spec = newSpec(agent(sh(`${end.wait}; echo still here`)));
    const { started, ended } = openSession(adapter, spec);
    const { pid } = await started;
    const directory = parts.remoteDirectory?.(spec.sessionId) ?? runDirectory(dataDirectory, spec.sessionId);
    await until("the wrapper wrote its records", () => readRunRecord(directory).processes !== null);
    const { processes } = readRunRecord(directory);
    if (processes === null) throw new Error("no records");
    process.kill(processes.wrapper.pid, "SIGKILL");
    t.ok(isRunning(pid));
    end.open();
    t.match(await ended, { exit: {}, outcome: { status: "lost", error: { code: "RUN_LOST" } } });
    t.notOk(isRunning(pid));
    await until("the guard is gone too", () => !isRunning(processes.guard.pid));
    t.equal(readFileSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log"), "utf8"), "still here\n");
  });

  contract("a run whose wrapper and guard were killed can be stopped all the same", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const script = "trap '' TERM; mkfifo ../stopped; echo ready; while :; do sleep 1000; done";
    const spec = newSpec(agent(sh(script), { killGraceMs: 1000 }));
    const { run, started, ended, signs } = openSession(adapter, spec);
    const { pid } = await started;
    await until("what would block a marker is there", () => signs() > 0);
    const directory = parts.remoteDirectory?.(spec.sessionId) ?? runDirectory(dataDirectory, spec.sessionId);
    await until("the wrapper wrote its records", () => readRunRecord(directory).processes !== null);
    const { processes } = readRunRecord(directory);
    for (const one of [processes?.guard, processes?.wrapper]) if (one) process.kill(one.pid, "SIGKILL");
    run.stop();
    t.match((await ended).outcome, { status: "lost" });
    t.notOk(isRunning(pid));
  });

  contract("output over the limit ends the run, and the log is cut there", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const spec = newSpec(agent(["yes"], { maxOutputBytes: 100_000 }));
    const end = await runToEnd(adapter, spec);
    t.match(end.outcome, { status: "failed", error: { code: "OUTPUT_LIMIT", message: /stdout.*100000 bytes/ } });
    t.equal(statSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log")).size, 100_000);
  });

  contract("a result that no comment can hold is cut, with a note where all of it is", async (t) => {
    const { adapter, agent, dataDirectory } = setUp(t);
    const script = "i=0; while [ $i -lt 3000 ]; do printf '%01000d' $i; i=$((i + 1)); done";
    const spec = newSpec(agent(sh(script)));
    const { outcome } = await runToEnd(adapter, spec);
    const result = ("result" in outcome && outcome.result) || "";
    t.ok(Buffer.byteLength(result) <= 1024 * 1024);
    t.match(result.slice(-200), new RegExp(`3000000 bytes.*/api/sessions/${spec.sessionId}/log`));
    t.equal(statSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log")).size, 3_000_000);
  });

  contract("a program that is not there, in its different ways", async (t) => {
    const { adapter, agent, workspaces, reports } = setUp(t);
    const plain = join(workspaces, "plain");
    writeFileSync(plain, "no program", { mode: 0o644 });
    for (const command of ["surely-not-installed", "/surely/not/there", plain]) {
      const name = agent([command]);
      t.match(
        (await runToEnd(adapter, newSpec(name))).outcome,
        { status: "failed", error: { code: "NOT_INSTALLED" } },
        command,
      );
      t.match(reports.at(-1), { agent: name, reason: String });
      t.match(await problemWith(adapter, name), String, command);
    }
    t.equal(await problemWith(adapter, agent(["sh"])), null);
  });

  contract("what is looked at before work is given to an agent", async (t) => {
    const { adapter, agent, workspaces } = setUp(t);
    const there = await adapter.inspect(agent(["sh"]));
    t.same(
      there.map(({ about, state }) => `${about} ${state}`),
      parts.remoteDirectory === undefined
        ? ["program ok", "disk ok"]
        : ["connection ok", "program ok", "disk ok", "clock ok"],
    );
    t.match(there.find(({ about }) => about === "disk")?.message, /has \d.* [GM]iB free$/);

    const bin = join(workspaces, "bin");
    mkdirSync(bin);
    const known = agent(null, { preset: "gemini", env: { PATH: `${bin}:${process.env["PATH"]}` } });
    const says = async (script: string) => {
      writeFileSync(join(bin, "gemini"), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const version = (await adapter.inspect(known)).find(({ about }) => about === "version");
      return [version?.state, version?.message];
    };
    t.same(await says("cat; echo 1.2.3; echo more"), ["ok", "1.2.3"]);
    t.match(await says("echo no such library >&2; exit 1"), ["fail", /"gemini --version" fails/]);
    t.match(await problemWith(adapter, known), /"gemini --version" fails/);
  });

  contract("commands that cannot be: they say why, and nothing is started", async (t) => {
    const { adapter, agent, context } = setUp(t);
    const long = "x".repeat(140_000);
    t.match((await runToEnd(adapter, newSpec(agent(["echo", "{prompt}"]), { prompt: long }))).outcome, {
      error: { code: "ARGUMENT_TOO_LONG", message: /\{promptFile\}.*standard input/ },
    });
    for (const command of [null, [], [""], ["-x"]]) {
      t.match((await runToEnd(adapter, newSpec(agent(command)))).outcome, { error: { code: "BAD_CONFIG" } });
    }
    t.match((await runToEnd(adapter, newSpec(agent(["echo", "{model}"])))).outcome, { error: { code: "BAD_CONFIG" } });
    t.match((await runToEnd(adapter, newSpec("nobody"))).outcome, { error: { code: "BAD_CONFIG", message: /nobody/ } });
    t.notOk(context.config().agents["nobody"]);
  });

  contract("a workspace must be there, and lie where the config allows it", async (t) => {
    const { adapter, agent, workspaces, dataDirectory } = setUp(t);
    const name = agent(sh("pwd"));
    const inside = join(workspaces, "a place with 'quotes' and $HOME");
    mkdirSync(inside);
    t.match((await runToEnd(adapter, newSpec(name, { workspace: inside }))).outcome, { result: inside });
    symlinkSync("/usr", join(workspaces, "way-out"));
    const refused = [
      ["/usr", "BAD_WORKSPACE"],
      [join(workspaces, ".."), "BAD_WORKSPACE"],
      [join(workspaces, "way-out"), "BAD_WORKSPACE"],
      [`${workspaces}-beside`, "WORKSPACE_NOT_FOUND"],
      [join(workspaces, "not-there"), "WORKSPACE_NOT_FOUND"],
      [dataDirectory, "BAD_WORKSPACE"],
    ] as const;
    for (const [workspace, code] of refused) {
      t.match(
        (await runToEnd(adapter, newSpec(name, { workspace }))).outcome,
        { status: "failed", error: { code } },
        workspace,
      );
    }
    const elsewhere = agent(sh("pwd"), { workdir: "/usr" });
    t.match((await runToEnd(adapter, newSpec(elsewhere))).outcome, { result: "/usr" });
  });

  contract("many at once", async (t) => {
    const { adapter, agent } = setUp(t);
    const name = agent(sh('echo "$JARVIS_SESSION_ID"; cat'));
    const specs = Array.from({ length: 24 }, (_, index) => {
      const spec = newSpec(name, { prompt: `prompt ${index}` });
      return { ...spec, env: { JARVIS_SESSION_ID: spec.sessionId } };
    });
    const ends = await Promise.all(specs.map((spec) => runToEnd(adapter, spec)));
    ends.forEach(({ outcome }, index) => {
      t.match(outcome, { status: "completed", result: `${specs[index]?.sessionId}\nprompt ${index}` });
    });
  });
}
