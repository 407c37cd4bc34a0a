import { chmodSync, writeFileSync } from "node:fs";
import path from "node:path";
import { isDeepStrictEqual } from "node:util";
import fc from "fast-check";
import t from "tap";
import { ConfigError } from "../../src/config/config-error.ts";
import { BUILT_IN_AGENTS } from "../../src/config/defaults.ts";
import { loadConfig } from "../../src/config/load.ts";
import { PRESETS } from "../../src/config/schema.ts";
import type { ConfigFlags } from "../../src/config/sources.ts";

interface Given {
  readonly file?: unknown;
  /** Instead of `file`: the text as it is. */
  readonly text?: string;
  readonly flags?: ConfigFlags;
  readonly env?: Record<string, string>;
}

/** Loads with a data directory of its own, in which the given config file lies. */
function load(directory: string, given: Given) {
  const text = given.text ?? (given.file === undefined ? undefined : JSON.stringify(given.file));
  if (text !== undefined) writeFileSync(path.join(directory, "config.json"), text);
  return loadConfig({
    flags: { data: directory, ...given.flags },
    env: { HOME: "/home/someone", ...given.env },
    cwd: directory,
  });
}

/** The lines that a person would see, the data directory shown as DATA. */
function complaints(directory: string, given: Given): string[] {
  try {
    load(directory, given);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message.replaceAll(directory, "DATA").split("\n");
  }
}

t.test("without a file, the built-in agents and defaults hold", async (t) => {
  const directory = t.testdir();
  const { config, warnings } = load(directory, {});
  t.same(Object.keys(config.agents), ["gemini", "claude", "copilot"]);
  t.match(config.agents.gemini, { adapter: "ssh", maxConcurrent: 2, ssh: { host: "mac", keepaliveMs: 1500 } });
  t.match(config.agents.claude, { adapter: "spawn", via: "heartbeat", timeoutMs: 1_800_000, env: {} });
  t.match(config, {
    server: { host: "127.0.0.1", port: 3333, publicUrl: "http://127.0.0.1:3333" },
    humans: ["jarvis", "diego"],
    workspaceRoots: ["~"],
    dataDirectory: directory,
    configFile: path.join(directory, "config.json"),
    logLevel: "info",
    token: null,
  });
  t.same(warnings, []);
  t.throws(() => Object.assign(config.agents.claude ?? {}, { model: "other" }), TypeError, "frozen");
  t.equal(config.agents.constructor, undefined, "an assignee can be looked up as it is");
});

t.test("an agent of the file replaces the default of that name entirely; the others remain", async (t) => {
  const { config } = load(t.testdir(), {
    file: {
      agents: {
        gemini: { adapter: "cli", command: ["gemini"] },
        claude: { enabled: false },
        mine: { adapter: "spawn", command: ["x"] },
      },
    },
  });
  t.same(Object.keys(config.agents).sort(), ["copilot", "gemini", "mine"]);
  t.match(config.agents.gemini, { adapter: "cli", costMultiplier: 1, maxConcurrent: 1, bestFor: [] });
  t.notOk(config.agents.gemini?.ssh);
  t.notOk(config.agents.gemini?.model);
  t.equal(config.agents.mine?.via, "process", "a spawn that names a program runs it");
});

