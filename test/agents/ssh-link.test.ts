/** Connections: how many there are, and what becomes of runs when they go. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { runDirectory } from "../../src/agents/run-directory.ts";
import { hostCommand, installCommand } from "../../src/agents/ssh/host-scripts.ts";
import { createSshAdapter } from "../../src/agents/ssh.ts";
import type { SshSettings } from "../../src/config/schema.ts";
import type { Clock } from "../../src/dispatcher/ports.ts";
import {
  isRunning,
  newSpec,
  openSession,
  problemWith,
  readOr,
  runToEnd,
  testAgents,
  until,
} from "../support/agents.ts";
import { type SshdPlace, skipWithoutSshd, startSshd, type TestSshd } from "../support/sshd.ts";

t.setTimeout(300_000);

/** A network namespace of this process. */
const NETWORK = `jarvis${process.pid}`;

t.test("over a real OpenSSH server", { skip: skipWithoutSshd() }, async (t) => {
  // Most of them wait for other processes.
  t.jobs = 3;
  const test = (name: string, check: (t: Test) => Promise<void>) => t.test(name, { buffered: true }, check);

  test("one connection serves all agents of a host and user, and many runs", async (t) => {
    const sshd = await started(t);
    const { adapter, agent } = setUp(t, sshd);
    const names = [agent(["true"]), agent(["echo"])];
    for (let round = 0; round < 2; round += 1) {
      const ends = await Promise.all([...names, ...names, ...names].map((name) => runToEnd(adapter, newSpec(name))));
      for (const { outcome } of ends) t.equal(outcome.status, "completed");
    }
    t.equal(await problemWith(adapter, names[0] ?? ""), null);
    t.equal(sshd.logins(), 1);
  });

  test("a host that allows fewer sessions than we thought", async (t) => {
    const sshd = await started(t, ["MaxSessions 3"]);
    const { adapter, agent, gate } = setUp(t, sshd);
    const go = gate();
    const name = agent(["sh", "-c", `${go.wait}; cat`]);
    const sessions = Array.from({ length: 16 }, (_, index) => {
      return openSession(adapter, newSpec(name, { prompt: `prompt ${index}` }));
    });
    await Promise.all(sessions.map((session) => session.started));
    go.open();
    for (const [index, { ended }] of sessions.entries()) {
      t.match((await ended).outcome, { status: "completed", result: `prompt ${index}` });
    }
    t.ok(sshd.logins() <= 4, `${sshd.logins()} connections`);
  });

  test("one session a connection: what asks and what starts take two connections", async (t) => {
    const sshd = await started(t, ["MaxSessions 1"]);
    const { adapter, agent } = setUp(t, sshd, { maxSessionsPerConnection: 1 });
    const ends = await Promise.all(Array.from({ length: 5 }, () => runToEnd(adapter, newSpec(agent(["true"])))));
    for (const { outcome } of ends) t.equal(outcome.status, "completed");
    t.ok(sshd.connections().length <= 4);
  });

  test("a link that is cut again and again in the middle of output: no byte is lost or doubled", async (t) => {
    const sshd = await started(t);
    const { adapter, agent, dataDirectory } = setUp(t, sshd);
    const script =
      "i=0; while [ $i -lt 60 ]; do seq $((i * 1000)) $((i * 1000 + 999)); i=$((i + 1)); sleep 0.1; done; echo end >&2";
    const spec = newSpec(agent(["sh", "-c", script]));
    const session = openSession(adapter, spec);
    await session.started;
    for (let count = 1; count <= 3; count += 1) {
      const seen = session.signs();
      await until("there is more output", () => session.signs() > seen);
      sshd.cut();
    }
    const end = await session.ended;
    t.match(end, { exit: { exitCode: 0 }, outcome: { status: "completed" } });
    const expected = Array.from({ length: 60_000 }, (_, index) => `${index}\n`).join("");
    const directory = runDirectory(dataDirectory, spec.sessionId);
    t.ok(readFileSync(join(directory, "stdout.log"), "utf8") === expected);
    t.equal(readFileSync(join(directory, "stderr.log"), "utf8"), "end\n");
    t.ok(sshd.logins() >= 4, `${sshd.logins()} logins`);
  });

  test("a link that freezes is noticed within 5 s by the default keepalives, and left for another", async (t) => {
    const sshd = await started(t);
    const { adapter, agent, gate } = setUp(t, sshd, { keepaliveMs: 1500 });
    const go = gate();
    const { started: start, ended } = openSession(adapter, newSpec(agent(["sh", "-c", `${go.wait}; echo thawed`])));
    await start;
    const logins = sshd.logins();
    for (const pid of sshd.connections()) process.kill(pid, "SIGSTOP");
    const frozenAt = performance.now();
    await until("it logged in again", () => sshd.logins() > logins);
    t.ok(
      performance.now() - frozenAt < 15_000,
      `${Math.round(performance.now() - frozenAt)} ms to notice and connect again`,
    );
    go.open();
    t.match((await ended).outcome, { status: "completed", result: "thawed" });
    for (const pid of sshd.connections()) process.kill(pid, "SIGCONT");
  });

  const net = mayMakeNetworks();
  t.test("a network that swallows packets: noticed, and no byte is lost", { skip: net, buffered: true }, async (t) => {
    const { place, cut, mend } = network(t);
    const sshd = await started(t, [], place);
    const { adapter, agent, dataDirectory } = setUp(t, sshd, { keepaliveMs: 1500 });
    const script = "i=0; while [ $i -lt 100 ]; do seq $((i * 1000)) $((i * 1000 + 999)); i=$((i + 1)); sleep 0.1; done";
    const spec = newSpec(agent(["sh", "-c", script]));
    const session = openSession(adapter, spec);
    await session.started;
    const seen = session.signs();
    await until("there is more output", () => session.signs() > seen);
    const logins = sshd.logins();
    cut();
    // Longer than the keepalives of both sides and of the kernel need together.
    await new Promise((resolve) => setTimeout(resolve, 7000));
    mend();
    t.match(await session.ended, { exit: { exitCode: 0 }, outcome: { status: "completed" } });
    t.ok(sshd.logins() > logins, "the old connection was given up, and another made");
    const expected = Array.from({ length: 100_000 }, (_, index) => `${index}\n`).join("");
    t.ok(readFileSync(join(runDirectory(dataDirectory, spec.sessionId), "stdout.log"), "utf8") === expected);
  });

  test("a host that is away for a while: the run ends there, and its end is told when the host is back", async (t) => {
    const sshd = await started(t);
    const { adapter, agent, gate } = setUp(t, sshd);
    const go = gate();
    const spec = newSpec(agent(["sh", "-c", `echo before; ${go.wait}; echo after; exit 7`]));
    const { started: start, ended, run } = openSession(adapter, spec);
    const { pid } = await start;
    await sshd.leave();
    t.ok(isRunning(pid), "killing the connection is not killing the run");
    go.open();
    await until(
      "it ended there",
      () => readOr(join(sshd.settings.runDirectory, spec.sessionId, "exit.json"), "") !== "",
    );
    await sshd.listen();
    t.match(await ended, { exit: { exitCode: 7 }, outcome: { status: "failed", result: "before\nafter" } });
    run.stop();
  });

  test("a stop is complete even if the link is cut right after it", async (t) => {
    const sshd = await started(t);
    const { adapter, agent } = setUp(t, sshd);
    const script = "trap 'echo told' TERM; trap '' HUP; while :; do sleep 1000 & wait $!; done";
    const spec = newSpec(agent(["sh", "-c", script], { killGraceMs: 2000 }));
    const { started: start, run, ended } = openSession(adapter, spec);
    const { pid } = await start;
    run.stop();
    const log = join(sshd.settings.runDirectory, spec.sessionId, "stdout.log");
    await until("it was told", () => readOr(log, "") === "told\n");
    await sshd.leave();
    await until("KILL came without us", () => !isRunning(pid));
    await sshd.listen();
    t.match(await ended, { exit: { signal: "SIGKILL" }, outcome: { status: "failed", error: { code: "STOPPED" } } });
  });

  test("a daemon that comes back while the host is away waits for it", async (t) => {
    const sshd = await started(t);
    const first = setUp(t, sshd);
    const go = first.gate();
    const spec = newSpec(first.agent(["sh", "-c", `echo before; ${go.wait}; echo after`]));
    const before = openSession(first.adapter, spec);
    const facts = await before.started;
    await before.run.detach();
    await first.adapter.close();
    await sshd.leave();

    const adapter = createSshAdapter(first.context);
    t.teardown(() => adapter.close());
    const after = openSession(adapter, spec);
    go.open();
    await sshd.listen();
    t.same(await after.started, facts);
    t.match((await after.ended).outcome, { status: "completed", result: "before\nafter" });
  });

  test("the run stays on its host when the config names another one by then", async (t) => {
    const sshd = await started(t);
    const { adapter, agent, gate, context } = setUp(t, sshd);
    const go = gate();
    const name = agent(["sh", "-c", `${go.wait}; echo here`]);
    const spec = newSpec(name);
    const before = openSession(adapter, spec);
    const facts = await before.started;
    await before.run.detach();
    const settings = context.config().agents[name];
    if (settings?.ssh === undefined) throw new Error("no settings");
    settings.ssh = { ...settings.ssh, port: 1 };
    const after = openSession(adapter, spec);
    go.open();
    t.same(await after.started, facts);
    t.match((await after.ended).outcome, { status: "completed", result: "here" });
  });

  test("a host that stays away: lost, but only after the run's own time, its grace and some more", async (t) => {
    const sshd = await started(t);
    const agents = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "ssh", ssh: sshd.settings });
    let later = 0;
    let connects = 0;
    const clock: Clock = {
      ...agents.context.clock,
      now: () => Date.now() + later,
      // Its growing pauses between two connections are the only ones of these lengths.
      after: (delayMs, callback) => {
        const isPause = [500, 1000, 2000, 4000, 8000, 16_000, 30_000].includes(delayMs);
        if (isPause) connects += 1;
        return agents.context.clock.after(isPause ? 100 : delayMs, callback);
      },
    };
    const adapter = createSshAdapter({ ...agents.context, clock });
    t.teardown(() => adapter.close());
    const spec = newSpec(agents.agent(["sleep", "1000"]));
    const { started: start, ended } = openSession(adapter, spec);
    const { pid } = await start;
    await sshd.leave();
    let isEnded = false;
    const end = ended.then((told) => {
      isEnded = true;
      return told;
    });
    later = 60_000 + 1000 + 30_000;
    const tries = connects;
    await until("a connection was tried again", () => connects > tries + 1);
    t.notOk(isEnded);
    later = 60_000 + 1000 + 60_000 + 5000;
    t.match((await end).outcome, { status: "lost", error: { code: "HOST_UNREACHABLE" } });
    t.ok(isRunning(pid));
    await sshd.listen();
    await until("it is ended, once the host is back", () => !isRunning(pid));
  });

  test("login shells of every kind read our command lines alike", async (t) => {
    const sshd = await started(t);
    const target = { ...sshd.settings, username: "anybody" };
    t.match(hostCommand(target, "start", "ses_1"), /^[A-Za-z0-9./_ -]+$/);
    for (const shell of ["sh", "dash", "bash", "zsh", "fish", "csh", "tcsh", "busybox"]) {
      const directory = join(sshd.directory, `home-of-${shell}`);
      const command = installCommand(`${directory}/.scripts`, "x.sh", 5);
      const args = shell === "busybox" ? ["sh", "-c", command] : ["-c", command];
      try {
        execFileSync(shell, args, { input: "12345", stdio: ["pipe", "ignore", "pipe"] });
      } catch (error) {
        if (error instanceof Error && "code" in error && error.code === "ENOENT") {
          t.comment(`${shell} not installed`);
          continue;
        }
        throw error;
      }
      t.equal(readFileSync(`${directory}/.scripts/x.sh`, "utf8"), "12345", shell);
      // What is cut off is not put in place.
      t.throws(() => execFileSync(shell, args, { input: "1234", stdio: ["pipe", "ignore", "ignore"] }));
    }
  });
});

