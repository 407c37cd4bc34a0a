/** `status`: one screen that says what goes on, what comes next, and what waits for whom. */
import type { Command } from "commander";
import type { OrchestrateStatus } from "../api/orchestrate.ts";
import { agentTable } from "./agents.ts";
import { type Context, connect, printJson } from "./context.ts";
import { sessionTable } from "./sessions.ts";
import { table } from "./table.ts";
import type { Style, Terminal } from "./terminal.ts";
import { duration } from "./time.ts";

export function addStatus(context: Context): Command {
  return context.program
    .command("status")
    .description("show agents, running sessions, what is dispatched next and what waits, with reasons")
    .option("--json", "print the API's JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator status")
    .action((options: { json?: boolean }) => status(context, options));
}

async function status(context: Context, options: { json?: boolean }): Promise<void> {
  const client = connect(context);
  const answer = await client.status();
  if (options.json) return printJson(context, answer);
  context.terminal.print(statusScreen(context.terminal, client.url, answer));
}

const STATUS_STYLES: Record<OrchestrateStatus["status"], Style> = { ok: "green", degraded: "red", draining: "yellow" };
const INDENT = "  ";

function statusScreen(terminal: Terminal, url: string, answer: OrchestrateStatus): string {
  const { activeSessions, pendingDispatch, waiting, recentCompleted, totals } = answer;
  const sections = [
    headline(terminal, url, answer),
    section(terminal, "Agents", agentTable(terminal, answer.agents, INDENT)),
    activeSessions.length === 0 ? null : section(terminal, "At work", sessionTable(terminal, activeSessions, INDENT)),
    pendingDispatch.length === 0
      ? null
      : section(
          terminal,
          "Next to be dispatched",
          pendingTable(terminal, pendingDispatch) + rest(totals.pendingDispatch, pendingDispatch),
        ),
    waiting.length === 0
      ? null
      : section(terminal, "Waiting", waitingTable(terminal, waiting) + rest(totals.waiting, waiting)),
    recentCompleted.length === 0
      ? null
      : section(terminal, "Lately ended", sessionTable(terminal, recentCompleted, INDENT)),
    answer.metrics.totalDispatched === 0 ? null : section(terminal, "So far", metricsTable(terminal, answer.metrics)),
  ];
  return sections.filter((text) => text !== null).join("\n\n");
}

function headline(terminal: Terminal, url: string, { status, activeSessions, totals }: OrchestrateStatus): string {
  const counts = [
    `${activeSessions.length} at work`,
    `${totals.pendingDispatch} to dispatch`,
    `${totals.waiting} waiting`,
  ];
  const name = terminal.paint("bold", "Jarvis Orchestrator");
  return `${name}  ${terminal.paint(STATUS_STYLES[status], status)}  ${url}\n${counts.join(" · ")}`;
}

function section(terminal: Terminal, title: string, body: string): string {
  return `${terminal.paint("bold", title)}\n${body}`;
}

/** The daemon sends the first of long lists only. */
function rest(total: number, shown: readonly unknown[]): string {
  return total > shown.length ? `\n${INDENT}and ${total - shown.length} more` : "";
}

function pendingTable(terminal: Terminal, rows: OrchestrateStatus["pendingDispatch"]): string {
  return table(
    terminal,
    [
      { title: "#", of: ({ position }) => position, align: "right" },
      { title: "TASK", of: ({ taskId }) => taskId },
      { title: "AGENT", of: ({ agent }) => agent, shrinks: true },
      { title: "PRIORITY", of: ({ priority }) => priority },
      { title: "TITLE", of: ({ title, again }) => (again ? `${title} (handed out again)` : title), shrinks: true },
    ],
    rows,
    { indent: INDENT },
  );
}

/** Each with all that it waits for. */
function waitingTable(terminal: Terminal, rows: OrchestrateStatus["waiting"]): string {
  return table(
    terminal,
    [
      { title: "TASK", of: ({ taskId }) => taskId },
      { title: "AGENT", of: ({ agent }) => agent, shrinks: true },
      { title: "TITLE", of: ({ title }) => title, shrinks: true },
    ],
    rows,
    { indent: INDENT, details: ({ reasons }) => reasons.map(({ message }) => message) },
  );
}

function metricsTable(terminal: Terminal, metrics: OrchestrateStatus["metrics"]): string {
  return table(
    terminal,
    [
      { title: "AGENT", of: ([agent]) => agent },
      { title: "DISPATCHED", of: ([, counts]) => counts.dispatched, align: "right" },
      { title: "COMPLETED", of: ([, counts]) => counts.completed, align: "right" },
      { title: "FAILED", of: ([, counts]) => counts.failed, align: "right" },
      { title: "ON AVERAGE", of: ([agent]) => averageTime(metrics, agent), align: "right" },
    ],
    Object.entries(metrics.byAgent),
    { indent: INDENT },
  );
}

function averageTime(metrics: OrchestrateStatus["metrics"], agent: string): string {
  const ms = Object.hasOwn(metrics.averageCompletionTime, agent) ? metrics.averageCompletionTime[agent] : undefined;
  return ms === undefined ? "–" : duration(ms);
}