t.test("wrong settings are named with their path, what was found and what was wanted", async (t) => {
  const cli = { adapter: "cli", command: ["x"] };
  const table: [name: string, given: Given, lines: string[]][] = [
    [
      "a string for a number",
      { file: { server: { port: "22" } } },
      ['server.port: found "22", wanted a whole number from 0 to 65535'],
    ],
    [
      "a fraction",
      { file: { server: { port: 1.5 } } },
      ["server.port: found 1.5, wanted a whole number from 0 to 65535"],
    ],
    [
      "a mistyped key",
      { file: { server: { prot: 1 } } },
      ['server.prot: found an unknown key, wanted one of host, port, publicUrl; did you mean "port"?'],
    ],
    [
      "an unknown key",
      { file: { server: { zzz: 1 } } },
      ["server.zzz: found an unknown key, wanted one of host, port, publicUrl"],
    ],
    ["a list for an object", { file: { server: [] } }, ["server: found an empty list, wanted an object"]],
    ["null for an object", { file: { agents: null } }, ["agents: found null, wanted an object"]],
    ["a file that is no object", { file: [1] }, ["(the whole file): found a list, wanted an object"]],
    ["a text for a file", { file: "x" }, ['(the whole file): found "x", wanted an object']],
    [
      "deep down",
      { file: { agents: { gemini: { adapter: "ssh", preset: "gemini", ssh: { host: "h", port: 0 } } } } },
      ["agents.gemini.ssh.port: found 0, wanted a whole number from 1 to 65535"],
    ],
    [
      "in a list",
      { file: { humans: ["jarvis", 3] } },
      ['humans[1]: found 3, wanted a name of 1 to 64 letters, digits, ".", "_" or "-"'],
    ],
    [
      "a wrong choice",
      { file: { agents: { a: { adapter: "shh", command: ["x"] } } } },
      ['agents.a.adapter: found "shh", wanted "ssh", "spawn" or "cli"; did you mean "ssh"?'],
    ],
    [
      "an unknown preset",
      { file: { agents: { a: { adapter: "cli", preset: "gpt" } } } },
      ['agents.a.preset: found "gpt", wanted "gemini", "copilot", "claude", "codex" or "opencode"'],
    ],
    [
      "no adapter",
      { file: { agents: { a: { command: ["x"] } } } },
      ['agents.a.adapter: found nothing, wanted "ssh", "spawn" or "cli"'],
    ],
    [
      "an empty command",
      { file: { agents: { a: { adapter: "cli", command: [] } } } },
      ["agents.a.command: found an empty list, wanted a list of 1 to 1000 entries"],
    ],
    [
      "a bad agent name",
      { file: { agents: { "a b\u001b": cli } } },
      ['agents["a b\\u001b"]: found an unknown key, wanted a name of 1 to 64 letters, digits, ".", "_" or "-"'],
    ],
    [
      "a variable's value is not shown",
      { file: { agents: { a: { ...cli, env: { KEY: 12345 } } } } },
      ["agents.a.env.KEY: found something else, wanted a text"],
    ],
    [
      "nothing that starts it",
      { file: { agents: { a: { adapter: "cli" } } } },
      ['agents.a: found nothing that starts it, wanted a "command" or a "preset"'],
    ],
    [
      "a spawn without way",
      { file: { agents: { a: { adapter: "spawn" } } } },
      ['agents.a: found nothing that starts it, wanted "via": "heartbeat" or "openclaw", a "command" or a "preset"'],
    ],
    [
      "a gateway's URL with a password in it",
      { file: { agents: { a: { adapter: "spawn", via: "openclaw", openclaw: { url: "http://me:secret@host" } } } } },
      ['agents.a.openclaw.url: found "http://me:secret@host", wanted a URL such as "http://127.0.0.1:18789"'],
    ],
    [
      "a gateway's token in the config",
      { file: { agents: { a: { adapter: "spawn", via: "openclaw", openclaw: { token: "secret" } } } } },
      [
        "agents.a.openclaw.token: found an unknown key, wanted one of url, tokenFile, tokenEnv, sessionKey, version, pollMs, requestTimeoutMs",
      ],
    ],
    [
      "via openclaw without spawn",
      { file: { agents: { a: { ...cli, via: "openclaw" } } } },
      ['agents.a.via: found "openclaw", wanted no such key: only "spawn" agents have it'],
    ],
    [
      "ssh without host",
      { file: { agents: { a: { adapter: "ssh", preset: "gemini" } } } },
      ['agents.a.ssh: found nothing, wanted an object with at least "host"'],
    ],
    [
      "via without spawn",
      { file: { agents: { a: { ...cli, via: "heartbeat" } } } },
      ['agents.a.via: found "heartbeat", wanted no such key: only "spawn" agents have it'],
    ],
    [
      "a human as agent",
      { file: { agents: { diego: cli } } },
      [
        'agents.diego: found an agent that "humans" lists too, wanted it in one of the two ("humans" without it, or "agents": {"diego": {"enabled": false}})',
      ],
    ],
    [
      "auto as agent",
      { file: { agents: { auto: cli } } },
      ["agents.auto: found the name auto, wanted another name (it leaves the choice of the agent open)"],
    ],
    [
      "auto as human",
      { file: { humans: ["auto"] } },
      ['humans[0]: found "auto", wanted another name ("auto" leaves the choice of the agent open)'],
    ],
    [
      "a reserved name",
      { file: { agents: { constructor: cli } } },
      ["agents.constructor: found the name constructor, wanted another name (this one is reserved)"],
    ],
    [
      "a budget of nothing",
      { file: { budgets: [{ scope: "gemini", window: "day", limitUsd: 1 }] } },
      ['budgets[0].scope: found "gemini", wanted "all", "agent:<name>" or "project:<name>"'],
    ],
    [
      "URLs that only look like some",
      {
        file: {
          wake: { url: "http://127.0.0.1:99999/hooks/wake" },
          agents: { claude: { adapter: "spawn", via: "openclaw", openclaw: { url: "http://127.0.0.1:99999" } } },
        },
      },
      [
        'wake.url: found "http://127.0.0.1:99999/hooks/wake", wanted a URL with a host and a port that exist',
        'agents.claude.openclaw.url: found "http://127.0.0.1:99999", wanted a URL with a host and a port that exist',
      ],
    ],
    [
      "several at once",
      { file: { server: { port: -1 }, dispach: {} }, env: { JARVIS_PORT: "x" } },
      [
        'dispach: found an unknown key, wanted one of server, humans, dispatch, retry, workspaceRoots, verifiers, worktreeRoot, budgets, wake, historyDays, agents; did you mean "dispatch"?',
        "server.port: found -1, wanted a whole number from 0 to 65535",
        'JARVIS_PORT: found "x", wanted a whole number from 0 to 65535',
      ],
    ],
    [
      "a variable",
      { env: { JARVIS_PORT: "80.5" } },
      ['JARVIS_PORT: found "80.5", wanted a whole number from 0 to 65535'],
    ],
    [
      "a variable in hexadecimal",
      { env: { JARVIS_PORT: "0x50" } },
      ['JARVIS_PORT: found "0x50", wanted a whole number from 0 to 65535'],
    ],
    ["a flag", { flags: { port: "70000" } }, ["--port: found 70000, wanted a whole number from 0 to 65535"]],
    [
      "a log level",
      { flags: { logLevel: "debugg" } },
      [
        '--log-level: found "debugg", wanted "fatal", "error", "warn", "info", "debug", "trace" or "silent"; did you mean "debug"?',
      ],
    ],
    [
      "a host",
      { env: { JARVIS_HOST: "http://x" } },
      ['JARVIS_HOST: found "http://x", wanted a host name or an IP address (without brackets)'],
    ],
    [
      "a file that must exist",
      { flags: { config: "other.json" } },
      ["DATA/other.json: found no such file, though --config names it, wanted a readable JSON file"],
    ],
    [
      "a directory as file",
      { env: { JARVIS_CONFIG: "." } },
      ["DATA: found a file that cannot be read (EISDIR), wanted a readable JSON file"],
    ],
    [
      "a short token",
      { env: { JARVIS_TOKEN: " short " } },
      ["JARVIS_TOKEN: found a token of 5 characters, wanted a token of at least 16 characters"],
    ],
    [
      "an empty token",
      { env: { JARVIS_TOKEN: "" } },
      ["JARVIS_TOKEN: found nothing, wanted a token of at least 16 characters"],
    ],
    [
      "a token with a space",
      { env: { JARVIS_TOKEN: "0123456789 abcdef" } },
      ["JARVIS_TOKEN: found a token with spaces or special characters, wanted letters, digits and signs of ASCII only"],
    ],
    [
      "two tokens",
      { env: { JARVIS_TOKEN: "a".repeat(20), JARVIS_TOKEN_FILE: "t" } },
      ["JARVIS_TOKEN: found both JARVIS_TOKEN and JARVIS_TOKEN_FILE, wanted one of them"],
    ],
    [
      "no token file",
      { env: { JARVIS_TOKEN_FILE: "t" } },
      ["JARVIS_TOKEN_FILE: found DATA/t, which cannot be read (ENOENT), wanted a readable file that holds the token"],
    ],
    [
      "bad JSON",
      { text: '{\n  "server": {\n    "port": 3333,\n  }\n}' },
      [
        'DATA/config.json, line 4, column 3: found "}" after a comma, wanted another key (JSON has no comma after the last one)',
      ],
    ],
    [
      "a comment",
      { text: "{\n  // mine\n}" },
      ["DATA/config.json, line 2, column 3: found a comment (JSON has none), wanted a key in double quotes"],
    ],
    ["an empty file", { text: "" }, ["DATA/config.json, line 1, column 1: found the end of the file, wanted a value"]],
    [
      "a key twice",
      { text: '{"agents": {"a": {}, "a": {}}}' },
      ['DATA/config.json, line 1, column 22: found the key "a" a second time, wanted each key once'],
    ],
  ];
  for (const [name, given, lines] of table) t.same(complaints(t.testdir(), given), lines, name);
});