/** A network of two, of which the other one is in a namespace of its own. */
function network(t: Test): { readonly place: SshdPlace; cut(): void; mend(): void } {
  const ip = (...args: string[]) => execFileSync("ip", args, { stdio: "pipe" });
  const [ours, theirs] = [`jv${process.pid}`, `jw${process.pid}`];
  const net = `10.213.${process.pid % 256}`;
  ip("netns", "add", NETWORK);
  t.teardown(() => ip("netns", "del", NETWORK));
  ip("link", "add", ours, "type", "veth", "peer", "name", theirs, "netns", NETWORK);
  ip("addr", "add", `${net}.1/30`, "dev", ours);
  ip("link", "set", ours, "up");
  ip("-n", NETWORK, "addr", "add", `${net}.2/30`, "dev", theirs);
  ip("-n", NETWORK, "link", "set", theirs, "up");
  return {
    place: { address: `${net}.2`, through: ["ip", "netns", "exec", NETWORK] },
    cut: () => void ip("-n", NETWORK, "link", "set", theirs, "down"),
    mend: () => void ip("-n", NETWORK, "link", "set", theirs, "up"),
  };
}

/** What tap's `skip` takes. */
function mayMakeNetworks(): string | false {
  try {
    execFileSync("ip", ["netns", "add", `${NETWORK}-try`], { stdio: "pipe" });
    execFileSync("ip", ["netns", "del", `${NETWORK}-try`], { stdio: "pipe" });
    return false;
  } catch {
    return "needs the superuser, and a kernel that lets him make networks";
  }
}

async function started(t: Test, options: readonly string[] = [], place?: SshdPlace): Promise<TestSshd> {
  const sshd = await startSshd(options, place);
  t.teardown(() => sshd.stop());
  return sshd;
}

function setUp(t: Test, sshd: TestSshd, changes: Partial<SshSettings> = {}) {
  const agents = testAgents((cleanUp) => t.teardown(cleanUp), {
    adapter: "ssh",
    ssh: { ...sshd.settings, ...changes },
  });
  const adapter = createSshAdapter(agents.context);
  t.teardown(() => adapter.close());
  return { ...agents, adapter };
}
