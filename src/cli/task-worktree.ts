/** `task diff` and `task rmtree`: what was done to a task in a git worktree of its own. */
import type { Command } from "commander";
import { type Context, connect, printJson } from "./context.ts";
import { manyLines } from "./text.ts";

export function addTaskWorktree(context: Context, task: Command): void {
  task
    .command("diff <id>")
    .description("print what was changed in a task's worktree (isolation: worktree), committed or not")
    .option("--json", "print the API's JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator task diff task_01J | less")
    .action(async (id: string, options: { json?: boolean }) => {
      const { terminal } = context;
      const client = connect(context);
      if (options.json) return printJson(context, await client.taskDiff(id));
      const { patch, isTruncated } = await client.taskPatch(id);
      // Whatever an agent wrote into files; a screen gets it without what it could act on, a file as it is.
      await terminal.write(terminal.isScreen ? manyLines(new TextDecoder().decode(patch)) : patch);
      if (patch.length === 0) terminal.complain(`note: nothing was changed in the worktree of ${id}`);
      if (isTruncated) terminal.complain("note: there is more than is shown; look into the worktree itself");
    });
  task
    .command("rmtree <id>")
    .description("remove a task's worktree and its branch")
    .option("--force", "even where commits that are not merged, or changes that are not committed, are lost")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator task rmtree task_01J")
    .action(async (id: string, { force = false }: { force?: boolean }) => {
      await connect(context).removeWorktree(id, { force });
      context.terminal.print(`the worktree of ${id} is removed`);
    });
}
