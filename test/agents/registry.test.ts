import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { hostWords, toSessionError } from "../../src/agents/agent-problem.ts";
import { superuserFinding } from "../../src/agents/local/sign-in.ts";
import { createRegistry } from "../../src/agents/registry.ts";
import type { AgentSettings, Config } from "../../src/config/schema.ts";
import type { Clock } from "../../src/dispatcher/ports.ts";
import { newSpec, problemWith, runToEnd, testAgents, until } from "../support/agents.ts";

const SSH = {
  host: "mac",
  port: 22,
  knownHostsFile: "~/.ssh/known_hosts",
  runDirectory: "runs",
  maxSessionsPerConnection: 8,
  keepaliveMs: 1500,
  connectTimeoutMs: 1000,
};

const DEFAULTS = {
  enabled: true,
  costMultiplier: 1,
  maxConcurrent: 1,
  bestFor: [],
  env: {},
  envPass: [],
  args: [],
  permissions: "work" as const,
  resume: false,
  isolation: "none" as const,
  timeoutMs: 60_000,
  startTimeoutMs: 60_000,
  killGraceMs: 1000,
  leftovers: "kill" as const,
  exitGraceMs: 1000,
  claimTimeoutMs: 60_000,
  maxOutputBytes: 1_000_000,
};

t.test("what the rules need to know of each agent, and of who is only listed", async (t) => {
  const { registry } = setUp(t, {
    gemini: {
      adapter: "ssh",
      command: ["g"],
      ssh: SSH,
      model: "flash",
      costMultiplier: 1,
      maxConcurrent: 2,
      bestFor: ["research"],
    },
    claude: { adapter: "spawn", via: "heartbeat", stallTimeoutMs: 7 },
    worker: { adapter: "spawn", via: "process", command: ["sh"] },
    copilot: { adapter: "cli", command: ["sh"], account: "github" },
  });
  const methods = registry.agents().map(({ name, adapter, method }) => [name, adapter, method]);
  t.same(methods, [
    ["gemini", "ssh", "ssh"],
    ["claude", "spawn", "sessions_spawn"],
    ["worker", "spawn", "spawn"],
    ["copilot", "cli", "cli"],
    ["jarvis", "none", null],
  ]);
  t.match(registry.agent("gemini"), {
    model: "flash",
    maxConcurrent: 2,
    bestFor: ["research"],
    stallTimeoutMs: 0,
    account: null,
  });
  t.match(registry.agent("claude"), { model: null, stallTimeoutMs: 7 });
  t.match(registry.agent("jarvis"), { costMultiplier: 10, maxConcurrent: 0 });
  t.equal(registry.agent("nobody"), undefined);
  t.equal(registry.adapterFor("copilot")?.method, "cli");
  t.equal(registry.adapterFor("jarvis"), null);
  t.equal(registry.adapterFor("nobody"), null);
  t.equal(registry.adapterOf("ssh")?.method, "ssh");
  t.equal(registry.adapterOf("sessions_spawn"), null);
});

t.test("what is missing is seen at the start, without starting anything", async (t) => {
  const { registry, file } = setUp(t, {
    fine: { adapter: "cli", command: ["sh"] },
    gone: { adapter: "cli", command: ["surely-not-installed"], env: { PATH: "/a/secret/place" } },
    keyless: { adapter: "ssh", command: ["x"], ssh: { ...SSH, privateKeyFile: "/surely/not/there" } },
    handed: { adapter: "spawn", via: "heartbeat" },
  });
  t.equal(registry.unavailability("fine"), null);
  t.match(registry.unavailability("gone"), { reason: /surely-not-installed is not on the PATH/, noticedAt: Number });
  t.notMatch(registry.unavailability("gone")?.reason, "secret", "no path of the machine in an answer");
  t.match(registry.unavailability("keyless"), { reason: /\/surely\/not\/there/ });
  t.equal(registry.unavailability("handed"), null);
  t.equal(registry.unavailability("nobody"), null);
  t.ok(file);
});

