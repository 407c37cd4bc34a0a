import t from "tap";
import { commandTemplate, fillIn } from "../../src/agents/command.ts";
import { localEnvironment, remoteEnvironment } from "../../src/agents/environment.ts";
import type { PresetName } from "../../src/agents/presets/preset.ts";
import type { AgentSettings } from "../../src/config/schema.ts";

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
