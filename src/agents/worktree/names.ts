/** What a task's worktree and its branch are called: safe as file names and as git's, and never the same for two tasks. */
import { createHash } from "node:crypto";
import { basename, dirname } from "node:path";

/** Under which the branches of all tasks lie. */
export const BRANCH_PREFIX = "jarvis/";

/** `jarvis/<task id>`, see `safeName`. */
export function branchOf(taskId: string): string {
  return `${BRANCH_PREFIX}${safeName(taskId)}`;
}

/**
 * The id where git and every file system take it as it is. Otherwise with `=2E` for each of its dots: no id holds a `=`, so no two ids
 * become one name. What git refuses (git-check-ref-format(1)): a dot at the beginning or the end, two in a row, and `.lock` at the end.
 */
export function safeName(taskId: string): string {
  const isSafe = /^[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*$/.test(taskId) && !/\.lock$/i.test(taskId);
  return isSafe ? taskId : taskId.replaceAll(".", "=2E");
}

/**
 * The folder in which the worktrees of a repository lie. `commonDirectory`: the repository's own, absolute and without symlinks. Two of the
 * same name are told apart by a hash of it.
 */
export function repositoryFolder(commonDirectory: string): string {
  const own = basename(commonDirectory) === ".git" ? basename(dirname(commonDirectory)) : basename(commonDirectory);
  const words = own.replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^-+/, "");
  const hash = createHash("sha256").update(commonDirectory).digest("hex");
  return `${words.slice(0, NAME_LENGTH_MAX) || "repository"}-${hash.slice(0, HASH_LENGTH)}`;
}

const NAME_LENGTH_MAX = 40;
const HASH_LENGTH = 10;
