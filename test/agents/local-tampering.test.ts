/** A program that takes its run directory apart, and a daemon that comes back to it. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createCliAdapter } from "../../src/agents/cli.ts";
import { LocalRun } from "../../src/agents/local/run.ts";
import type { Seal } from "../../src/agents/local/seal.ts";
import { startWrapper } from "../../src/agents/local/start-wrapper.ts";
import { prepareRunDirectory, readRunRecord, runDirectory } from "../../src/agents/run-directory.ts";
import type { RunEnd } from "../../src/dispatcher/ports.ts";
import { isRunning, newSpec, openSession, readOr, runToEnd, testAgents, until } from "../support/agents.ts";

t.jobs = 4;

const TAMPERINGS: Readonly<Record<string, (directory: string) => void>> = {
  "the sign that it was begun is gone": (directory) => rmSync(join(directory, "begun")),
  "the whole directory is gone": (directory) => rmSync(directory, { recursive: true }),
  "a file is in its place": (directory) => {
    rmSync(directory, { recursive: true });
    writeFileSync(directory, "");
  },
  "an empty one is in its place": (directory) => {
    rmSync(directory, { recursive: true });
    mkdirSync(directory);
  },
  "the records name another process": (directory) => {
    for (const name of ["pid", "wrapper"]) rmSync(join(directory, name));
    writeFileSync(join(directory, "pid"), `pid ${process.pid}\nstart 1\nboot x\n`);
    writeFileSync(join(directory, "wrapper"), `pid ${process.pid}\nstart 1\nguard ${process.pid}\nguard-start 1\n`);
  },
};

for (const [name, tamper] of Object.entries(TAMPERINGS)) {
  t.test(`${name}: found again, never started again, and stopped`, { buffered: true }, async (t) => {
    const { context, agent, workspaces, dataDirectory } = testAgents((cleanUp) => t.teardown(cleanUp), {
      adapter: "cli",
    });
    const starts = join(workspaces, "starts");
    const spec = newSpec(agent(["sh", "-c", `echo $$ >>${starts}; while :; do sleep 1000; done`]));
    const first = createCliAdapter(context);
    const before = openSession(first, spec);
    const facts = await before.started;
    const directory = runDirectory(dataDirectory, spec.sessionId);
    await until("its records are there", () => readRunRecord(directory).processes !== null);
    await until("it works", () => readOr(starts, "") !== "");
    await new Promise((resolve) => setTimeout(resolve, 300));
    await before.run.detach();
    await first.close();
    tamper(directory);

    const second = createCliAdapter(context);
    t.teardown(() => second.close());
    const after = openSession(second, spec);
    let isEnded = false;
    void after.ended.then(() => {
      isEnded = true;
    });
    t.same(await after.started, facts);
    await new Promise((resolve) => setTimeout(resolve, 6000));
    t.notOk(isEnded, "it still runs");
    after.run.stop();
    const { outcome } = await after.ended;
    t.ok(["failed", "lost"].includes(outcome.status), outcome.status);
    t.notOk(isRunning(facts.pid));
    t.equal(readFileSync(starts, "utf8"), `${facts.pid}\n`);
    t.not((await runToEnd(second, spec)).outcome.status, "completed");
    t.equal(readFileSync(starts, "utf8"), `${facts.pid}\n`);
  });
}

t.test("what cannot be read when it is opened is read later", { buffered: true }, async (t) => {
  const { context, agent, dataDirectory } = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "cli" });
  const adapter = createCliAdapter(context);
  t.teardown(() => adapter.close());
  const spec = newSpec(agent(["echo", "done"]));
  // Reading a directory as a file fails with what is neither "it is there" nor "it is not".
  const inTheWay = `${runDirectory(dataDirectory, spec.sessionId)}.begun`;
  mkdirSync(inTheWay, { recursive: true });
  const session = openSession(adapter, spec);
  await new Promise((resolve) => setTimeout(resolve, 500));
  rmSync(inTheWay, { recursive: true });
  t.match((await session.ended).outcome, { status: "completed", result: "done" });
});

t.test(
  "the limits of a run are those of its start, whatever the program writes down",
  { buffered: true },
  async (t) => {
    const { context, agent, gate } = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "cli" });
    const go = gate();
    const forge = `echo '{"version":1,"agent":"a","mark":"m","killGraceMs":1,"maxOutputBytes":999999999}' >../run.json`;
    const spec = newSpec(agent(["sh", "-c", `${forge}; ${go.wait}; yes`], { maxOutputBytes: 100_000 }));
    const first = createCliAdapter(context);
    const before = openSession(first, spec);
    await before.started;
    await before.run.detach();
    await first.close();
    const second = createCliAdapter(context);
    t.teardown(() => second.close());
    const after = openSession(second, spec);
    await after.started;
    go.open();
    t.match((await after.ended).outcome, { status: "failed", error: { code: "OUTPUT_LIMIT" } });
  },
);

t.test("a run of another boot of the machine is lost, whoever has its pids by now", { buffered: true }, async (t) => {
  for (const known of ["all of its processes", "only that it was to be started"]) {
    const { context, agent, dataDirectory } = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "cli" });
    // By its mark it would be found all the same.
    const spec = newSpec(agent(["sh", "-c", "while :; do sleep 1000; done"], { leftovers: "report" }));
    const first = createCliAdapter(context);
    const before = openSession(first, spec);
    const { pid } = await before.started;
    const directory = runDirectory(dataDirectory, spec.sessionId);
    await until("its records are there", () => readRunRecord(directory).processes !== null);
    await new Promise((resolve) => setTimeout(resolve, 300));
    await before.run.detach();
    await first.close();
    const seal = JSON.parse(readFileSync(`${directory}.begun`, "utf8")) as Seal;
    const processes = known.startsWith("all") ? {} : { wrapper: null, guard: null, program: null };
    if (!known.startsWith("all")) rmSync(directory, { recursive: true });
    writeFileSync(`${directory}.begun`, JSON.stringify({ ...seal, ...processes, boot: "another" }));

    const second = createCliAdapter(context);
    t.teardown(() => second.close());
    const { outcome } = await runToEnd(second, { ...spec, deadlineAt: Date.now() + 60_000 });
    t.match(outcome, { status: "lost", error: { code: "RUN_LOST", message: /the machine was restarted/ } }, known);
    t.ok(isRunning(pid), "in another boot its pids would be somebody else's");
    process.kill(-pid, "SIGKILL");
    await until("all of it is gone", () => !isRunning(seal.wrapper?.pid ?? 0));
  }
});

t.test("a wrapper that a daemon started just before it died is found, though a second one was started", async (t) => {
  const { context, dataDirectory } = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "cli" });
  const spec = newSpec("agent");
  const directory = runDirectory(dataDirectory, spec.sessionId);
  const limits = { killGraceMs: 1000, maxOutputBytes: 1000, leftovers: "kill", output: "text" } as const;
  const end = await new Promise<RunEnd>((resolve) => {
    const run = new LocalRun({
      clock: context.clock,
      spec,
      dataDirectory,
      listener: { started: () => {}, sign: () => {}, ended: resolve },
      limits: () => limits,
      onDone: () => clearInterval(looks),
      plan: () => {
        const start = {
          promptOnStdin: false,
          workdir: dataDirectory,
          argv: ["sh", "-c", "sleep 2; echo done"],
        } as const;
        // Nobody knows of it: the daemon of the time is gone.
        prepareRunDirectory(directory, spec.prompt, { agent: spec.agent, ...limits });
        startWrapper({ ...start, directory, env: {}, limitMs: 60_000, graceMs: 1000, leftovers: "kill" }).ended.catch(
          () => {},
        );
        while (!existsSync(join(directory, "begun")));
        return { ...start, ...limits, env: () => ({}) };
      },
    });
    const looks = setInterval(() => run.look(context.clock.monotonic()), 20);
    run.begin();
  });
  t.match(end, { exit: { exitCode: 0 }, outcome: { status: "completed", result: "done" } });
});
