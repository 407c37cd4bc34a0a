import t from "tap";
import { commandTemplate, fillIn, ownSession, sessionChoice } from "../../src/agents/command.ts";
import { localEnvironment, remoteEnvironment } from "../../src/agents/environment.ts";
import { environmentOf, outputOf } from "../../src/agents/known-program.ts";
import { OUTPUT_FORMATS } from "../../src/agents/output/formats.ts";
import type { Permissions, PresetName } from "../../src/agents/presets/preset.ts";
import { PRESETS } from "../../src/agents/presets/presets.ts";
import { type AgentSettings, PERMISSIONS } from "../../src/config/schema.ts";

type Written = Partial<Pick<AgentSettings, "command" | "preset" | "permissions" | "args">>;
const SESSION = "11111111-1111-4111-8111-111111111111";
const commandOf = (settings: Written, model: string | null, resume: string | null = null) =>
  commandTemplate({ permissions: "work", args: [], ...settings }, model, { resume, session: SESSION });

const VALUES = {
  prompt: "the prompt",
  promptFile: "/runs/ses_1/prompt.md",
  usageFile: "/runs/ses_1/usage.log",
  model: "sonnet",
  taskId: "task-1",
  sessionId: "ses_1",
  workdir: "/there",
};

t.test("places are filled in as whole arguments and as parts", async (t) => {
  const table: readonly (readonly [argument: string, filled: string, promptOnStdin: boolean])[] = [
    ["{prompt}", "the prompt", false],
    ["{promptFile}", "/runs/ses_1/prompt.md", false],
    ["--model={model}", "--model=sonnet", true],
    ["{taskId}-{sessionId}", "task-1-ses_1", true],
    ["{workdir}/x", "/there/x", true],
    ['{"json": "{other}"}', '{"json": "{other}"}', true],
    ["{{model}}", "{sonnet}", true],
    ["{Prompt}", "{Prompt}", true],
    ["", "", true],
  ];
  for (const [argument, filled, promptOnStdin] of table) {
    t.same(fillIn(["agent", argument], VALUES), { argv: ["agent", filled], promptOnStdin }, argument);
  }
});

t.test("what was filled in is never looked at again", async (t) => {
  const values = { ...VALUES, prompt: "{taskId} $& $1 {prompt}", model: "{prompt}" };
  t.same(fillIn(["{model}", "{prompt}"], values).argv, ["{prompt}", "{taskId} $& $1 {prompt}"]);
});

t.test("what no argument can hold", async (t) => {
  t.equal(fillIn(["agent", "{prompt}"], { ...VALUES, prompt: "a\0b" }).argv[1], "a\uFFFDb");
  const fits = "x".repeat(128 * 1024 - 1);
  t.equal(fillIn(["agent", "{prompt}"], { ...VALUES, prompt: fits }).argv[1], fits);
  t.throws(() => fillIn(["agent", "{prompt}"], { ...VALUES, prompt: `${fits}x` }), { code: "ARGUMENT_TOO_LONG" });
  t.throws(() => fillIn(["agent", "{prompt}"], { ...VALUES, prompt: "漢".repeat(50_000) }), {
    code: "ARGUMENT_TOO_LONG",
  });
  t.throws(() => fillIn(["agent", "{model}"], { ...VALUES, model: null }), { code: "BAD_CONFIG" });
});

t.test("a command of the user's own wins over the preset", async (t) => {
  t.same(commandOf({ command: ["mine"], preset: "claude" }, "m"), ["mine"]);
  t.equal(commandOf({ preset: "claude" }, "m")[0], "claude");
  for (const settings of [{}, { command: [] }, { command: [""] }, { command: ["-rf"] }]) {
    t.throws(() => commandOf(settings, null), { code: "BAD_CONFIG" });
  }
});