t.test("a later source wins: file, then environment, then flags", async (t) => {
  const file = { server: { port: 1000, host: "127.0.0.3" } };
  const env = { JARVIS_PORT: "2000", JARVIS_LOG_LEVEL: "debug" };
  const directory = t.testdir();
  const port = (given: Given) => load(directory, given).config.server.port;
  t.equal(port({ file }), 1000);
  t.equal(port({ file, env }), 2000);
  t.equal(port({ file, env, flags: { port: "3000" } }), 3000);
  t.equal(port({ file, env: { JARVIS_PORT: "" } }), 1000, "a variable set to nothing is absent");
  const { config } = load(directory, { file, env, flags: { host: "::1", port: "0" } });
  t.match(config, { server: { host: "::1", port: 0 }, logLevel: "debug" });
  t.equal(config.server.publicUrl, undefined, "a port that is not known yet makes no URL");
});

t.test("the data directory names the config file, unless that is named itself", async (t) => {
  const directory = t.testdir({ home: { d: {} }, "c.json": '{"historyDays": 7}' });
  const sources = { flags: {}, env: { HOME: path.join(directory, "home") }, cwd: directory };
  t.equal(loadConfig(sources).config.dataDirectory, path.join(directory, "data"));
  t.match(loadConfig({ ...sources, env: { ...sources.env, JARVIS_DATA_DIR: "~/d", JARVIS_CONFIG: "c.json" } }).config, {
    dataDirectory: path.join(directory, "home/d"),
    configFile: path.join(directory, "c.json"),
    historyDays: 7,
  });
});

