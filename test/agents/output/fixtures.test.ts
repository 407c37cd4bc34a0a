/** What the real programs printed (scripts/record-agent-output.ts), as the end of a run: outcome, class, usage, session. */
import { cpSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import type { OutputFormat } from "../../../src/agents/output/formats.ts";
import { endOfRun } from "../../../src/agents/run-end.ts";
import { classOf, type ErrorClass } from "../../../src/core/policy/error-class.ts";
import type { RunEnd } from "../../../src/dispatcher/ports.ts";

const FIXTURES = fileURLToPath(new URL("fixtures/", import.meta.url));
/** When all of it was said, ms since the epoch. */
const NOW = Date.parse("2026-12-01T00:00:00Z");
const OWN_SESSION = "22222222-2222-4222-8222-222222222222";
/** As the wrapper has it: 128 and the signal's number. */
const SIGNALS: Readonly<Record<number, string>> = { 130: "SIGINT", 137: "SIGKILL", 143: "SIGTERM" };

type Expected = { readonly result: string | RegExp } | { readonly fails: ErrorClass; readonly code?: string };

/** What every program comes to in the same circumstances. */
const COMMON: Readonly<Record<string, Expected>> = {
  plain: { result: "All done: the parser has 41 tests." },
  tool: { result: /hello-from-the-shell/ },
  tool_fails: { result: /broken/ },
  auth: { fails: "auth" },
  plan_auth: { fails: "auth" },
  bad_key: { fails: "auth" },
  forbidden: { fails: "auth" },
  not_logged_in: { fails: "auth" },
  no_key: { fails: "auth" },
  rate_limit: { fails: "rate_limit" },
  rate_limit_once: { result: "All done: after a failure." },
  quota: { fails: "quota" },
  plan_limit: { fails: "quota" },
  payment: { fails: "quota" },
  credit: { fails: "quota" },
  too_large: { fails: "context_overflow" },
  overflow: { fails: "context_overflow" },
  server_error: { fails: "overloaded" },
  overloaded: { fails: "overloaded" },
  no_model: { fails: "bad_config" },
  bad_flag: { fails: "bad_config" },
  skip_permissions_as_root: { fails: "bad_config" },
  cut: { fails: "network" },
  no_server: { fails: "network" },
  empty: { fails: "empty_result" },
  max_turns: { fails: "max_turns" },
  max_budget: { fails: "budget" },
  terminated: { fails: "killed" },
  interrupted: { fails: "killed" },
  terminated_native: { fails: "killed" },
  interrupted_native: { fails: "killed" },
  killed: { fails: "killed" },
  no_network: { fails: "killed" },
  denied: { result: /./ },
  denied_outside: { fails: "refused_permission" },
  resume_first: { result: "Noted: first." },
  resume: { result: "Continued: second." },
  resume_elsewhere: { result: "Continued: second." },
  resume_with_dir: { result: "Continued: second." },
  unknown_resume: { fails: "unknown", code: "RESUME_FAILED" },
  chosen_session: { result: "Noted: first." },
  session_in_use: { fails: "crashed" },
  not_a_repository: { fails: "crashed" },
};

/** What some say, or do not say, in their own way. */
const OWN: Readonly<Record<string, Expected>> = {
  // A signal makes it exit with 0, in the middle of its output.
  "gemini/terminated": { fails: "crashed", code: "BROKEN_OFF" },
  "gemini/interrupted": { fails: "crashed", code: "BROKEN_OFF" },
  "gemini/resume_elsewhere": { fails: "unknown", code: "RESUME_FAILED" },
  // It catches the signal and exits with 1, without a word.
  "codex/interrupted": { fails: "crashed" },
  // "Unexpected server error. Check server logs for details."
  "opencode/not_logged_in": { fails: "unknown" },
  // Its help, and not what is wrong.
  "opencode/bad_flag": { fails: "crashed" },
  // It hung until it was killed.
  "opencode/resume_elsewhere": { fails: "killed" },
};

for (const program of readdirSync(FIXTURES) as OutputFormat[]) {
  t.test(`${program}: every case that was recorded`, async (t) => {
    const cases: Readonly<Record<string, { exitCode: number | null; signal: string | null }>> = JSON.parse(
      readFileSync(join(FIXTURES, program, "cases.json"), "utf8"),
    );
    for (const name of Object.keys(cases)) {
      const expected = OWN[`${program}/${name}`] ?? COMMON[name];
      if (expected === undefined) {
        t.fail(`${name}: nobody says what is to come of it`);
        continue;
      }
      const { outcome } = await endOf(t.testdir({}), program, name);
      if ("result" in expected) {
        t.match(outcome, { status: "completed", result: expected.result }, name);
      } else if (outcome.status === "completed") {
        t.fail(`${name} passes for a success: ${outcome.result}`);
      } else {
        const { code, message } = outcome.error;
        t.equal(classOf(code), expected.fails, `${name}: ${message}`);
        if (expected.code !== undefined) t.equal(code, expected.code, name);
        t.ok(message.length > 20 && message.length <= 3000, `${name}: a sentence that tells what to do`);
      }
    }
  });
}

t.test("what was used, by whom, and in which session", async (t) => {
  const table: readonly (readonly [name: string, expected: Partial<RunEnd>])[] = [
    [
      "claude/tool",
      {
        toolCalls: 1,
        agentSession: {
          id: "",
          totals: { inputTokens: 2400, cacheReadTokens: 400, outputTokens: 100, costUsd: 0.00504 },
        },
      },
    ],
    [
      "claude/plain",
      { toolCalls: 0, agentSession: { id: "", totals: { inputTokens: 1200, model: "claude-sonnet-5-5" } } },
    ],
    // Totals go on growing through the attempts of one session; what is told of one run does not.
    ["claude/resume", { agentSession: { id: "", totals: { inputTokens: 2400, costUsd: 0.00504 } } }],
    ["codex/resume", { agentSession: { id: "", totals: { inputTokens: 2400, outputTokens: 100 } } }],
    ["copilot/resume", { agentSession: { id: "", totals: { inputTokens: 2400, model: "gpt-5.4" } } }],
    [
      "gemini/resume",
      { usage: { inputTokens: 1200, outputTokens: 50, model: "gemini-2.5-pro" }, agentSession: { id: "" } },
    ],
    ["opencode/resume", { usage: { inputTokens: 1200, outputTokens: 50, costUsd: 0.00375 }, agentSession: { id: "" } }],
    ["opencode/tool", { toolCalls: 1, usage: { inputTokens: 2400, costUsd: 0.0075 } }],
    // Its id stands in its last line; one that was killed goes by the id that it was given.
    ["copilot/killed", { agentSession: { id: OWN_SESSION } }],
    ["claude/max_turns", { agentSession: { id: "", totals: { inputTokens: 2400 } } }],
    ["claude/denied", { warnings: [{ code: "TOOLS_REFUSED", message: "it was not allowed to use Bash" }] }],
    ["copilot/denied", { warnings: [{ code: "TOOLS_REFUSED", message: "it was not allowed to use" }] }],
  ];
  for (const [path, expected] of table) {
    const [program, name] = path.split("/") as [OutputFormat, string];
    const end = await endOf(t.testdir({}), program, name);
    const { agentSession, ...others } = expected;
    t.match(end, others, path);
    if (agentSession === undefined) continue;
    t.equal(end.agentSession?.id, agentSession.id || namedIn(program, name), path);
    t.match(end.agentSession?.totals, agentSession.totals, path);
  }
});

t.test("when a limit ends, where the program says so", async (t) => {
  const table: readonly (readonly [path: string, afterMs: number])[] = [
    ["opencode/rate_limit", 7000],
    ["copilot/rate_limit", 7000],
    ["gemini/rate_limit", 7000],
    ["claude/plan_limit", limitIn("claude/plan_limit") - NOW],
  ];
  for (const [path, afterMs] of table) {
    const [program, name] = path.split("/") as [OutputFormat, string];
    const { outcome } = await endOf(t.testdir({}), program, name);
    t.match(outcome, { error: { resetAt: NOW + afterMs } }, path);
  }
});

/** The program's own name for its session, whatever it calls that. */
function namedIn(program: OutputFormat, name: string): string | undefined {
  const printed = readFileSync(join(FIXTURES, program, `${name}.stdout.jsonl`), "utf8");
  return /"(?:session_id|sessionId|sessionID|thread_id)":"([^"]+)"/.exec(printed)?.[1];
}