t.test("presets take the prompt on standard input and the model only where there is one", async (t) => {
  for (const name of ["gemini", "copilot", "claude", "codex", "opencode"] satisfies PresetName[]) {
    const command = commandOf({ preset: name }, "the-model");
    t.equal(command.filter((argument) => argument === "the-model").length, 1, name);
    t.notOk(
      commandOf({ preset: name }, null).some(
        (argument) => argument === "the-model" || argument === "-m" || argument === "--model",
      ),
    );
    t.equal(fillIn(command, VALUES).promptOnStdin, true, name);
  }
});

t.test("an agent's environment is an allow-list", async (t) => {
  const daemon = {
    PATH: "/bin",
    HOME: "/h",
    USER: "u",
    SECRET: "s",
    JARVIS_TOKEN: "t",
    JARVIS_TOKEN_FILE: "f",
    A: "daemon's",
  };
  const own = { JARVIS_TASK_ID: "task-1" };
  t.same(localEnvironment(daemon, { permissions: "work", env: {}, envPass: [] }, own), {
    PATH: "/bin",
    HOME: "/h",
    USER: "u",
    ...own,
  });
  const settings = {
    permissions: "work" as const,
    env: { A: "config's", JARVIS_TASK_ID: "x", Z: "a\0b" },
    envPass: ["A", "SECRET", "JARVIS_TOKEN", "JARVIS_TOKEN_FILE", "NONE"],
  };
  const expected = { A: "config's", SECRET: "s", Z: "a\uFFFDb", ...own };
  t.same(localEnvironment(daemon, settings, own), { PATH: "/bin", HOME: "/h", USER: "u", ...expected });
  t.same(remoteEnvironment(daemon, settings, own), expected);
});

const COPILOT = "--output-format json --no-ask-user --no-auto-update --no-color --usage-output-file {usageFile}";
/** For every preset and permission: the arguments of a new session, without a model and without further arguments. */
const ARGUMENTS: Readonly<Record<PresetName, Readonly<Record<Permissions, string>>>> = {
  claude: {
    read: "-p --output-format stream-json --verbose --permission-mode dontAsk --disallowedTools Bash,Write,Edit,NotebookEdit",
    edit: "-p --output-format stream-json --verbose --permission-mode acceptEdits --disallowedTools Bash",
    work: "-p --output-format stream-json --verbose --permission-mode acceptEdits --allowedTools Bash",
    full: "-p --output-format stream-json --verbose --permission-mode bypassPermissions",
  },
  gemini: {
    read: "-o stream-json --approval-mode plan --skip-trust",
    edit: "-o stream-json --approval-mode auto_edit --skip-trust",
    work: "-o stream-json --approval-mode yolo --skip-trust",
    full: "-o stream-json --approval-mode yolo --skip-trust",
  },
  copilot: {
    read: `${COPILOT} --allow-all-tools --available-tools view,grep,glob --session-id ${SESSION}`,
    edit: `${COPILOT} --allow-tool write --session-id ${SESSION}`,
    work: `${COPILOT} --allow-all-tools --session-id ${SESSION}`,
    full: `${COPILOT} --allow-all --session-id ${SESSION}`,
  },
  codex: {
    read: "exec --json --skip-git-repo-check -s read-only -",
    edit: "exec --json --skip-git-repo-check -s workspace-write -",
    work: "exec --json --skip-git-repo-check -s workspace-write -c sandbox_workspace_write.network_access=true -",
    full: "exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox -",
  },
  opencode: {
    read: "run --format json",
    edit: "run --format json",
    work: "run --format json",
    full: "run --format json --auto",
  },
};
const NAMES = Object.keys(PRESETS) as PresetName[];

t.test("every preset starts its program as its permissions say", async (t) => {
  t.same(Object.keys(ARGUMENTS).sort(), [...NAMES].sort());
  for (const preset of NAMES) {
    for (const [permissions, expected] of Object.entries(ARGUMENTS[preset]) as [Permissions, string][]) {
      t.equal(commandOf({ preset, permissions }, null).join(" "), `${preset} ${expected}`);
    }
  }
});

