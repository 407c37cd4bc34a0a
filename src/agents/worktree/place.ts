/** Where worktrees lie: below one root, in which no symlink is followed, and which is neither the daemon's own data nor part of a repository. */
import { lstatSync, mkdirSync, readFileSync, realpathSync, type Stats } from "node:fs";
import { dirname, join } from "node:path";
import type { Config } from "../../config/schema.ts";
import { AgentProblem } from "../agent-problem.ts";
import { isWithin } from "../local/workspace.ts";
import { expandHome } from "../paths.ts";
import { repositoryFolder, safeName } from "./names.ts";
import type { WorktreeRecord } from "./record.ts";

type PlaceConfig = Pick<Config, "worktreeRoot" | "dataDirectory">;

/**
 * Where the task's worktree of a repository belongs, the folder around it made. `checkout`: the workspace's. Throws `NO_WORKTREE`
 * where the root cannot be one, or something leads elsewhere.
 */
export function placeFor(config: PlaceConfig, taskId: string, repository: string, checkout: string): string {
  const root = realRoot(config);
  for (const [what, directory] of [
    ["the data directory", realpathSync(config.dataDirectory)],
    ["the workspace's repository", checkout],
    ["the workspace's repository", repository],
  ] as const) {
    if (isWithin(root, directory))
      throw noWorktree(`worktreeRoot (${config.worktreeRoot}) lies in ${what}: set it to a directory of its own`);
  }
  const folder = join(root, repositoryFolder(repository));
  const found = look(folder);
  if (found === null) mkdirSync(folder, { mode: 0o700 });
  else if (!found.isDirectory())
    throw noWorktree(
      `${folder} is to hold worktrees, but it is no directory (a symlink is not followed): move it away`,
    );
  return join(folder, safeName(taskId));
}

function realRoot({ worktreeRoot }: PlaceConfig): string {
  const root = expandHome(worktreeRoot);
  try {
    mkdirSync(root, { recursive: true, mode: 0o700 });
    return realpathSync(root);
  } catch (cause) {
    const why = cause instanceof Error && "code" in cause ? cause.code : cause;
    throw new AgentProblem("NO_WORKTREE", `worktreeRoot (${worktreeRoot}) cannot be made or reached (${why})`, {
      cause,
    });
  }
}

/** What stands where a worktree was made: it, nothing, or something else that was put there, a symlink on the way to it among that. */
export function whatIsAt({ path, gitDirectory }: WorktreeRecord): "worktree" | "nothing" | "other" {
  const folder = look(dirname(path));
  if (folder === null) return "nothing";
  if (!folder.isDirectory() || realpathSync(dirname(path)) !== dirname(path)) return "other";
  const found = look(path);
  if (found === null) return "nothing";
  if (!found.isDirectory()) return "other";
  return gitDirectory !== null && gitDirectoryOf(path) === gitDirectory ? "worktree" : "other";
}

/** What a worktree's `.git` file says; `null` where it is no such file. */
export function gitDirectoryOf(path: string): string | null {
  const file = join(path, ".git");
  const found = look(file);
  if (found?.isFile() !== true || found.size > GIT_FILE_BYTES_MAX) return null;
  return /^gitdir: (.+)\n$/s.exec(readFileSync(file, "utf8"))?.[1] ?? null;
}

const GIT_FILE_BYTES_MAX = 64 * 1024;

/** The directory of the worktree in which the program is to run. Throws `NO_WORKTREE` where it is not there, or not in the worktree. */
export function workdirIn({ path, subdirectory }: WorktreeRecord): string {
  const wanted = join(path, subdirectory);
  let real: string;
  try {
    real = realpathSync(wanted);
  } catch {
    throw noWorktree(`the worktree has no ${subdirectory}: commit it in the workspace's repository first`);
  }
  if (!isWithin(real, path) || look(real)?.isDirectory() !== true)
    throw noWorktree(`${subdirectory} is no directory of the worktree, but leads elsewhere`);
  return real;
}

/** `null` where there is nothing. A symlink is looked at itself. */
export function look(path: string): Stats | null {
  return lstatSync(path, { throwIfNoEntry: false }) ?? null;
}

function noWorktree(message: string): AgentProblem {
  return new AgentProblem("NO_WORKTREE", message);
}
