/** Removes a task's worktree and its branch: what was made for the task, and nothing else. */
import type { WorktreeRemoval } from "../../dispatcher/ports.ts";
import { hasUncommitted } from "./changes.ts";
import { type GitPlace, git, gitText, gitTry } from "./git.ts";
import { isBranch } from "./make.ts";
import { look, whatIsAt } from "./place.ts";
import { removeWorktreeRecord, type WorktreeRecord, writeWorktreeRecord } from "./record.ts";

export interface RemoveParts {
  readonly record: WorktreeRecord;
  readonly dataDirectory: string;
  /** Of which `cwd` and `env` are not used. */
  readonly git: GitPlace;
  /** Also what would be lost. */
  readonly force: boolean;
  /** No session of the task is active. Asked again right before anything is removed. */
  readonly isFree: () => boolean;
}

/** Safe to call again after it was cut off. Two of these for one repository must not run at once. */
export async function removeWorktree(parts: RemoveParts): Promise<WorktreeRemoval> {
  const { record, dataDirectory, force, isFree } = parts;
  const { path, branch, repository, taskId } = record;
  if (!isFree()) return "busy";
  if (look(repository) === null) {
    // The repository is gone, and its branches with it; what is left of the worktree is files that no git knows.
    if (look(path) !== null) return "not_ours";
    removeWorktreeRecord(dataDirectory, taskId);
    return "removed";
  }
  // Outside of the worktree, so that git's own look for a repository cannot end elsewhere.
  const place: GitPlace = { ...parts.git, cwd: repository, env: { GIT_DIR: repository } };
  const found = whatIsAt(record);
  if (found === "other" && record.state === "ready") return "not_ours";
  if (!force && record.state === "ready") {
    if (await hasUncommitted(record, parts.git)) return "uncommitted";
    if (!(await isMerged(record, parts.git, place))) return "unmerged";
  }
  if (!isFree()) return "busy";
  writeWorktreeRecord(dataDirectory, { ...record, state: "removing" });
  if (look(path) !== null || (await isKnown(place, path))) {
    // A second --force is for one that somebody locked (git worktree lock).
    const { status, said } = await git(place, [
      "worktree",
      "remove",
      "--force",
      ...(force ? ["--force"] : []),
      "--",
      path,
    ]);
    if (status !== 0) {
      writeWorktreeRecord(dataDirectory, record);
      if (/locked working tree/.test(said)) return "locked";
      throw new Error(`git worktree remove failed: ${said}`);
    }
  }
  if (await isBranch(place, branch)) await gitText(place, ["branch", "--quiet", "-D", "--", branch]);
  removeWorktreeRecord(dataDirectory, taskId);
  return "removed";
}

/** All commits of the branch, and of what the worktree has checked out instead, are in what the workspace's checkout has. */
async function isMerged(record: WorktreeRecord, git_: GitPlace, place: GitPlace): Promise<boolean> {
  const { checkout, branch, gitDirectory, base } = record;
  const target =
    look(checkout) === null
      ? null
      : await gitTry({ ...git_, cwd: checkout }, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
  const tips = [await gitTry(place, ["rev-parse", "--verify", "--quiet", `refs/heads/${branch}^{commit}`])];
  if (gitDirectory !== null && look(gitDirectory) !== null)
    tips.push(
      await gitTry({ ...place, env: { GIT_DIR: gitDirectory } }, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]),
    );
  for (const tip of tips) {
    if (tip === null || tip === base) continue;
    if (target === null) return false;
    const { status } = await git(place, ["merge-base", "--is-ancestor", tip, target]);
    if (status !== 0) return false;
  }
  return true;
}

async function isKnown(place: GitPlace, path: string): Promise<boolean> {
  const listed = await gitTry(place, ["worktree", "list", "--porcelain"]);
  return (listed ?? "").split("\n").includes(`worktree ${path}`);
}
