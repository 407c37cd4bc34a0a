/** `task`: the board. Adding, listing and showing have files of their own; here is what changes one thing of a task. */
import { userInfo } from "node:os";
import { Argument, type Command } from "commander";
import { TASK_STATUSES, type TaskStatus } from "../api/client.ts";
import { type Context, connect, readText } from "./context.ts";
import { EXIT, Failure } from "./failure.ts";
import { addTaskAdd } from "./task-add.ts";
import { addTaskList } from "./task-list.ts";
import { addTaskShow } from "./task-show.ts";
import { addTaskWorktree } from "./task-worktree.ts";

export function addTasks(context: Context): void {
  const task = context.program
    .command("task")
    .description("add, list, show and change tasks")
    .helpCommand(false)
    .addHelpText("after", '\nExample:\n  $ jarvis-orchestrator task add "Mend the build" --assignee claude');
  addTaskAdd(context, task);
  addTaskList(context, task);
  addTaskShow(context, task);
  addMove(context, task);
  addAssign(context, task);
  addComment(context, task);
  addRelease(context, task);
  addRemove(context, task);
  addTaskWorktree(context, task);
}

function addMove(context: Context, task: Command): void {
  task
    .command("move <id>")
    .addArgument(new Argument("<status>").choices(TASK_STATUSES))
    .description("move a task to another status; a running one is asked to stop")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator task move task_01J done")
    .action(async (id: string, status: TaskStatus) => {
      const moved = await connect(context).changeTask(id, { status });
      context.terminal.print(`${moved.id} is ${moved.status}`);
    });
}

function addAssign(context: Context, task: Command): void {
  task
    .command("assign <id> <assignee>")
    .description("give a task to an agent, a person, or `auto`")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator task assign task_01J gemini")
    .action(async (id: string, assignee: string) => {
      const assigned = await connect(context).changeTask(id, { assignee });
      context.terminal.print(`${assigned.id} is ${assigned.assignee}'s`);
    });
}

function addComment(context: Context, task: Command): void {
  task
    .command("comment <id> <text>")
    .description("comment on a task (- reads the text from standard input)")
    .option("--author <name>", "who says it (default: the user's name)")
    .addHelpText("after", '\nExample:\n  $ jarvis-orchestrator task comment task_01J "Please also update the docs"')
    .action(async (id: string, text: string, options: { author?: string }) => {
      const content = text === "-" ? await readText(context, "-") : text;
      const author = options.author ?? userName(context);
      await connect(context).comment(id, { author, content });
      context.terminal.print(`${author} commented on ${id}`);
    });
}

/** The user's name where it can be an author's. */
function userName(context: Context): string {
  const { USER, LOGNAME } = context.terminal.env;
  const name = USER || LOGNAME || systemUser();
  if (!/^[A-Za-z0-9._-]{1,64}$/.test(name)) throw new Failure("who says it? Give --author", EXIT.usage);
  return name;
}

/** As the system knows who runs this; a container's user may have no name. */
function systemUser(): string {
  try {
    return userInfo().username;
  } catch {
    return "";
  }
}

function addRelease(context: Context, task: Command): void {
  task
    .command("release <id>")
    .description("let a held task be dispatched again, with all its attempts")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator task release task_01J")
    .action(async (id: string) => {
      const released = await connect(context).changeTask(id, { hold: null });
      context.terminal.print(`${released.id} is held no more (${released.status}, ${released.assignee}'s)`);
    });
}

function addRemove(context: Context, task: Command): void {
  task
    .command("rm <id>")
    .description("delete a task; a running session of it is asked to stop")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator task rm task_01J")
    .action(async (id: string) => {
      await connect(context).removeTask(id);
      context.terminal.print(`${id} is deleted`);
    });
}
