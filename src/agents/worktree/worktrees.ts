/** The worktrees of tasks: made for a session, found again, shown to a reviewer, removed. */
import type { Config } from "../../config/schema.ts";
import type { Worktree } from "../../core/session.ts";
import type { TaskWorktrees } from "../../dispatcher/ports.ts";
import { AgentProblem } from "../agent-problem.ts";
import { changesOf } from "./changes.ts";
import type { GitPlace } from "./git.ts";
import { makeWorktree } from "./make.ts";
import { OneByOne } from "./one-by-one.ts";
import { whatIsAt, workdirIn } from "./place.ts";
import { readWorktreeRecord, type WorktreeRecord } from "./record.ts";
import { removeWorktree } from "./remove.ts";
import { repositoryOf } from "./repository.ts";

/** Where a program is to run, and in which worktree that is. */
export interface WorktreePlace {
  readonly workdir: string;
  readonly worktree: Worktree;
}

export interface Worktrees extends TaskWorktrees {
  /**
   * Makes the task's worktree of the workspace's repository, or goes on with the one of an earlier attempt. `workspace`: real. Rejects with
   * an `AgentProblem`, also once `signal` is aborted; what was begun by then is gone on with next time.
   */
  prepare(taskId: string, workspace: string, options: PrepareOptions): Promise<WorktreePlace>;
  /** The one that was made: for what looks at the work of its sessions. Throws `NO_WORKTREE` where it is not there. */
  find(taskId: string): WorktreePlace;
  /** As it was made, whatever is there by now; `null` = it never was. */
  known(taskId: string): Worktree | null;
  /**
   * Breaks off diffs and removals: the daemon goes. What was begun is gone on with when it is asked for again. What is prepared is not its
   * own to break off: whoever lets go of a run does that, and the run is none that failed.
   */
  close(): void;
}

export interface PrepareOptions {
  readonly signal: AbortSignal;
  readonly timeLimitMs: number;
  /** When the task was made, ms since the epoch: another one of the same id does not get what was left of it. */
  readonly taskCreatedAt: number | null;
}

/** A reviewer does not wait longer for a diff. */
const REVIEW_LIMIT_MS = 30_000;
const REMOVE_LIMIT_MS = 120_000;

export function createWorktrees(config: () => Config, environment: NodeJS.ProcessEnv): Worktrees {
  /** Changes of a repository, and looks at it: two queues, since a look need not wait until a large worktree is made. */
  const changes = new OneByOne();
  const looks = new OneByOne();
  const closing = new AbortController();
  const record = (taskId: string) => readWorktreeRecord(config().dataDirectory, taskId);

  return {
    async prepare(taskId, workspace, { signal, timeLimitMs, taskCreatedAt }) {
      const git: GitPlace = { cwd: workspace, environment, signal, timeLimitMs };
      const repository = await repositoryOf(workspace, git);
      const make = async () =>
        placeOf(await makeWorktree({ taskId, taskCreatedAt, repository, config: config(), git }));
      return changes.run(repository.directory, make, signal).catch((error: unknown) => {
        if (!signal.aborted) throw error;
        throw new AgentProblem("START_FAILED", "it was stopped while its worktree was made", { cause: error });
      });
    },
    find(taskId) {
      const found = record(taskId);
      if (found === null || found.state !== "ready" || whatIsAt(found) !== "worktree")
        throw new AgentProblem("NO_WORKTREE", `the worktree of task ${taskId} is not there any more`);
      return placeOf(found);
    },
    known(taskId) {
      const found = record(taskId);
      return found === null ? null : worktreeOf(found);
    },
    async diff(taskId, bytesMax) {
      const found = record(taskId);
      if (found === null) return null;
      const { signal } = closing;
      const git: GitPlace = { cwd: "/", environment, signal, timeLimitMs: REVIEW_LIMIT_MS };
      return looks.run(found.repository, () => changesOf(found, git, bytesMax), signal);
    },
    async remove(taskId, { force, isFree }) {
      const first = record(taskId);
      if (first === null) return "none";
      const { signal } = closing;
      const remove = async () => {
        // As it is when it is this one's turn.
        const found = record(taskId);
        if (found === null) return "none";
        const git = { cwd: "/", environment, signal, timeLimitMs: REMOVE_LIMIT_MS };
        return removeWorktree({ record: found, dataDirectory: config().dataDirectory, git, force, isFree });
      };
      return changes.run(first.repository, remove, signal);
    },
    close: () => closing.abort(new AgentProblem("START_FAILED", "the daemon is stopping")),
  };
}

function placeOf(record: WorktreeRecord): WorktreePlace {
  return { workdir: workdirIn(record), worktree: worktreeOf(record) };
}

function worktreeOf({ path, branch, base }: WorktreeRecord): Worktree {
  return { path, branch, base };
}
