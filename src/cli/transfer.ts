/** `export` and `import`: the board's tasks as a JSON file, and back. */
import { ApiError, allPages, type Client } from "../api/client.ts";
import type { NewTask } from "../api/task.ts";
import { ConfigError } from "../config/config-error.ts";
import { parseJson } from "../config/json-text.ts";
import { type Context, connect, printJson, readText } from "./context.ts";
import { describeRefusal, Failure } from "./failure.ts";
import { oneLine } from "./text.ts";

export function addTransfer(context: Context): void {
  context.program
    .command("export")
    .description("print all tasks on the board as JSON, for a copy or for `import`")
    .option("--comments", "with each task's comments")
    .option("--json", "changes nothing: it is JSON anyway")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator export > tasks.json")
    .action((options: { comments?: boolean }) => exportTasks(context, options));
  context.program
    .command("import <file>")
    .description(
      "add the tasks of a JSON file (- for standard input); those that are refused are named, the rest added",
    )
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator import tasks.json")
    .action((file: string) => importTasks(context, file));
}

async function exportTasks(context: Context, options: { comments?: boolean }): Promise<void> {
  const client = connect(context);
  const tasks = await allPages(async (page) => {
    const { tasks: items, nextCursor } = await client.tasks(page);
    return { items, nextCursor };
  });
  if (options.comments !== true) return printJson(context, { tasks });
  const whole: unknown[] = [];
  for (const { id } of tasks) {
    const { sessions: _, ...task } = await client.task(id);
    whole.push(task);
  }
  printJson(context, { tasks: whole });
}

async function importTasks(context: Context, file: string): Promise<void> {
  const entries = dependenciesFirst(readEntries(file, await readText(context, file)));
  const client = connect(context);
  const failures: string[] = [];
  for (const entry of entries) {
    try {
      for (const note of await importTask(client, entry)) context.terminal.complain(`note: ${note}`);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status === 401) throw error;
      failures.push(oneLine(`${labelOf(entry)}: ${describeRefusal(error)}`));
    }
  }
  const added = entries.length - failures.length;
  context.terminal.print(`${added} of ${entries.length} tasks added`);
  if (failures.length > 0) throw new Failure(`${failures.length} not added\n  ${failures.join("\n  ")}`);
}

type Entry = Readonly<Record<string, unknown>>;

/** `{ "tasks": [...] }` as `export` writes it and the data directory holds it, or the bare list. */
function readEntries(file: string, text: string): Entry[] {
  const parsed = parseJson(text);
  if (!parsed.ok) {
    const path = `${file}, line ${parsed.line}, column ${parsed.column}`;
    throw new Failure(new ConfigError([{ path, found: parsed.found, wanted: parsed.wanted }]).message);
  }
  const tasks = isEntry(parsed.value) ? parsed.value.tasks : parsed.value;
  if (!Array.isArray(tasks)) throw new Failure(`${file} holds no tasks: wanted {"tasks": [...]} or a list of tasks`);
  return tasks.map((task, index) => {
    if (isEntry(task)) return task;
    throw new Failure(`${file}: task ${index + 1} of ${tasks.length} is not an object`);
  });
}

/** What the daemon keeps itself: it is in an exported file, and not part of a new task. */
const KEPT_BY_DAEMON = [
  "attempts",
  "retryAt",
  "lastError",
  "version",
  "createdAt",
  "updatedAt",
  "comments",
  "sessions",
];

/** Adds the task and its comments; returns what was not taken over as it stood. */
async function importTask(client: Client, entry: Entry): Promise<string[]> {
  const task = Object.fromEntries(
    Object.entries(entry).filter(([key, value]) => !KEPT_BY_DAEMON.includes(key) && value !== undefined),
  );
  const notes: string[] = [];
  if (task.status === "in_progress") {
    task.status = "todo";
    notes.push(oneLine(`${labelOf(entry)} was in progress and is added as todo`));
  }
  // The daemon checks every field, so what does not fit is named by it.
  const { id } = await client.addTask(task as NewTask);
  const comments: unknown[] = Array.isArray(entry.comments) ? entry.comments : [];
  for (const comment of comments) {
    if (!isEntry(comment)) continue;
    await client.comment(id, { author: String(comment.author), content: String(comment.content) });
  }
  return notes;
}

/** A task may only depend on tasks that are there: each comes after those that it names. Cycles are left to the daemon. */
function dependenciesFirst(entries: readonly Entry[]): Entry[] {
  const byId = new Map(entries.map((entry) => [entry.id, entry]));
  const ordered = new Set<Entry>();
  for (const entry of entries) {
    const path = [entry];
    const entered = new Set<Entry>();
    for (let current = path.at(-1); current !== undefined; current = path.at(-1)) {
      entered.add(current);
      const dependencies: unknown[] = Array.isArray(current.dependsOn) ? current.dependsOn : [];
      const next = dependencies
        .map((id) => byId.get(id))
        .find((dependency) => dependency !== undefined && !ordered.has(dependency) && !entered.has(dependency));
      if (next === undefined) {
        ordered.add(current);
        path.pop();
      } else path.push(next);
    }
  }
  return [...ordered];
}

function labelOf(entry: Entry): string {
  return typeof entry.id === "string" ? entry.id : JSON.stringify(entry.title ?? "a task without title");
}

function isEntry(value: unknown): value is Entry {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
