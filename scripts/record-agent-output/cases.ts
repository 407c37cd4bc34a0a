/** What is asked of each program, and how. */
import type { ProgramName } from "../../test/support/agent-programs.ts";

export interface Case {
  readonly name: string;
  /** `{session}`: of the run `after` which this one comes; `{usageFile}`: kept as a fixture too. */
  readonly args: readonly string[];
  /** On standard input. */
  readonly prompt: string;
  readonly note: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Taken from the set-up: a variable, or a file in the home. */
  readonly without?: readonly string[];
  /** Runs in the home of that case, so that its session is there. */
  readonly after?: string;
  /** In another directory than all others. */
  readonly elsewhere?: boolean;
  /** Sent to the group one second after the first request. */
  readonly signal?: NodeJS.Signals;
  readonly secondsMax?: number;
}

/** What every program is asked, with the same arguments. */
const ASKED: readonly (Pick<Case, "name" | "prompt" | "note"> & Partial<Case>)[] = [
  { name: "plain", prompt: "Say it. [[PLAIN All done: the parser has 41 tests.]]", note: "an answer in one turn" },
  {
    name: "tool",
    prompt: "Run it. [[TOOL echo hello-from-the-shell]]",
    note: "one call of the shell, then the answer",
  },
  { name: "tool_fails", prompt: "Run it. [[TOOL echo broken >&2; exit 3]]", note: "the shell command exits 3" },
  { name: "auth", prompt: "Go. [[FAIL 401]]", note: "401: a wrong key" },
  { name: "rate_limit", prompt: "Go. [[FAIL 429 retry-after=7]]", note: "429 with Retry-After: 7, every time" },
  {
    name: "rate_limit_once",
    prompt: "Go. [[FAIL 429 x1 retry-after=2]]",
    note: "429 with Retry-After: 2, once: it recovers by itself",
  },
  { name: "quota", prompt: "Go. [[FAIL 429 quota]]", note: "429: the account's quota is used up" },
  { name: "payment", prompt: "Go. [[FAIL 402]]", note: "402: billing" },
  { name: "forbidden", prompt: "Go. [[FAIL 403]]", note: "403" },
  { name: "no_model", prompt: "Go. [[FAIL 404]]", note: "404: a model that does not exist" },
  { name: "too_large", prompt: "Go. [[FAIL 413]]", note: "413" },
  { name: "server_error", prompt: "Go. [[FAIL 500]]", note: "500, every time" },
  { name: "overflow", prompt: "Go. [[OVERFLOW]]", note: "400: more than the model's context holds" },
  { name: "cut", prompt: "Go. [[CUT]]", note: "the connection is dropped in the middle of the answer, every time" },
  { name: "empty", prompt: "Go. [[EMPTY]]", note: "an answer without text" },
  {
    name: "terminated",
    prompt: "Go. [[HANG]]",
    note: "SIGTERM to the group while the model does not answer",
    signal: "SIGTERM",
  },
  {
    name: "interrupted",
    prompt: "Go. [[HANG]]",
    note: "SIGINT to the group while the model does not answer",
    signal: "SIGINT",
  },
  {
    name: "killed",
    prompt: "Go. [[SLOW 20000]]",
    note: "SIGKILL to the group in the middle of an answer",
    signal: "SIGKILL",
  },
];

function asked(args: readonly string[], more: Partial<Case> = {}): readonly Case[] {
  return ASKED.map((one) => ({ args, ...more, ...one }));
}

const FIRST = "Remember it. [[PLAIN Noted: first.]]";
const SECOND = "Go on. [[PLAIN Continued: second.]]";
const SHELL = "Run it. [[TOOL touch refused.txt && echo done]]";
const NO_SUCH_SESSION = "00000000-0000-4000-8000-000000000000";

const CLAUDE = ["-p", "--output-format", "stream-json", "--verbose", "--model", "sonnet"];
const CLAUDE_WORKS = [...CLAUDE, "--permission-mode", "acceptEdits", "--allowedTools", "Bash"];
const CLAUDE_ONCE = { CLAUDE_CODE_MAX_RETRIES: "1" };

