/** `task list`: the board as a table. */
import { type Command, Option } from "commander";
import { allPages, type Client, PRIORITIES, type Priority, TASK_STATUSES, type TaskStatus } from "../api/client.ts";
import type { Task, TaskQuery } from "../api/task.ts";
import { type Context, connect, printJson } from "./context.ts";
import { given } from "./options.ts";
import { table } from "./table.ts";
import type { Style, Terminal } from "./terminal.ts";
import { parseCount } from "./time.ts";

interface ListOptions {
  readonly status?: TaskStatus;
  readonly assignee?: string;
  readonly priority?: Priority;
  readonly label?: string;
  readonly project?: string;
  readonly search?: string;
  readonly archived?: boolean;
  readonly done?: boolean;
  readonly limit?: number;
  readonly all?: boolean;
  readonly json?: boolean;
}

export function addTaskList(context: Context, task: Command): void {
  task
    .command("list")
    .description("list tasks")
    .addOption(new Option("--status <status>", "only those of this status").choices(TASK_STATUSES))
    .addOption(new Option("--priority <priority>", "only those of this priority").choices(PRIORITIES))
    .option("--assignee <name>", "only those of this agent or person")
    .option("--label <text>", "only those with this label")
    .option("--project <name>", "only those of this project")
    .option("--search <text>", "only those with this text in title, description or id")
    .option("--archived", "those that have left the board instead")
    .option("--done", "the done ones, too (without --status, --all or --archived they are left out)")
    .option("--limit <n>", "at most that many, up to 500 (default: 50)", parseCount)
    .addOption(new Option("--all", "every one, however many, done or not").conflicts("limit"))
    .option("--json", "print the API's JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator task list --status todo --assignee claude")
    .action((options: ListOptions) => list(context, options));
}

async function list(context: Context, options: ListOptions): Promise<void> {
  const client = connect(context);
  const { status, priority, assignee, label, project, search: q, archived, limit } = options;
  const query: TaskQuery = given({ status, priority, assignee, label, project, q, archived, limit });
  const leavesOutDone = !(options.all || options.done || archived) && status === undefined;
  if (leavesOutDone) return listOpen(context, client, query, options);
  const answer = options.all ? { tasks: await all(client, query) } : await client.tasks(query);
  if (options.json) return printJson(context, answer);
  if (answer.tasks.length === 0) return context.terminal.print("no tasks");
  context.terminal.print(taskTable(context.terminal, answer.tasks));
  if ("nextCursor" in answer) context.terminal.print("… and more (--all shows every one)");
}

const LIMIT = 50;
const LIMIT_MAX = 500;

/** What is not done yet. The API has no such filter, and tells no count: all pages are read. */
async function listOpen(context: Context, client: Client, query: TaskQuery, options: ListOptions): Promise<void> {
  const { terminal } = context;
  const tasks = await all(client, query);
  const open = tasks.filter(({ status }) => status !== "done");
  const shown = open.slice(0, Math.min(options.limit ?? LIMIT, LIMIT_MAX));
  const done = tasks.length - open.length;
  if (options.json) printJson(context, { tasks: shown });
  else terminal.print(shown.length === 0 ? "no tasks" : taskTable(terminal, shown));
  if (open.length > shown.length && !options.json) {
    terminal.print(`… and ${open.length - shown.length} more (--limit shows more)`);
  }
  if (done > 0)
    terminal.complain(`note: ${done} done ${done === 1 ? "task is" : "tasks are"} left out (--done shows them)`);
}

async function all(client: Client, query: TaskQuery): Promise<Task[]> {
  return allPages(async (page) => {
    const { tasks: items, nextCursor } = await client.tasks({ ...query, ...page });
    return { items, nextCursor };
  });
}

const PRIORITY_STYLES: Partial<Record<Priority, Style>> = { urgent: "red", high: "yellow", low: "dim" };

function taskTable(terminal: Terminal, tasks: readonly Task[]): string {
  return table(
    terminal,
    [
      { title: "TASK", of: ({ id }) => id },
      { title: "STATUS", of: ({ status, hold }) => (hold === undefined ? status : `${status} (held)`) },
      { title: "PRIORITY", of: ({ priority }) => priority, style: ({ priority }) => PRIORITY_STYLES[priority] ?? null },
      { title: "ASSIGNEE", of: ({ assignee }) => assignee, shrinks: true },
      { title: "TITLE", of: ({ title }) => title, shrinks: true },
    ],
    tasks,
  );
}
