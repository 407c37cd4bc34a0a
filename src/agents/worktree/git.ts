/**
 * Git, run for the daemon in a repository whose config and files are the agents' to change: without a shell, with next to nothing in its
 * environment, with a time limit, and so that nothing that stands in the repository is run.
 *
 * Hooks, the file system monitor, external diffs and textconv are off, submodules are not entered, nothing is fetched (which could run a
 * transport's program), and filters count only as the user's own config has them, not the repository's. What remains: whoever changes the
 * repository's config between the look at its filters and git's start, and faults of git itself. Programs that run as the daemon's user need
 * no such ways; this is for those that a sandbox lets write into the repository only.
 */
import { existsSync } from "node:fs";
import { execa } from "execa";
import { AgentProblem, toSentence } from "../agent-problem.ts";

export interface GitPlace {
  /** A directory that is there. */
  readonly cwd: string;
  /** The daemon's own environment, of which git gets a few variables. */
  readonly environment: NodeJS.ProcessEnv;
  /** `GIT_DIR` and its like, where git is not to look for the repository by itself. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Config that wins over the repository's: what `filtersOf` said. */
  readonly config?: GitConfig | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly timeLimitMs?: number | undefined;
}

export type GitConfig = readonly (readonly [key: string, value: string])[];

export interface GitAnswer {
  readonly status: number;
  readonly stdout: Buffer;
  /** What it complained of. */
  readonly said: string;
  /** There was more than `bytesMax`: `stdout` is the beginning, and git was ended. */
  readonly isCut: boolean;
}

export interface GitOptions {
  readonly input?: Buffer | undefined;
  readonly bytesMax?: number | undefined;
}

const TIME_LIMIT_MS = 30_000;
const OUTPUT_BYTES_MAX = 16 * 1024 * 1024;
const KILL_AFTER_MS = 3000;

const SAFE_CONFIG: GitConfig = [
  ["core.hooksPath", "/dev/null"],
  ["core.fsmonitor", "false"],
  ["core.untrackedCache", "false"],
  ["core.pager", "cat"],
  ["core.quotePath", "false"],
  ["submodule.recurse", "false"],
  ["worktree.useRelativePaths", "false"],
  ["gc.auto", "0"],
  ["maintenance.auto", "false"],
  ["advice.detachedHead", "false"],
];

/** Of the daemon's environment: its own config says which directories are safe, and which filters there are. */
const PASSED_ON = ["PATH", "HOME", "XDG_CONFIG_HOME", "TMPDIR"];

/**
 * Runs git to its end, whatever its status. Throws `NO_WORKTREE` where there is no git, `START_FAILED` where it took too long or was
 * stopped.
 */
export async function git(place: GitPlace, args: readonly string[], options: GitOptions = {}): Promise<GitAnswer> {
  const { cwd, environment, env = {}, config = [], signal, timeLimitMs = TIME_LIMIT_MS } = place;
  const passed = PASSED_ON.flatMap((name) => (environment[name] === undefined ? [] : [[name, environment[name]]]));
  const result = await execa("git", args, {
    cwd,
    env: { ...Object.fromEntries(passed), ...FIXED, ...configVariables([...SAFE_CONFIG, ...config]), ...env },
    extendEnv: false,
    stdin: options.input === undefined ? "ignore" : "pipe",
    ...(options.input === undefined ? {} : { input: options.input }),
    encoding: "buffer",
    maxBuffer: options.bytesMax ?? OUTPUT_BYTES_MAX,
    stripFinalNewline: false,
    reject: false,
    timeout: Math.max(1, timeLimitMs),
    forceKillAfterDelay: KILL_AFTER_MS,
    ...(signal === undefined ? {} : { cancelSignal: signal }),
  });
  const what = `git ${args[0]}`;
  const said = toSentence(Buffer.from(result.stderr).toString("utf8"), WORDS_LENGTH_MAX);
  const stdout = Buffer.from(result.stdout);
  if (result.isMaxBuffer && stdout.length >= (options.bytesMax ?? OUTPUT_BYTES_MAX))
    return { status: 0, stdout, said, isCut: true };
  if (result.isMaxBuffer) throw new AgentProblem("START_FAILED", `${what} complains without end: ${said}`);
  if (result.isCanceled) throw new AgentProblem("START_FAILED", `${what} was stopped`);
  if (result.timedOut) throw new AgentProblem("START_FAILED", `${what} took longer than ${timeLimitMs / 1000} s`);
  if (result.exitCode !== undefined) return { status: result.exitCode, stdout, said, isCut: false };
  if (result.signal !== undefined) throw new AgentProblem("START_FAILED", `${what} was ended by ${result.signal}`);
  if (result.code === "ENOENT" && existsSync(cwd))
    throw new AgentProblem("NO_WORKTREE", "git is not on the daemon's PATH: install it, or set isolation to none");
  throw new AgentProblem("START_FAILED", `${what} could not be run: ${result.shortMessage}`);
}

/** The same for what has to succeed: its output as text, without the line break at its end. */
export async function gitText(place: GitPlace, args: readonly string[], options: GitOptions = {}): Promise<string> {
  const { status, stdout, said } = await git(place, args, options);
  if (status !== 0)
    throw new AgentProblem("START_FAILED", `git ${args[0]} failed: ${said || `it exited with status ${status}`}`);
  return stdout.toString("utf8").replace(/\n$/, "");
}

/** `null` where it says no. */
export async function gitTry(place: GitPlace, args: readonly string[]): Promise<string | null> {
  const { status, stdout } = await git(place, args);
  return status === 0 ? stdout.toString("utf8").replace(/\n$/, "") : null;
}

/**
 * Config under which no filter of the repository's own config runs: each has the user's or the system's value (Git LFS is set up there), or
 * none.
 */
export async function filtersOf(place: GitPlace): Promise<GitConfig> {
  const listed = await gitTry(place, ["config", "--show-scope", "-z", "--get-regexp", "^filter\\."]);
  const own = new Set<string>();
  const trusted = new Map<string, string>();
  const parts = (listed ?? "").split("\0");
  for (let index = 0; index + 1 < parts.length; index += 2) {
    const [key = "", value = "true"] = splitOnce(parts[index + 1] ?? "");
    if (parts[index] === "system" || parts[index] === "global") trusted.set(key, value);
    else own.add(key);
  }
  return [...own].map((key) => [key, trusted.get(key) ?? (key.endsWith(".required") ? "false" : "")] as const);
}

function splitOnce(text: string): readonly string[] {
  const at = text.indexOf("\n");
  return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

/** Git's words, in a sentence of ours. */
const WORDS_LENGTH_MAX = 300;

const FIXED = {
  LC_ALL: "C",
  GIT_TERMINAL_PROMPT: "0",
  GIT_ASKPASS: "true",
  GIT_OPTIONAL_LOCKS: "0",
  GIT_NO_LAZY_FETCH: "1",
  // The list of transports that may be used: there is none of this name.
  GIT_ALLOW_PROTOCOL: "none",
  GIT_PAGER: "cat",
  GIT_EDITOR: "false",
};

/** As variables: in an argument, a key with a "=" in it would end there. */
function configVariables(config: GitConfig): Readonly<Record<string, string>> {
  const pairs = config.flatMap(([key, value], index) => [
    [`GIT_CONFIG_KEY_${index}`, key],
    [`GIT_CONFIG_VALUE_${index}`, value],
  ]);
  return { ...Object.fromEntries(pairs), GIT_CONFIG_COUNT: String(config.length) };
}
