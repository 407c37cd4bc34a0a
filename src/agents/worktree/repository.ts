/** The git repository that a workspace lies in. */
import { realpathSync } from "node:fs";
import { AgentProblem } from "../agent-problem.ts";
import { type GitPlace, git, gitTry } from "./git.ts";

export interface Repository {
  /** Its own directory, which all of its worktrees share. All paths are without symlinks. */
  readonly directory: string;
  /** The root of the checkout that the workspace lies in. */
  readonly checkout: string;
  /** The workspace in it, without slashes around; `""` for its root. */
  readonly subdirectory: string;
  /** The commit that is checked out. */
  readonly head: string;
}

/** Looks for it. Throws `NO_WORKTREE` where there is nothing to make a worktree of, saying what to do. */
export async function repositoryOf(workspace: string, git_: GitPlace): Promise<Repository> {
  const { status, stdout, said } = await git(git_, [
    "rev-parse",
    "--path-format=absolute",
    "--show-toplevel",
    "--git-common-dir",
    "--show-prefix",
  ]);
  if (status !== 0) throw noRepository(workspace, said);
  const [checkout = "", directory = "", prefix = "", ...rest] = stdout.toString("utf8").split("\n");
  if (rest.length !== 1 || rest[0] !== "" || !directory.startsWith("/") || !checkout.startsWith("/"))
    throw noWorktree(`what git says of the workspace ${workspace} is not understood: it needs git 2.31 or newer`);
  const head = await gitTry(git_, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
  if (head === null) {
    throw noWorktree(
      `the repository of the workspace ${workspace} has no commit yet: make a first one, or set isolation to none`,
    );
  }
  return {
    directory: realpathSync(directory),
    checkout: realpathSync(checkout),
    subdirectory: prefix.replace(/\/+$/, ""),
    head,
  };
}

function noRepository(workspace: string, said: string): AgentProblem {
  if (/dubious ownership/.test(said)) {
    return noWorktree(
      `the repository of the workspace ${workspace} belongs to another user, and git refuses it: allow it in the daemon's user's own git config (safe.directory)`,
    );
  }
  if (/not a git repository/.test(said)) {
    return noWorktree(
      `the workspace ${workspace} is in no git repository: run "git init" and commit in it, or set isolation to none`,
    );
  }
  return noWorktree(`no worktree can be made of the workspace ${workspace}: git says: ${said}`);
}

function noWorktree(message: string): AgentProblem {
  return new AgentProblem("NO_WORKTREE", message);
}
