/** The worktrees of tasks on the wire. */
import { type Static, Type } from "@sinclair/typebox";
import { closed, Id, Nullable, OneOf } from "./common.ts";

/** Where a session works that has a git worktree of its own. */
export const Worktree = Type.Object({
  path: Type.String(),
  branch: Type.String(),
  base: Type.String({ description: "the commit that it began with" }),
});

export const TaskDiff = Type.Object({
  taskId: Id,
  branch: Type.String(),
  base: Type.String({ description: "the commit that it is compared with: where the worktree began" }),
  head: Type.String({ description: "the commit that the worktree has checked out" }),
  path: Type.Optional(Type.String({ description: "the worktree; absent where it is not there any more" })),
  files: Type.Array(
    Type.Object({
      path: Type.String(),
      status: OneOf(["added", "modified", "deleted", "renamed"]),
      from: Type.Optional(Type.String({ description: "what a renamed file was called" })),
      additions: Nullable(Type.Integer({ description: "lines; null for a binary" })),
      deletions: Nullable(Type.Integer()),
    }),
  ),
  diff: Type.String({ description: "at most 1 MiB; commits, what is not committed and untracked files" }),
  truncated: Type.Boolean({ description: "there is more than is shown" }),
});
export type TaskDiff = Static<typeof TaskDiff>;

export const TaskDiffQuery = Type.Object(
  {
    format: Type.Optional(OneOf(["json", "patch"])),
  },
  closed,
);

export const WorktreeRemoval = Type.Object(
  {
    force: Type.Optional(
      Type.Boolean({
        description: "even where commits that are not merged, or changes that are not committed, are lost",
      }),
    ),
  },
  closed,
);