const claude: readonly Case[] = [
  ...asked(CLAUDE_WORKS, { env: CLAUDE_ONCE }),
  {
    name: "overloaded",
    args: CLAUDE_WORKS,
    env: CLAUDE_ONCE,
    prompt: "Go. [[FAIL 529]]",
    note: "529: overloaded, every time",
  },
  {
    name: "credit",
    args: CLAUDE_WORKS,
    env: CLAUDE_ONCE,
    prompt: "Go. [[FAIL 400 credit]]",
    note: "400: no credit left",
  },
  {
    name: "plan_limit",
    args: CLAUDE_WORKS,
    env: { ...CLAUDE_ONCE, CLAUDE_CODE_OAUTH_TOKEN: "sk-ant-oat01-dummy-token-of-the-stub-0000" },
    without: ["ANTHROPIC_API_KEY"],
    prompt: "Go. [[FAIL 429 plan]]",
    note: "429: a subscription's limit, with the reset in the headers anthropic-ratelimit-unified-*",
  },
  {
    name: "plan_auth",
    args: CLAUDE_WORKS,
    env: { ...CLAUDE_ONCE, CLAUDE_CODE_OAUTH_TOKEN: "sk-ant-oat01-dummy-token-of-the-stub-0000" },
    without: ["ANTHROPIC_API_KEY"],
    prompt: "Go. [[FAIL 401]]",
    note: "401 with a subscription's token",
  },
  { name: "denied", args: [...CLAUDE, "--permission-mode", "default"], prompt: SHELL, note: "the shell is refused" },
  { name: "resume_first", args: CLAUDE_WORKS, prompt: FIRST, note: "the run that `resume` continues" },
  {
    name: "resume",
    args: [...CLAUDE_WORKS, "--resume", "{session}"],
    after: "resume_first",
    prompt: SECOND,
    note: "total_cost_usd and modelUsage are totals of both runs, usage is this run's",
  },
  {
    name: "resume_elsewhere",
    args: [...CLAUDE_WORKS, "--resume", "{session}"],
    after: "resume_first",
    elsewhere: true,
    prompt: SECOND,
    note: "the same from another directory",
  },
  {
    name: "unknown_resume",
    args: [...CLAUDE_WORKS, "--resume", NO_SUCH_SESSION],
    prompt: SECOND,
    note: "no such session",
  },
  {
    name: "chosen_session",
    args: [...CLAUDE_WORKS, "--session-id", "11111111-1111-4111-8111-111111111111"],
    prompt: FIRST,
    note: "the session's id is the caller's",
  },
  {
    name: "session_in_use",
    args: [...CLAUDE_WORKS, "--session-id", "11111111-1111-4111-8111-111111111111"],
    after: "chosen_session",
    prompt: FIRST,
    note: "the id is taken",
  },
  {
    name: "not_logged_in",
    args: CLAUDE_WORKS,
    without: ["ANTHROPIC_API_KEY"],
    prompt: FIRST,
    note: "no key, no login",
  },
  { name: "max_turns", args: [...CLAUDE_WORKS, "--max-turns", "2"], prompt: "Go. [[LOOP]]", note: "--max-turns 2" },
  {
    name: "max_budget",
    args: [...CLAUDE_WORKS, "--max-budget-usd", "0.01"],
    prompt: "Go. [[LOOP]]",
    note: "--max-budget-usd 0.01",
  },
  { name: "bad_flag", args: [...CLAUDE_WORKS, "--no-such-flag"], prompt: FIRST, note: "a flag that it does not know" },
  {
    name: "skip_permissions_as_root",
    args: [...CLAUDE, "--dangerously-skip-permissions"],
    prompt: FIRST,
    note: "refused to root, unless IS_SANDBOX=1",
  },
  {
    name: "no_server",
    args: CLAUDE_WORKS,
    env: { ...CLAUDE_ONCE, ANTHROPIC_BASE_URL: "http://127.0.0.1:9" },
    prompt: FIRST,
    note: "nothing listens where the model should be",
  },
];

const GEMINI = ["-m", "gemini-2.5-pro", "-o", "stream-json", "--skip-trust"];
const GEMINI_WORKS = [...GEMINI, "--approval-mode", "yolo"];

