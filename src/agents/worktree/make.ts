/**
 * Makes a task's worktree, or goes on with the one that an earlier attempt worked in. Whatever dies on the way, the next call goes on from
 * what is there: the record says from the beginning which path and which branch are ours.
 */
import { existsSync, readdirSync, rmdirSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../../config/schema.ts";
import { AgentProblem } from "../agent-problem.ts";
import { filtersOf, type GitPlace, git, gitText, gitTry } from "./git.ts";
import { BRANCH_PREFIX, branchOf } from "./names.ts";
import { gitDirectoryOf, look, placeFor, whatIsAt } from "./place.ts";
import { readWorktreeRecord, type WorktreeRecord, writeWorktreeRecord } from "./record.ts";
import type { Repository } from "./repository.ts";

export interface MakeParts {
  readonly taskId: string;
  readonly taskCreatedAt: number | null;
  readonly repository: Repository;
  readonly config: Pick<Config, "worktreeRoot" | "dataDirectory">;
  /** In the workspace. */
  readonly git: GitPlace;
}

/** Two of these for one repository must not run at once. Throws `NO_WORKTREE` where it cannot be, `START_FAILED` where it did not work now. */
export async function makeWorktree(parts: MakeParts): Promise<WorktreeRecord> {
  const { taskId, repository, config } = parts;
  const known = readWorktreeRecord(config.dataDirectory, taskId);
  if (known === null) return finish(parts, await begin(parts));
  if (known.taskCreatedAt !== parts.taskCreatedAt) {
    throw noWorktree(
      `an earlier task of the id ${taskId} has left its worktree (${known.path}): look at it, and remove it first (jarvis-orchestrator task rmtree ${taskId})`,
    );
  }
  if (known.repository !== repository.directory) {
    throw noWorktree(
      `task ${taskId} has a worktree of another repository already (${known.checkout}): remove that first (jarvis-orchestrator task rmtree ${taskId})`,
    );
  }
  if (known.state === "removing") throw noWorktree(`its worktree was being removed: ${AGAIN(taskId)}`);
  const record = { ...known, checkout: repository.checkout, subdirectory: repository.subdirectory };
  if (known.state === "making") return finish(parts, record);
  const found = whatIsAt(record);
  if (found === "other")
    throw noWorktree(
      `${record.path} is no longer the worktree that was made for task ${taskId}: put it back, or move it away and start again`,
    );
  if (found === "nothing") return finish(parts, await beginAgain(parts, record));
  if (record.subdirectory !== known.subdirectory || record.checkout !== known.checkout)
    writeWorktreeRecord(config.dataDirectory, record);
  return record;
}

const AGAIN = (taskId: string) => `finish that first (jarvis-orchestrator task rmtree ${taskId})`;

/** Looks that nothing is in the way, and notes what will be ours. */
async function begin(parts: MakeParts): Promise<WorktreeRecord> {
  const { taskId, repository, config, git: place } = parts;
  const { directory, checkout, subdirectory, head } = repository;
  const branch = branchOf(taskId);
  const path = placeFor(config, taskId, directory, checkout);
  if (look(path) !== null) {
    throw noWorktree(
      `${path} is there already, and was not made for this task by this daemon: move it away (git worktree move), or give the task another id`,
    );
  }
  if (await isBranch(place, branch)) {
    throw noWorktree(
      `the branch ${branch} is there already, and was not made for this task by this daemon: rename or delete it (git branch -m, git branch -d), or give the task another id`,
    );
  }
  const parent = BRANCH_PREFIX.replace(/\/$/, "");
  if (await isBranch(place, parent))
    throw noWorktree(`a branch is called "${parent}", so none can be called ${branch}: rename it (git branch -m)`);
  if (
    subdirectory !== "" &&
    (await gitTry(place, ["rev-parse", "--verify", "--quiet", `${head}:${subdirectory}`])) === null
  ) {
    throw noWorktree(
      `the workspace's directory ${subdirectory} is not in the commit that its repository has checked out: commit it first`,
    );
  }
  const record: WorktreeRecord = {
    version: 1,
    taskId,
    taskCreatedAt: parts.taskCreatedAt,
    state: "making",
    repository: directory,
    checkout,
    path,
    gitDirectory: null,
    subdirectory,
    branch,
    base: head,
  };
  writeWorktreeRecord(config.dataDirectory, record);
  return record;
}

/** The worktree was removed by hand: the branch, where that is left, goes on in a new one, which is compared with the same commit. */
async function beginAgain({ config, git: place }: MakeParts, record: WorktreeRecord): Promise<WorktreeRecord> {
  const fresh: WorktreeRecord = { ...record, state: "making", gitDirectory: null };
  placeFor(config, record.taskId, record.repository, record.checkout);
  // What git still has of it would keep the path and the branch. Where it has nothing any more, there is nothing to remove.
  await git(place, ["worktree", "remove", "--force", "--", record.path]);
  writeWorktreeRecord(config.dataDirectory, fresh);
  return fresh;
}

async function finish({ config, git: place }: MakeParts, record: WorktreeRecord): Promise<WorktreeRecord> {
  const { path, branch, base } = record;
  if (!isRegistered(path, record.repository)) {
    clearStump(path);
    // The files come later: so this is over in a moment, and a checkout that is cut off can be made again.
    const start = (await isBranch(place, branch)) ? ["--", path, branch] : ["-b", branch, "--", path, base];
    await gitText(place, ["worktree", "add", "--quiet", "--no-checkout", ...start]);
  }
  const gitDirectory = gitDirectoryOf(path);
  if (gitDirectory === null) throw new AgentProblem("START_FAILED", `git made no worktree at ${path}`);
  await checkOut(place, gitDirectory, path);
  // The beginning is no change: verifiers look there for commits of the agent.
  const log = join(gitDirectory, "logs", "HEAD");
  if (existsSync(log)) utimesSync(log, 0, 0);
  const ready: WorktreeRecord = { ...record, state: "ready", gitDirectory };
  writeWorktreeRecord(config.dataDirectory, ready);
  return ready;
}

/** A git that was left over by a daemon that was killed may still be at it: it is waited for, up to a time. */
async function checkOut(place: GitPlace, gitDirectory: string, path: string): Promise<void> {
  const own = inWorktree(place, gitDirectory, path);
  const config = await filtersOf(own);
  for (let waitedMs = 0; ; waitedMs += LOCK_LOOK_MS) {
    const { status, said } = await git({ ...own, config }, ["reset", "--hard", "--quiet"]);
    if (status === 0) return;
    // By its words too: whoever held it may have let go since.
    const isLocked = /index\.lock/.test(said) || existsSync(join(gitDirectory, "index.lock"));
    if (!isLocked) throw new AgentProblem("START_FAILED", `git could not fill the worktree: ${said}`);
    if (waitedMs >= LOCK_WAIT_MS) {
      // Nobody has worked here yet, and no git of ours takes so long: who made it is dead. The next attempt begins without it.
      rmSync(join(gitDirectory, "index.lock"), { force: true });
      throw new AgentProblem("START_FAILED", `git could not fill the worktree: ${said}`);
    }
    await pause(LOCK_LOOK_MS, place.signal);
  }
}

const LOCK_LOOK_MS = 250;
const LOCK_WAIT_MS = 60_000;

/** In the worktree, whatever its `.git` file says by now. */
export function inWorktree(place: GitPlace, gitDirectory: string, path: string): GitPlace {
  return { ...place, cwd: path, env: { ...place.env, GIT_DIR: gitDirectory, GIT_WORK_TREE: path } };
}

/** Git knows the worktree, and what it is to hold. */
function isRegistered(path: string, repository: string): boolean {
  if (look(path)?.isDirectory() !== true) return false;
  const gitDirectory = gitDirectoryOf(path);
  // The last that git writes before it fills a worktree.
  return gitDirectory?.startsWith(join(repository, "worktrees/")) === true && existsSync(join(gitDirectory, "HEAD"));
}

/** What a git that was killed left of a worktree that it had hardly begun. Whatever else is there is not ours to remove. */
function clearStump(path: string): void {
  if (look(path) === null) return;
  const isStump = look(path)?.isDirectory() === true && readdirSync(path).every((name) => name === ".git");
  if (!isStump) throw noWorktree(`${path} holds something that is no worktree of this daemon: move it away`);
  if (look(join(path, ".git"))?.isFile() === true) rmSync(join(path, ".git"));
  rmdirSync(path);
}

export async function isBranch(place: GitPlace, branch: string): Promise<boolean> {
  return (await git(place, ["show-ref", "--verify", "--quiet", `refs/heads/${branch}`])).status === 0;
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(new AgentProblem("START_FAILED", "it was stopped while its worktree was made"));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, ms);
    if (signal?.aborted === true) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

function noWorktree(message: string): AgentProblem {
  return new AgentProblem("NO_WORKTREE", message);
}