t.test("the token comes from a variable or a file, whose mode is looked at", async (t) => {
  const directory = t.testdir({ mine: "  0123456789abcdef\n" });
  const file = path.join(directory, "mine");
  chmodSync(file, 0o600);
  t.equal(load(directory, { env: { JARVIS_TOKEN: "0123456789abcdefg" } }).config.token, "0123456789abcdefg");
  t.match(load(directory, { env: { JARVIS_TOKEN_FILE: "mine" } }), {
    config: { token: "0123456789abcdef" },
    warnings: [],
  });
  t.equal(load(directory, { flags: { tokenFile: file }, env: { JARVIS_TOKEN: "x" } }).config.token, "0123456789abcdef");
  chmodSync(file, 0o640);
  t.same(load(directory, { env: { JARVIS_TOKEN_FILE: "mine" } }).warnings, [
    `${file} can be read by other users of this machine: chmod 600 it`,
  ]);
});

t.test("the token file that init makes is used where nothing else is said", async (t) => {
  const directory = t.testdir({ token: "from-the-data-directory\n" });
  chmodSync(path.join(directory, "token"), 0o600);
  t.equal(load(directory, {}).config.token, "from-the-data-directory");
  t.equal(load(directory, { env: { JARVIS_TOKEN: "from-the-variable" } }).config.token, "from-the-variable");
  writeFileSync(path.join(directory, "token"), "");
  t.same(complaints(directory, {}), ["DATA/token: found nothing, wanted a token of at least 16 characters"]);
});

t.test("what is allowed but hardly meant is a warning", async (t) => {
  const { warnings } = load(t.testdir(), {
    env: { JARVIS_PROT: "1", JARVIS_SOMETHING_ELSE: "of another program" },
    file: {
      server: { host: "0.0.0.0" },
      retry: { initialDelayMs: 600_000 },
      budgets: [
        { scope: "agent:gemini", window: "day", limitUsd: 1 },
        { scope: "agent:nobody", window: "day", limitUsd: 1 },
      ],
      agents: {
        a: { adapter: "spawn", via: "heartbeat", command: ["x"], openclaw: {} },
        b: { adapter: "spawn", via: "openclaw", preset: "claude", openclaw: { url: "http://gateway.example:18789" } },
        c: { adapter: "cli", command: ["x"], openclaw: {} },
      },
      wake: { url: "https://gateway.example/hooks/wake" },
    },
  });
  t.same(warnings, [
    "the variable JARVIS_PROT is not known here; did you mean JARVIS_PORT?",
    "agents.a.openclaw is not used: the agent is reached by spawn via heartbeat",
    "agents.a.command is not used: the agent is reached by spawn via heartbeat",
    "agents.b.preset is not used: the agent is reached by spawn via openclaw",
    "agents.b.openclaw.url is not encrypted: its token can be read on the way to gateway.example",
    "agents.c.openclaw is not used: the agent is reached by cli",
    "budgets are configured but not enforced by this version",
    'budgets[1].scope names the agent "nobody", which is not configured',
    "retry.maxDelayMs is below retry.initialDelayMs: every retry waits retry.maxDelayMs",
    "server.host is 0.0.0.0, but server.publicUrl does not say by which name: callers from other machines are refused",
  ]);
});

