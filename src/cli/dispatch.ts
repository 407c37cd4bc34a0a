/** `dispatch`: starts what is ready now, or says what would be. */
import type { Command } from "commander";
import { type Context, connect, printJson } from "./context.ts";
import { EXIT } from "./failure.ts";
import { collect } from "./options.ts";
import { table } from "./table.ts";
import { parseCount } from "./time.ts";

interface DispatchOptions {
  readonly dryRun?: boolean;
  readonly task?: readonly string[];
  readonly limit?: number;
  readonly json?: boolean;
}

export function addDispatch(context: Context): Command {
  return context.program
    .command("dispatch")
    .description("start all tasks that can start now")
    .option("--dry-run", "only say what would be started, and why the rest would not")
    .option("--task <id>", "only this task (may be given several times)", collect)
    .option("--limit <n>", "at most that many", parseCount)
    .option("--json", "print the API's JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator dispatch --dry-run")
    .action((options: DispatchOptions) => dispatch(context, options));
}

async function dispatch(context: Context, options: DispatchOptions): Promise<void> {
  const { terminal } = context;
  const answer = await connect(context).dispatch({
    ...(options.dryRun ? { dryRun: true } : {}),
    ...(options.task === undefined ? {} : { taskIds: [...options.task] }),
    ...(options.limit === undefined ? {} : { limit: options.limit }),
  });
  const started = answer.dispatched ?? [];
  const planned = answer.wouldDispatch ?? [];
  const isMissing = answer.skipped.some(({ reasons }) => reasons.some(({ code }) => code === "TASK_NOT_FOUND"));
  if (isMissing && started.length + planned.length === 0) context.exitCode = EXIT.failure;
  if (options.json) return printJson(context, answer);

  terminal.print(answer.message);
  if (started.length > 0) terminal.print(`\n${startTable(context, started)}`);
  if (planned.length > 0) terminal.print(`\n${startTable(context, planned)}`);
  if (answer.skipped.length > 0) terminal.print(`\nNot started\n${skippedTable(context, answer.skipped)}`);
  if (started.some(({ spawn }) => spawn !== undefined)) {
    terminal.print("\nThose by sessions_spawn are to be handed to Jarvis: --json prints the call of each.");
  }
}

interface Started {
  readonly taskId: string;
  readonly title: string;
  readonly agent: string;
  readonly method: string;
  readonly sessionId?: string;
}

function startTable(context: Context, rows: readonly Started[]): string {
  return table(
    context.terminal,
    [
      { title: "TASK", of: ({ taskId }) => taskId },
      { title: "AGENT", of: ({ agent }) => agent },
      { title: "BY", of: ({ method }) => method },
      ...(rows.some(({ sessionId }) => sessionId) ? [{ title: "SESSION", of: (row: Started) => row.sessionId }] : []),
      { title: "TITLE", of: ({ title }) => title, shrinks: true },
    ],
    rows,
    { indent: "  " },
  );
}

interface Skipped {
  readonly taskId: string;
  readonly reasons: readonly { readonly code: string; readonly message: string }[];
}

function skippedTable(context: Context, skipped: readonly Skipped[]): string {
  return table(
    context.terminal,
    [
      { title: "TASK", of: ({ taskId }) => taskId },
      { title: "BECAUSE", of: ({ reasons }) => reasons.map(({ code }) => code).join(", ") },
    ],
    skipped,
    { indent: "  ", details: ({ reasons }) => reasons.map(({ message }) => message) },
  );
}
