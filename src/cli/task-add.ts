/** `task add`: a new task with any of its fields. */

import path from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { PRIORITIES, type Priority, TASK_STATUSES, type TaskStatus } from "../api/client.ts";
import type { NewTask } from "../api/task.ts";
import { ISOLATIONS, type Isolation } from "../core/session.ts";
import { type Context, connect, printJson, readText } from "./context.ts";
import { EXIT, Failure } from "./failure.ts";
import { collect, given } from "./options.ts";
import { parseCount, parseDate, parseDuration } from "./time.ts";

interface AddOptions {
  readonly id?: string;
  readonly assignee?: string;
  readonly priority?: Priority;
  readonly status?: TaskStatus;
  readonly description?: string;
  readonly descriptionFile?: string;
  readonly label?: readonly string[];
  readonly project?: string;
  readonly dependsOn?: readonly string[];
  readonly workspace?: string;
  readonly file?: readonly string[];
  readonly due?: string;
  readonly estimate?: string;
  readonly review?: boolean;
  readonly verify?: readonly string[];
  readonly isolation?: Isolation;
  readonly maxAttempts?: number;
  readonly timeout?: number;
  readonly stallTimeout?: number;
  readonly startTimeout?: number;
  readonly json?: boolean;
}

export function addTaskAdd(context: Context, task: Command): void {
  task
    .command("add <title>")
    .description("add a task")
    .option("--assignee <name>", "an agent, a person, or auto (default: jarvis)")
    .addOption(new Option("--priority <priority>", "default: medium").choices(PRIORITIES))
    .addOption(new Option("--status <status>", "default: todo").choices(TASK_STATUSES))
    .option("--description <markdown>", "what is to be done")
    .option("--description-file <file>", "the same from a file, - for standard input")
    .option("--workspace <directory>", "where the work is done")
    .option("--file <path>", "a path or glob in the workspace that it will touch (several times)", collect)
    .option("--depends-on <id>", "a task that must be done before (several times)", collect)
    .option("--label <text>", "several times", collect)
    .option("--project <name>", "what it belongs to")
    .option("--due <date>", "2026-12-31 or 2026-12-31T12:00:00Z", parseDate)
    .option("--estimate <text>", "hours as a number, or words")
    .option("--review", "goes to review rather than done")
    .option("--verify <name>", "a verifier of the config that must pass first (several times)", collect)
    .addOption(
      new Option("--isolation <how>", "worktree: in a git worktree of its own (default: its agent's)").choices(
        ISOLATIONS,
      ),
    )
    .option("--max-attempts <n>", "before it waits for a person", parseCount)
    .option("--timeout <duration>", "of a session: 90s, 30m, 2h, or milliseconds", parseDuration)
    .option(
      "--stall-timeout <duration>",
      "how long a session may be silent, in place of its agent's; 0 = for ever",
      parseDuration,
    )
    .option(
      "--start-timeout <duration>",
      "until its program runs, in place of its agent's; 0 = for ever",
      parseDuration,
    )
    .option("--id <id>", "its id (default: made)", checkId)
    .option("--json", "print the API's JSON")
    .addHelpText(
      "after",
      '\nExample:\n  $ jarvis-orchestrator task add "Mend the build" --assignee claude --priority high --file "src/**"',
    )
    .action((title: string, options: AddOptions) => add(context, title, options));
}

async function add(context: Context, title: string, options: AddOptions): Promise<void> {
  const description = await readDescription(context, options);
  const body: NewTask = given({
    id: options.id,
    title,
    description,
    status: options.status,
    priority: options.priority,
    assignee: options.assignee,
    labels: options.label?.slice(),
    project: options.project,
    dependsOn: options.dependsOn?.slice(),
    files: options.file?.slice(),
    workspace: options.workspace === undefined ? undefined : absolute(context, options.workspace),
    dueDate: options.due,
    estimate: numberOrText(options.estimate),
    requiresReview: options.review,
    verify: options.verify?.slice(),
    isolation: options.isolation,
    maxAttempts: options.maxAttempts,
    timeoutMs: options.timeout,
    stallTimeoutMs: options.stallTimeout,
    startTimeoutMs: options.startTimeout,
  });
  const task = await connect(context).addTask(body);
  if (options.json) return printJson(context, task);
  context.terminal.print(`${task.id} added (${task.status}, ${task.assignee}'s)`);
}

async function readDescription(context: Context, options: AddOptions): Promise<string | undefined> {
  if (options.descriptionFile === undefined) return options.description;
  if (options.description !== undefined) {
    throw new Failure("--description and --description-file exclude each other", EXIT.usage);
  }
  return readText(context, options.descriptionFile);
}

/** As written where it is absolute or begins with the home directory of whoever runs the agent. */
function absolute(context: Context, directory: string): string {
  return /^~(?:\/|$)/.test(directory) ? directory : path.resolve(context.terminal.cwd, directory);
}

function numberOrText(text: string | undefined): number | string | undefined {
  return text !== undefined && /^\d{1,9}(?:\.\d{1,9})?$/.test(text) ? Number(text) : text;
}

/** One that begins like an option could be typed nowhere else. */
function checkId(text: string): string {
  if (/^(?!-|\.{1,2}$)[A-Za-z0-9._-]{1,64}$/.test(text)) return text;
  throw new InvalidArgumentError(
    'Wanted 1 to 64 letters, digits, ".", "_" or "-", beginning with no "-", not "." or "..".',
  );
}