const gemini: readonly Case[] = [
  ...asked(GEMINI_WORKS),
  { name: "overloaded", args: GEMINI_WORKS, prompt: "Go. [[FAIL 503]]", note: "503: overloaded, every time" },
  {
    name: "bad_key",
    args: GEMINI_WORKS,
    prompt: "Go. [[FAIL 400 key]]",
    note: "400: what this provider really says to a wrong key",
  },
  {
    name: "denied",
    args: [...GEMINI, "--approval-mode", "default"],
    prompt: 'Run it. [[CALL run_shell_command {"command":"touch refused.txt","description":"Touch"}]]',
    note: "no shell is offered, and the model calls it all the same",
  },
  { name: "resume_first", args: GEMINI_WORKS, prompt: FIRST, note: "the run that `resume` continues" },
  {
    name: "resume",
    args: [...GEMINI_WORKS, "--resume", "{session}"],
    after: "resume_first",
    prompt: SECOND,
    note: "the same session; tokens of this run only",
  },
  {
    name: "resume_elsewhere",
    args: [...GEMINI_WORKS, "--resume", "{session}"],
    after: "resume_first",
    elsewhere: true,
    prompt: SECOND,
    note: "the same from another directory",
  },
  {
    name: "unknown_resume",
    args: [...GEMINI_WORKS, "--resume", NO_SUCH_SESSION],
    prompt: SECOND,
    note: "no such session",
  },
  {
    name: "chosen_session",
    args: [...GEMINI_WORKS, "--session-id", "11111111-1111-4111-8111-111111111111"],
    prompt: FIRST,
    note: "the session's id is the caller's",
  },
  {
    name: "not_logged_in",
    args: GEMINI_WORKS,
    without: ["GEMINI_API_KEY", "GOOGLE_GEMINI_BASE_URL", ".gemini/settings.json"],
    prompt: FIRST,
    note: "no key, no login, no settings",
  },
  {
    name: "no_key",
    args: GEMINI_WORKS,
    without: ["GEMINI_API_KEY"],
    prompt: FIRST,
    note: "the settings say that there is a key, and there is none",
  },
  { name: "bad_flag", args: [...GEMINI_WORKS, "--no-such-flag"], prompt: FIRST, note: "a flag that it does not know" },
  {
    name: "no_server",
    args: GEMINI_WORKS,
    env: { GOOGLE_GEMINI_BASE_URL: "http://127.0.0.1:9" },
    prompt: FIRST,
    note: "nothing listens where the model should be",
  },
];

const CODEX = ["exec", "--json", "--skip-git-repo-check", "-m", "gpt-5.4"];
const CODEX_WORKS = [...CODEX, "-s", "workspace-write", "-c", "sandbox_workspace_write.network_access=true"];

const codex: readonly Case[] = [
  ...asked([...CODEX_WORKS, "-"]),
  { name: "overloaded", args: [...CODEX_WORKS, "-"], prompt: "Go. [[FAIL 503]]", note: "503: overloaded, every time" },
  {
    name: "plan_limit",
    args: [...CODEX_WORKS, "-"],
    prompt: "Go. [[FAIL 429 plan]]",
    note: "429: a subscription's limit, usage_limit_reached",
  },
  { name: "denied", args: [...CODEX, "-s", "read-only", "-"], prompt: SHELL, note: "the sandbox is read-only" },
  { name: "resume_first", args: [...CODEX_WORKS, "-"], prompt: FIRST, note: "the run that `resume` continues" },
  {
    name: "resume",
    args: [...CODEX_WORKS, "resume", "{session}", "-"],
    after: "resume_first",
    prompt: SECOND,
    note: "usage is the total of both runs",
  },
  {
    name: "resume_elsewhere",
    args: [...CODEX_WORKS, "resume", "{session}", "-"],
    after: "resume_first",
    elsewhere: true,
    prompt: SECOND,
    note: "the same from another directory",
  },
  {
    name: "unknown_resume",
    args: [...CODEX_WORKS, "resume", NO_SUCH_SESSION, "-"],
    prompt: SECOND,
    note: "no such session",
  },
  {
    name: "not_logged_in",
    args: [...CODEX_WORKS, "-"],
    without: ["STUB_API_KEY", ".codex/config.toml"],
    secondsMax: 60,
    prompt: FIRST,
    note: "no login, no provider of our own; killed after 60 s",
  },
  {
    name: "no_key",
    args: [...CODEX_WORKS, "-"],
    without: ["STUB_API_KEY"],
    prompt: FIRST,
    note: "the variable of env_key is missing",
  },
  {
    name: "bad_flag",
    args: [...CODEX_WORKS, "--no-such-flag", "-"],
    prompt: FIRST,
    note: "a flag that it does not know",
  },
  {
    name: "not_a_repository",
    args: ["exec", "--json", "-s", "workspace-write", "-m", "gpt-5.4", "-"],
    prompt: FIRST,
    note: "outside of git, without --skip-git-repo-check",
  },
];

