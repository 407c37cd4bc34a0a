/** `agents`: who there is, and pausing, resuming and checking one. */
import type { Command } from "commander";
import { allPages } from "../api/client.ts";
import type { Agent } from "../api/orchestrate.ts";
import { type Context, connect, printJson } from "./context.ts";
import { EXIT } from "./failure.ts";
import { table } from "./table.ts";
import type { Style, Terminal } from "./terminal.ts";
import { oneLine } from "./text.ts";

interface JsonOption {
  readonly json?: boolean;
}

export function addAgents(context: Context): Command {
  const agents = context.program
    .command("agents")
    .description("list the agents, or pause, resume or check one")
    .option("--json", "print the API's JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator agents check gemini")
    .action((options: JsonOption) => list(context, options));
  agents
    .command("pause <name>")
    .description("dispatch nothing more to an agent; what runs goes on")
    .option("--reason <text>", "why, for those who wonder")
    .addHelpText("after", '\nExample:\n  $ jarvis-orchestrator agents pause copilot --reason "on holiday"')
    .action((name: string, options: { reason?: string }) => pause(context, name, options));
  agents
    .command("resume <name>")
    .description("dispatch to an agent again")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator agents resume copilot")
    .action((name: string) => resume(context, name));
  agents
    .command("check <name>")
    .description("find out whether an agent can be reached and its program is there")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator agents check gemini")
    .action((name: string, _options: object, command: Command) => check(context, name, command.optsWithGlobals()));
  return agents;
}

async function list(context: Context, options: JsonOption): Promise<void> {
  const client = connect(context);
  const agents = await allPages(async (page) => {
    const { agents: items, nextCursor } = await client.agents(page);
    return { items, nextCursor };
  });
  if (options.json) return printJson(context, { agents });
  context.terminal.print(agents.length === 0 ? "no agents are configured" : agentTable(context.terminal, agents));
}

async function pause(context: Context, name: string, options: { reason?: string }): Promise<void> {
  await connect(context).pause(name, options.reason);
  context.terminal.print(`${name} is paused: nothing more is dispatched to it until \`agents resume ${name}\``);
}

async function resume(context: Context, name: string): Promise<void> {
  await connect(context).resume(name);
  context.terminal.print(`${name} takes tasks again`);
}

async function check(context: Context, name: string, options: JsonOption): Promise<void> {
  const answer = await connect(context).check(name);
  if (!answer.ok) context.exitCode = EXIT.failure;
  if (options.json) return printJson(context, answer);
  context.terminal.print(oneLine(`${answer.agent}: ${answer.message}`));
  for (const { about, state, message } of answer.findings ?? [])
    context.terminal.print(`  ${state.padEnd(4)}  ${oneLine(about).padEnd(10)}  ${oneLine(message)}`);
}

const STYLES: Partial<Record<Agent["availability"], Style>> = {
  available: "green",
  busy: "yellow",
  cooldown: "yellow",
  paused: "yellow",
  over_budget: "red",
  unavailable: "red",
  not_dispatchable: "dim",
};

export function agentTable(terminal: Terminal, agents: readonly Agent[], indent = ""): string {
  return table(
    terminal,
    [
      { title: "AGENT", of: ({ agent }) => agent },
      { title: "BY", of: ({ adapter }) => (adapter === "none" ? "–" : adapter) },
      { title: "MODEL", of: ({ model }) => model ?? "–", shrinks: true },
      { title: "COST", of: ({ costMultiplier }) => `${costMultiplier}x`, align: "right" },
      { title: "BUSY", of: slots, align: "right" },
      { title: "STATE", of: state, style: ({ availability }) => STYLES[availability] ?? null },
    ],
    agents,
    { indent, details: remedies },
  );
}

/** Why an agent cannot be used says what to do about it: never cut. What the columns say already is left out. */
function remedies({ availability, reason }: Agent): string[] {
  const isPlain = availability === "available" || availability === "busy" || availability === "not_dispatchable";
  return reason === undefined || isPlain ? [] : [reason];
}

function slots({ adapter, active, maxConcurrent }: Agent): string {
  return adapter === "none" ? "–" : `${active}/${maxConcurrent}`;
}

function state({ availability, until }: Agent): string {
  const words = availability.replaceAll("_", " ");
  return until === undefined ? words : `${words} until ${until}`;
}
