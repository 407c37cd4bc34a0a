/** `task show`: everything about one task. */
import type { Command } from "commander";
import type { TaskWithHistory } from "../api/session.ts";
import { type Context, connect, printJson } from "./context.ts";
import { sessionTable } from "./sessions.ts";
import type { Terminal } from "./terminal.ts";
import { manyLines, oneLine } from "./text.ts";
import { duration } from "./time.ts";

export function addTaskShow(context: Context, task: Command): void {
  task
    .command("show <id>")
    .description("show a task with its comments and sessions")
    .option("--json", "print the API's JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator task show task_01J")
    .action(async (id: string, options: { json?: boolean }) => {
      const task = await connect(context).task(id);
      if (options.json) return printJson(context, task);
      context.terminal.print(taskScreen(context.terminal, task));
    });
}

function taskScreen(terminal: Terminal, task: TaskWithHistory): string {
  const comments = task.comments.map(
    ({ author, createdAt, content }) =>
      `  ${terminal.paint("bold", oneLine(author))}  ${terminal.paint("dim", oneLine(createdAt))}\n${indented(content)}`,
  );
  const sections = [
    `${terminal.paint("bold", manyLines(task.title).trim())}\n${facts(terminal, task)}`,
    task.description.trim() === "" ? null : indented(task.description),
    task.sessions.length === 0
      ? null
      : `${terminal.paint("bold", "Sessions")}\n${sessionTable(terminal, task.sessions, "  ")}`,
    comments.length === 0 ? null : `${terminal.paint("bold", "Comments")}\n${comments.join("\n\n")}`,
  ];
  return sections.filter((text) => text !== null).join("\n\n");
}

/** One line for each field that says something. */
function facts(terminal: Terminal, task: TaskWithHistory): string {
  const lines: [name: string, value: string | number | null | undefined][] = [
    ["task", task.id],
    ["status", task.status],
    ["held", task.hold && `${task.hold.message} (${task.hold.code})`],
    ["assignee", task.assignee],
    ["priority", task.priority],
    ["due", task.dueDate],
    ["project", task.project],
    ["labels", task.labels.join(", ")],
    ["workspace", task.workspace],
    ["isolation", task.isolation],
    ["worktree", worktreeOf(task)],
    ["files", task.files.join(" ")],
    ["depends on", task.dependsOn.join(" ")],
    ["estimate", task.estimate],
    ["review", task.requiresReview ? "goes to review when completed" : null],
    ["timeout", task.timeoutMs && duration(task.timeoutMs)],
    ["silence", task.stallTimeoutMs && duration(task.stallTimeoutMs)],
    ["start", task.startTimeoutMs && duration(task.startTimeoutMs)],
    ["attempts", attempts(task)],
    ["changed", task.updatedAt],
  ];
  return lines
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([name, value]) => `  ${terminal.paint("dim", name.padEnd(10))}  ${oneLine(String(value))}`)
    .join("\n");
}

/** Where its newest session worked. */
function worktreeOf({ sessions }: TaskWithHistory): string | null {
  const worktree = sessions.findLast((session) => session.worktree !== undefined)?.worktree;
  return worktree === undefined ? null : `${worktree.path} (branch ${worktree.branch})`;
}

function attempts({ attempts, maxAttempts, retryAt }: TaskWithHistory): string | null {
  if (attempts === 0 && maxAttempts === undefined) return null;
  const limit = maxAttempts === undefined ? "" : ` of ${maxAttempts}`;
  return `${attempts}${limit}${retryAt === undefined ? "" : `, the next from ${retryAt}`}`;
}

function indented(text: string): string {
  return manyLines(text.trim()).replace(/^(?=.)/gm, "  ");
}