t.test("further arguments come where the program takes them, whole and unchanged", async (t) => {
  const args = ["--max turns", "5; rm -rf /"];
  for (const preset of NAMES) {
    const [, ...without] = commandOf({ preset }, null);
    const [, ...command] = commandOf({ preset, args }, null);
    // What stands behind them in Codex says that the prompt comes on standard input.
    const at = preset === "codex" ? without.length - 1 : without.length;
    t.same(command, without.toSpliced(at, 0, ...args), preset);
  }
  t.same(commandOf({ command: ["mine", "-x"], args }, null), ["mine", "-x"], "a command of one's own has its own");
});

t.test("a program goes on with its own session as it was seen to work", async (t) => {
  const table: Readonly<Record<PresetName, readonly string[]>> = {
    claude: ["--resume", "own-1"],
    gemini: ["--resume", "own-1"],
    copilot: ["--resume=own-1"],
    codex: ["resume", "own-1", "-"],
    opencode: ["-s", "own-1"],
  };
  for (const preset of NAMES) {
    const wanted = table[preset];
    for (const args of [[], ["--mine"]]) {
      const command = commandOf({ preset, args }, "the-model", "own-1");
      const at = command.indexOf(wanted[0] ?? "");
      t.same(command.slice(at, at + wanted.length), wanted, preset);
      t.notOk(command.includes("--session-id"), "one that goes on has its name already");
      if (preset === "codex") t.same(command.slice(-3), wanted, "a command within its command comes last");
      else t.same(command.slice(command.length - args.length), args);
    }
  }
});

t.test(
  "the name for a new session is a UUID, always the same for a session of ours, and another for each",
  async (t) => {
    const names = new Set<string>();
    for (let number = 0; number < 1000; number++) {
      const sessionId = `ses_${number}`;
      const { resume, session } = sessionChoice({ sessionId });
      t.equal(resume, null);
      if (!/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$/.test(session)) t.fail(session);
      if (sessionChoice({ sessionId }).session !== session) t.fail(`${sessionId} has two names`);
      t.equal(ownSession({ sessionId }), session);
      names.add(session);
    }
    t.equal(names.size, 1000);
    const resumes = { id: "own-1", origin: "ses_0" };
    t.equal(sessionChoice({ sessionId: "ses_1", resumes }).resume, "own-1");
    t.equal(ownSession({ sessionId: "ses_1", resumes }), "own-1", "one that goes on keeps its name");
  },
);

t.test("a preset's variables are below the agent's own, and say what its flags cannot", async (t) => {
  for (const preset of NAMES) {
    for (const permissions of PERMISSIONS) {
      const env = PRESETS[preset].env(permissions);
      const agent = { preset, permissions };
      t.same(environmentOf({ ...agent, env: {} }), env, preset);
      for (const name of Object.keys(env)) {
        t.same(environmentOf({ ...agent, env: { [name]: "mine", OTHER: "x" } }), {
          ...env,
          [name]: "mine",
          OTHER: "x",
        });
        const settings = { ...agent, env: { [name]: "mine" }, envPass: [name] };
        t.equal(remoteEnvironment({ [name]: "daemon's" }, settings, {})[name], "mine", `${preset}: ${name}`);
        t.equal(remoteEnvironment({}, { ...settings, env: {} }, {})[name], env[name]);
      }
    }
  }
  t.same(environmentOf({ permissions: "work", env: { A: "1" } }), { A: "1" });
  const { OPENCODE_PERMISSION = "" } = PRESETS.opencode.env("read");
  t.same(JSON.parse(OPENCODE_PERMISSION), { edit: "deny", bash: "deny" });
});

t.test("output is read as the preset's program prints it, unless something else is said", async (t) => {
  for (const preset of NAMES) {
    t.equal(outputOf({ preset }), preset);
    t.equal(outputOf({ preset, command: ["mine"] }), "text");
    for (const output of OUTPUT_FORMATS) {
      t.equal(outputOf({ preset, output }), output);
      t.equal(outputOf({ command: ["mine"], output }), output);
    }
  }
  t.equal(outputOf({ command: ["mine"] }), "text");
});