/** When the plan's limit ends, ms since the epoch. */
function limitIn(path: string): number {
  return Number(/"resetsAt":(\d+)/.exec(readFileSync(join(FIXTURES, `${path}.stdout.jsonl`), "utf8"))?.[1]) * 1000;
}

async function endOf(directory: string, program: OutputFormat, name: string): Promise<RunEnd> {
  const from = (suffix: string) => join(FIXTURES, program, `${name}.${suffix}`);
  cpSync(from("stdout.jsonl"), join(directory, "stdout.log"));
  cpSync(from("stderr.txt"), join(directory, "stderr.log"));
  if (existsSync(from("usage.json"))) cpSync(from("usage.json"), join(directory, "usage.log"));
  const { exitCode, signal } = JSON.parse(readFileSync(join(FIXTURES, program, "cases.json"), "utf8"))[name];
  const status = exitCode ?? Number(Object.entries(SIGNALS).find(([, one]) => one === signal)?.[0]);
  return endOfRun({
    sessionId: "ses_1",
    directory,
    settings: { maxOutputBytes: 10_000_000, output: program },
    exit: { status, signal: SIGNALS[status] ?? null, stopped: false, timedOut: false, leftovers: [] },
    startError: null,
    agentSession: OWN_SESSION,
    now: NOW,
  });
}
