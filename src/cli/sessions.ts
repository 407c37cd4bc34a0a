/** `sessions` and `cancel`: the attempts of agents at tasks, and ending them. */
import { Option } from "commander";
import { ACTIVE_STATUSES, allPages, type Client, ENDED_STATUSES, type SessionStatus } from "../api/client.ts";
import type { Session, SessionQuery } from "../api/session.ts";
import { type Context, connect, printJson } from "./context.ts";
import { EXIT, Failure } from "./failure.ts";
import { findSession } from "./find-session.ts";
import { given } from "./options.ts";
import { table } from "./table.ts";
import type { Style, Terminal } from "./terminal.ts";
import { cutTo, oneLine } from "./text.ts";
import { parseCount, since } from "./time.ts";

interface ListOptions {
  readonly status?: SessionStatus;
  readonly agent?: string;
  readonly task?: string;
  readonly limit?: number;
  readonly json?: boolean;
}

interface CancelOptions {
  readonly all?: boolean;
  readonly yes?: boolean;
}

export function addSessions(context: Context): void {
  context.program
    .command("sessions")
    .description("list the sessions: one attempt of one agent at one task each")
    .addOption(
      new Option("--status <status>", "only those of this status").choices([...ACTIVE_STATUSES, ...ENDED_STATUSES]),
    )
    .option("--agent <name>", "only those of this agent")
    .option("--task <id>", "only those at this task")
    .option("--limit <n>", "at most that many, up to 500 (default: 50)", parseCount)
    .option("--json", "print the API's JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator sessions --status running")
    .action((options: ListOptions) => list(context, options));
  context.program
    .command("cancel [id]")
    .description("end a session (or a task's running one) with all its programs; its task is held")
    .option("--all", "end all sessions")
    .option("-y, --yes", "do not ask before ending all")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator cancel --all")
    .action((id: string | undefined, options: CancelOptions) => cancel(context, id, options));
}

async function list(context: Context, options: ListOptions): Promise<void> {
  const { status, agent, task: taskId, limit } = options;
  const query: SessionQuery = given({ status, agent, taskId, limit });
  const answer = await connect(context).sessions(query);
  if (options.json) return printJson(context, answer);
  if (answer.sessions.length === 0) return context.terminal.print("no sessions");
  context.terminal.print(sessionTable(context.terminal, answer.sessions));
  if (answer.nextCursor !== undefined) context.terminal.print("… and more (--limit shows more)");
}

const STYLES: Partial<Record<SessionStatus, Style>> = {
  running: "green",
  completed: "green",
  starting: "yellow",
  stopping: "yellow",
  cancelled: "dim",
};

export function sessionTable(terminal: Terminal, sessions: readonly Session[], indent = ""): string {
  const now = terminal.now();
  return table(
    terminal,
    [
      { title: "SESSION", of: ({ id }) => id },
      { title: "AGENT", of: ({ agent }) => agent },
      { title: "STATE", of: ({ status }) => status, style: ({ status }) => STYLES[status] ?? "red" },
      { title: "TIME", of: (session) => since(session.startedAt, endOf(session, now)), align: "right" },
      { title: "TASK", of: ({ taskTitle }) => taskTitle, shrinks: true },
    ],
    sessions,
    { indent, details: (session) => news(session, terminal.columns - indent.length - NEWS_INDENT) },
  );
}

const NEWS_INDENT = 4;

/** The last that is known of it, on one line. */
function news({ error, result, progress }: Session, width: number): string[] {
  const text = oneLine(error?.message ?? result ?? progress ?? "");
  return text === "" ? [] : [cutTo(text, width)];
}

function endOf(session: Session, now: number): number {
  return session.completedAt === undefined ? now : Date.parse(session.completedAt);
}

async function cancel(context: Context, id: string | undefined, options: CancelOptions): Promise<void> {
  if ((id === undefined) === (options.all !== true)) {
    throw new Failure("wanted the id of a session, or --all", EXIT.usage);
  }
  const client = connect(context);
  if (id === undefined) return cancelAll(context, client, options);
  const session = await findSession(client, id, "active");
  await client.cancel(session.id);
  context.terminal.print(
    `${session.id} is being stopped; its task ${session.taskId} is held (\`task release\` lets it go on)`,
  );
}

async function cancelAll(context: Context, client: Client, options: CancelOptions): Promise<void> {
  const { terminal } = context;
  const sessions = (await Promise.all(ACTIVE_STATUSES.map((status) => allSessions(client, status)))).flat();
  if (sessions.length === 0) return terminal.print("no session is running");
  if (options.yes !== true) {
    const count = sessions.length === 1 ? "1 session" : `${sessions.length} sessions`;
    const agreed = await terminal.confirm(
      `End ${count}, and hold ${sessions.length === 1 ? "its task" : "their tasks"}?`,
    );
    if (agreed === false) throw new Failure("nothing was ended");
  }
  const failed: string[] = [];
  for (const { id } of sessions) {
    try {
      await client.cancel(id);
      terminal.print(`${id} is being stopped`);
    } catch (error) {
      failed.push(`${id}: ${error instanceof Error ? error.message : String(error)}`);
    }
  }
  if (failed.length > 0)
    throw new Failure(`${failed.length} of ${sessions.length} were not stopped\n  ${failed.join("\n  ")}`);
}

async function allSessions(client: Client, status: SessionStatus): Promise<Session[]> {
  return allPages(async (page) => {
    const { sessions: items, nextCursor } = await client.sessions({ ...page, status });
    return { items, nextCursor };
  });
}