const COPILOT = [
  "--model",
  "gpt-5.4",
  "--output-format",
  "json",
  "--no-ask-user",
  "--no-auto-update",
  "--no-color",
  "--usage-output-file",
  "{usageFile}",
];
const COPILOT_WORKS = [...COPILOT, "--allow-all-tools"];

const copilot: readonly Case[] = [
  ...asked(COPILOT_WORKS),
  { name: "overloaded", args: COPILOT_WORKS, prompt: "Go. [[FAIL 503]]", note: "503: overloaded, every time" },
  { name: "denied", args: COPILOT, prompt: SHELL, note: "the shell is refused" },
  { name: "resume_first", args: COPILOT_WORKS, prompt: FIRST, note: "the run that `resume` continues" },
  {
    name: "resume",
    args: [...COPILOT_WORKS, "--resume={session}"],
    after: "resume_first",
    prompt: SECOND,
    note: "the usage file counts both runs",
  },
  {
    name: "resume_elsewhere",
    args: [...COPILOT_WORKS, "--resume={session}"],
    after: "resume_first",
    elsewhere: true,
    prompt: SECOND,
    note: "the same from another directory",
  },
  {
    name: "unknown_resume",
    args: [...COPILOT_WORKS, `--resume=${NO_SUCH_SESSION}`],
    prompt: SECOND,
    note: "no such session",
  },
  {
    name: "chosen_session",
    args: [...COPILOT_WORKS, "--session-id", "11111111-1111-4111-8111-111111111111"],
    prompt: FIRST,
    note: "the session's id is the caller's",
  },
  {
    name: "not_logged_in",
    args: COPILOT_WORKS,
    without: ["COPILOT_PROVIDER_BASE_URL", "COPILOT_PROVIDER_API_KEY", "COPILOT_PROVIDER_TYPE", "COPILOT_OFFLINE"],
    prompt: FIRST,
    note: "no login, no provider of our own",
  },
  { name: "bad_flag", args: [...COPILOT_WORKS, "--no-such-flag"], prompt: FIRST, note: "a flag that it does not know" },
];

const OPENCODE = ["run", "--format", "json", "-m", "stub/stub-model"];

const opencode: readonly Case[] = [
  ...asked(OPENCODE),
  { name: "overloaded", args: OPENCODE, prompt: "Go. [[FAIL 503]]", note: "503: overloaded, every time" },
  {
    name: "denied",
    args: OPENCODE,
    env: { OPENCODE_PERMISSION: '{"bash":"deny","edit":"deny"}' },
    prompt: 'Run it. [[CALL bash {"command":"touch refused.txt","description":"Touch"}]]',
    note: "the shell is refused by the settings, and the model calls it all the same",
  },
  {
    name: "denied_outside",
    args: OPENCODE,
    prompt: "Write it. [[WRITE /work-of-others/refused.txt hello]]",
    note: "a file outside of the directory",
  },
  { name: "resume_first", args: OPENCODE, prompt: FIRST, note: "the run that `resume` continues" },
  {
    name: "resume",
    args: [...OPENCODE, "-s", "{session}"],
    after: "resume_first",
    prompt: SECOND,
    note: "tokens and cost of this run only",
  },
  {
    name: "resume_elsewhere",
    args: [...OPENCODE, "-s", "{session}"],
    after: "resume_first",
    elsewhere: true,
    prompt: SECOND,
    note: "the same from another directory",
  },
  {
    name: "unknown_resume",
    args: [...OPENCODE, "-s", "ses_0000000000000000000000000"],
    prompt: SECOND,
    note: "no such session",
  },
  {
    name: "not_logged_in",
    args: OPENCODE,
    without: ["OPENCODE_CONFIG_CONTENT"],
    secondsMax: 60,
    prompt: FIRST,
    note: "no provider at all; killed after 60 s",
  },
  { name: "bad_flag", args: [...OPENCODE, "--no-such-flag"], prompt: FIRST, note: "a flag that it does not know" },
];

export const CASES: Readonly<Record<ProgramName, readonly Case[]>> = { claude, gemini, copilot, codex, opencode };