t.test("what a program or a host said is a short line in a reason", async (t) => {
  const { registry, file } = setUp(t, {
    preset: { adapter: "cli", preset: "codex", env: { PATH: "{here}:/usr/bin:/bin" } },
  });
  install(file("codex"), "printf '\\033[2Jred\\r\\nalert \\342\\200\\256' >&2; exit 1");
  const reason = (await problemWith(registry, "preset")) ?? "";
  t.match(reason, /fails: \[2Jred alert$/);
  t.equal(registry.unavailability("preset")?.reason, reason);
  t.equal(hostWords(`a\u001b]0;b\u0007 \u202e\n${"x".repeat(1000)}`).length, 300);
  t.equal(hostWords("a\u001b]0;b\u0007 \u202e\nc"), "a ]0;b c");
  t.equal(toSessionError(new Error("x".repeat(5000))).message.length, 1000);
});

t.test(
  "a check says where no sign-in of a known program is to be found, without counting it as a failure",
  async (t) => {
    const known = { adapter: "cli", preset: "claude" } as const;
    const PATH = "{here}:/usr/bin:/bin";
    const { registry, file } = setUp(t, {
      nowhere: { ...known, env: { PATH, HOME: "{here}" } },
      given: { ...known, env: { PATH, HOME: "{here}", ANTHROPIC_API_KEY: "sk" } },
      empty: { ...known, env: { PATH, HOME: "{here}", ANTHROPIC_API_KEY: "" } },
      file: { ...known, env: { PATH, HOME: "{here}/home" } },
      kept: { adapter: "cli", preset: "gemini", env: { PATH, HOME: "{here}" } },
      passed: { adapter: "cli", preset: "gemini", env: { PATH, HOME: "{here}" }, envPass: ["GEMINI_API_KEY"] },
      own: { ...known, command: ["{here}/claude"], env: { PATH, HOME: "{here}" } },
    });
    for (const name of ["claude", "gemini"]) install(file(name));
    mkdirSync(file("home/.claude"), { recursive: true });
    writeFileSync(file("home/.claude/.credentials.json"), "{}");
    const login = async (name: string) => (await registry.inspect(name)).find(({ about }) => about === "login");
    const wanted =
      "no sign-in of claude was found: run `claude` once as this user and sign in, or hand on ANTHROPIC_API_KEY";
    t.match(await login("nowhere"), { state: "warn", message: wanted });
    t.match(await login("empty"), { state: "warn", message: wanted });
    t.match(await login("given"), { state: "ok", message: "it is given ANTHROPIC_API_KEY" });
    t.match(await login("file"), { state: "ok", message: "~/.claude/.credentials.json is there" });
    t.match(await login("kept"), {
      state: "warn",
      message: /or hand on GEMINI_API_KEY, which the daemon has \("envPass"\)/,
    });
    t.match(await login("passed"), { state: "ok", message: "it is given GEMINI_API_KEY" });
    t.equal(await login("own"), undefined, "a command of the user's own signs in as it likes");
    t.equal(registry.unavailability("nowhere"), null);
  },
);

t.test("a check warns of permissions that a program refuses to root", async (t) => {
  t.match(superuserFinding("claude", { permissions: "full" }, 0), {
    about: "permissions",
    state: "warn",
    message: /root/,
  });
  t.equal(superuserFinding("claude", { permissions: "full" }, 1000), null);
  t.equal(superuserFinding("claude", { permissions: "work" }, 0), null);
  t.equal(superuserFinding("codex", { permissions: "full" }, 0), null);
  t.equal(superuserFinding("claude", { permissions: "full" }, undefined), null);
});

t.test("a check finds out, and what it finds counts", async (t) => {
  const { registry, file } = setUp(t, { late: { adapter: "cli", command: ["{here}/late"] } });
  const { version } = registry;
  t.match(await problemWith(registry, "late"), /not there/);
  t.equal(registry.version, version, "nothing new");
  install(file("late"));
  t.equal(await problemWith(registry, "late"), null);
  t.equal(registry.unavailability("late"), null);
  t.ok(registry.version > version);
  t.match(await problemWith(registry, "nobody"), /nobody/);
  t.equal(await problemWith(registry, "jarvis"), null);
});

t.test("what cannot be reached is tried again by itself", async (t) => {
  const { registry, file, tick } = setUp(t, { late: { adapter: "cli", command: ["{here}/late"] } });
  tick();
  await until("it was tried again", () => tick.armed());
  t.ok(registry.unavailability("late"));
  install(file("late"));
  tick();
  await until("it is found", () => registry.unavailability("late") === null);
  t.notOk(tick.armed(), "nothing is left to try");
});

t.test("a start that fails for what is the agent's own tells the registry, and one that works too", async (t) => {
  const { registry, file, remove } = setUp(t, { flaky: { adapter: "cli", command: ["{here}/flaky"] } });
  install(file("flaky"));
  t.equal(await problemWith(registry, "flaky"), null);
  const adapter = registry.adapterFor("flaky");
  if (adapter === null) throw new Error("no adapter");
  remove("flaky");
  t.match((await runToEnd(adapter, newSpec("flaky"))).outcome, { error: { code: "NOT_INSTALLED" } });
  t.match(registry.unavailability("flaky"), { reason: String });
  install(file("flaky"));
  t.match((await runToEnd(adapter, newSpec("flaky"))).outcome, { status: "completed" });
  t.equal(registry.unavailability("flaky"), null);
});

t.test("a reload brings other agents, and looks again", async (t) => {
  const { registry, config } = setUp(t, { gone: { adapter: "cli", command: ["surely-not-installed"] } });
  t.ok(registry.unavailability("gone"));
  const { version } = registry;
  registry.reload({ ...config, agents: { fresh: { ...DEFAULTS, adapter: "cli", command: ["sh"] } } });
  t.ok(registry.version > version);
  t.equal(registry.agent("gone"), undefined);
  t.equal(registry.unavailability("gone"), null);
  t.match(registry.agent("fresh"), { method: "cli" });
});

t.test("a known program is asked for its version, a command of the user's own is not", async (t) => {
  const { registry, file } = setUp(t, {
    preset: { adapter: "cli", preset: "codex", env: { PATH: "{here}:/usr/bin:/bin" } },
    own: { adapter: "cli", command: ["{here}/own"] },
  });
  install(file("codex"), 'echo "codex $*" >>"$0.log"; echo "cannot open its settings" >&2; exit 1');
  install(file("own"), 'echo started >>"$0.log"; exit 1');
  t.match(await problemWith(registry, "preset"), /"codex --version" fails: cannot open its settings/);
  t.equal(await problemWith(registry, "own"), null);
  install(file("codex"));
  t.equal(await problemWith(registry, "preset"), null);
});

/** `{here}` in what stands in the config is a directory of the test's own. */
function setUp(t: Test, written: Readonly<Record<string, Partial<AgentSettings>>>) {
  const { context, workspaces } = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "cli" });
  const here = join(workspaces, "bin");
  mkdirSync(here);
  const agents = JSON.parse(JSON.stringify(written).replaceAll("{here}", here)) as Record<string, AgentSettings>;
  for (const [name, settings] of Object.entries(agents)) agents[name] = { ...DEFAULTS, ...settings };
  const config: Config = { ...context.config(), humans: ["jarvis", "diego"], agents };

  let recheck: (() => void) | null = null;
  // The pause before what cannot be reached is tried again passes when the test says so.
  const clock: Clock = {
    ...context.clock,
    after(delayMs, callback) {
      if (delayMs < 10_000) return context.clock.after(delayMs, callback);
      recheck = callback;
      return () => {
        recheck = null;
      };
    },
  };
  const tick = Object.assign(
    () => {
      const due = recheck;
      recheck = null;
      due?.();
    },
    { armed: () => recheck !== null },
  );
  const registry = createRegistry({
    config,
    clock,
    environment: {
      ...context.environment,
      GEMINI_API_KEY: "of the daemon",
      ANTHROPIC_API_KEY: undefined,
      ANTHROPIC_AUTH_TOKEN: undefined,
      CLAUDE_CODE_OAUTH_TOKEN: undefined,
    },
  });
  t.teardown(() => registry.close());
  return {
    registry,
    config,
    tick,
    file: (name: string) => join(here, name),
    remove: (name: string) => chmodSync(join(here, name), 0o600),
  };
}

function install(file: string, script = "echo fine"): void {
  writeFileSync(file, `#!/bin/sh\n${script}\n`);
  chmodSync(file, 0o755);
}