t.test("publicUrl is what callers on this machine would write", async (t) => {
  const directory = t.testdir();
  const url = (server: object) => load(directory, { file: { server } }).config.server.publicUrl;
  t.equal(url({ host: "::1", port: 80 }), "http://[::1]:80");
  t.equal(url({ host: "0.0.0.0" }), "http://127.0.0.1:3333");
  t.equal(url({ host: "::" }), "http://[::1]:3333");
  t.equal(url({ publicUrl: "https://board.example/jarvis/" }), "https://board.example/jarvis");
});

t.test("any JSON at all gives a config or a ConfigError", async (t) => {
  const directory = t.testdir();
  const keys = fc.constantFrom(
    "server",
    "humans",
    "dispatch",
    "retry",
    "budgets",
    "agents",
    "gemini",
    "adapter",
    "ssh",
    "port",
    "env",
    "enabled",
  );
  const { tree } = fc.letrec((tie) => ({
    tree: fc.oneof(
      { maxDepth: 5 },
      fc.constantFrom("cli", "ssh", "spawn", "gemini", true, false, null, 0, 1, 22, -1),
      fc.jsonValue(),
      fc.array(tie("tree"), { maxLength: 3 }),
      fc.dictionary(fc.oneof(keys, fc.string()), tie("tree"), { maxKeys: 6 }),
    ),
  }));
  fc.assert(
    fc.property(tree, (file) => {
      try {
        load(directory, { text: JSON.stringify(file) });
      } catch (error) {
        if (!(error instanceof ConfigError)) throw error;
        return error.problems.length > 0 && !/[\p{Cc}\p{Cf}]/u.test(error.message.replaceAll("\n", ""));
      }
      return true;
    }),
    { numRuns: 500 },
  );
});

t.test("settings that were loaded load again as they are", async (t) => {
  const directory = t.testdir();
  const ms = fc.integer({ min: 0, max: 2_147_483_647 });
  const text = fc.string({ minLength: 1, maxLength: 20 });
  const common = {
    model: text,
    costMultiplier: fc.double({ min: 0, max: 100, noNaN: true }),
    maxConcurrent: fc.integer({ min: 1, max: 100 }),
    bestFor: fc.array(text, { maxLength: 3 }),
    env: fc.dictionary(fc.stringMatching(/^[A-Z]{1,5}$/), fc.string(), { maxKeys: 2 }),
    timeoutMs: ms,
    stallTimeoutMs: ms,
    callback: fc.boolean(),
  };
  const agent = fc.oneof(
    fc.record(
      { adapter: fc.constant("cli"), command: fc.array(text, { minLength: 1, maxLength: 3 }), ...common },
      { requiredKeys: ["adapter", "command"] },
    ),
    fc.record(
      { adapter: fc.constant("ssh"), preset: fc.constantFrom(...PRESETS), ssh: fc.record({ host: text }), ...common },
      { requiredKeys: ["adapter", "preset", "ssh"] },
    ),
    fc.record(
      { adapter: fc.constant("spawn"), via: fc.constant("heartbeat"), ...common },
      { requiredKeys: ["adapter", "via"] },
    ),
  );
  const settings = fc.record(
    {
      server: fc.record(
        { host: fc.constantFrom("127.0.0.1", "::1", "localhost"), port: fc.integer({ min: 1, max: 65_535 }) },
        { requiredKeys: [] },
      ),
      dispatch: fc.record(
        { auto: fc.boolean(), intervalMs: fc.integer({ min: 100, max: 86_400_000 }) },
        { requiredKeys: [] },
      ),
      retry: fc.record({ maxAttempts: fc.integer({ min: 1, max: 1000 }), maxDelayMs: ms }, { requiredKeys: [] }),
      agents: fc.dictionary(
        fc.stringMatching(/^[a-z]{1,8}$/).filter((name) => !["auto", "diego", "jarvis"].includes(name)),
        agent,
        { maxKeys: 4 },
      ),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(settings, (file) => {
      const { config } = load(directory, { file });
      const { dataDirectory: _data, configFile: _file, logLevel: _level, token: _token, ...loaded } = config;
      return isDeepStrictEqual(load(directory, { file: loaded }).config, config);
    }),
    { numRuns: 200 },
  );
});

t.test("the built-in agents are a config file's agents", async (t) => {
  const directory = t.testdir();
  t.same(load(directory, { file: { agents: BUILT_IN_AGENTS } }).config, load(directory, { file: {} }).config);
});
