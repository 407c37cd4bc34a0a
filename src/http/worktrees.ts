/** /api/tasks/:id/diff and /api/tasks/:id/worktree: what was done to a task in a git worktree of its own. For the operator alone. */
import { type Static, Type } from "@sinclair/typebox";
import { closed, Id } from "../api/common.ts";
import { TaskDiff, TaskDiffQuery, WorktreeRemoval } from "../api/worktree.ts";
import type { WorktreeRemoval as Removal } from "../dispatcher/ports.ts";
import { ProblemError } from "./problems.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";

const tags = ["tasks"];
const ById = Type.Object({ id: Id }, closed);
const JSON_BYTES_MAX = 1024 * 1024;
const PATCH_BYTES_MAX = 32 * 1024 * 1024;

export function worktreeRoutes(app: App, services: Services): void {
  const { dispatcher, archive, worktrees, log } = services;

  app.get(
    "/api/tasks/:id/diff",
    {
      schema: {
        tags,
        summary:
          "what was changed in a task's worktree, committed or not (format=patch: as text/plain, at most 32 MiB)",
        params: ById,
        querystring: TaskDiffQuery,
        response: { 200: TaskDiff },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const asPatch = request.query.format === "patch";
      const found = await worktrees.diff(id, asPatch ? PATCH_BYTES_MAX : JSON_BYTES_MAX).catch((error: unknown) => {
        log.warn({ err: error, taskId: id }, "the worktree of a task cannot be compared");
        const detail = `git cannot compare the worktree of task ${id} with its beginning; the daemon's log says why`;
        throw new ProblemError(409, "WORKTREE_UNREADABLE", detail);
      });
      if (found === null) throw notThere(id);
      if (!asPatch) return { ...found, files: [...found.files], diff: found.diff.toString("utf8") } satisfies Shown;
      reply.header("content-type", "text/plain; charset=utf-8").header("x-truncated", String(found.truncated));
      return reply.send(found.diff as never);
    },
  );

  app.delete(
    "/api/tasks/:id/worktree",
    {
      schema: {
        tags,
        summary: "remove a task's worktree and its branch",
        params: ById,
        querystring: WorktreeRemoval,
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const { force = false } = request.query;
      const isFree = () => !dispatcher.state.sessions.activeByTask.has(id);
      const removal = await worktrees.remove(id, { force, isFree }).catch((error: unknown) => {
        log.warn({ err: error, taskId: id }, "the worktree of a task cannot be removed");
        const detail = `the worktree of task ${id} could not be removed; the daemon's log says why`;
        throw new ProblemError(409, "WORKTREE_UNREADABLE", detail);
      });
      if (removal === "none") throw notThere(id);
      if (removal !== "removed") throw new ProblemError(409, ...REFUSALS[removal](id));
      return reply.code(204).send();
    },
  );

  function notThere(id: string): ProblemError {
    if (!dispatcher.state.tasks.byId.has(id) && !archive.hasTask(id))
      return new ProblemError(404, "TASK_NOT_FOUND", `there is no task ${id}`);
    return new ProblemError(
      404,
      "WORKTREE_NOT_FOUND",
      `task ${id} has no worktree: none of its sessions worked in one, or it was removed`,
    );
  }
}

type Shown = Static<typeof TaskDiff>;

const REFUSALS: Readonly<Record<Exclude<Removal, "removed" | "none">, (id: string) => [code: string, detail: string]>> =
  {
    busy: (id) => ["SESSION_ACTIVE", `a session works on task ${id}: cancel it, or wait for its end`],
    uncommitted: (id) => [
      "WORKTREE_NOT_MERGED",
      `the worktree of task ${id} has changes that are in no commit: look at its diff, or lose them with force=true`,
    ],
    unmerged: (id) => [
      "WORKTREE_NOT_MERGED",
      `the branch of task ${id} has commits that are not merged into the workspace's branch: merge them, or lose them with force=true`,
    ],
    locked: (id) => [
      "WORKTREE_LOCKED",
      `the worktree of task ${id} is locked (git worktree lock): unlock it, or remove it with force=true`,
    ],
    not_ours: (id) => [
      "WORKTREE_REPLACED",
      `what is in the place of the worktree of task ${id} is not what was made there: look at it and remove it by hand`,
    ],
  };
