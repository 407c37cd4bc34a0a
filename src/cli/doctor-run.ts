/** `doctor --run`: a small task through the real program of each agent. */
import type { Client } from "../api/client.ts";
import type { Agent } from "../api/orchestrate.ts";
import { type Context, connect } from "./context.ts";
import type { Report } from "./doctor-report.ts";
import { describeFailure } from "./failure.ts";
import { judge, usd } from "./path-steps.ts";
import { type Evidence, type PathWatch, sendThrough } from "./path-test.ts";

const TASK = {
  title: "Test of the connection: reply with the single word OK",
  description: "Reply with the single word OK and nothing else. Do not use any tool, and change nothing.",
  // The agent's own place: a directory that `doctor` made would lie on the wrong machine for one over SSH, and perhaps
  // under none of the config's workspaceRoots.
  workspace: null,
} as const;

/** One after the other, so that each is seen alone. `named`: those that must run; `true` = all that can. */
export async function runAgents(
  context: Context,
  report: Report,
  named: true | readonly string[],
  timeoutMs: number,
): Promise<void> {
  const { terminal } = context;
  let client: Client;
  let agents: readonly Agent[];
  try {
    client = connect(context);
    ({ agents } = await client.status());
  } catch (error) {
    return report.add({
      about: "run",
      state: "fail",
      message: `nothing was run: ${describeFailure(error).text.replace(/^error: /, "")}`,
    });
  }
  const interrupts = terminal.catchInterrupts();
  try {
    const evidence: Evidence[] = [];
    for (const name of named === true ? agents.map(({ agent }) => agent) : new Set(named)) {
      if (interrupts.signal.aborted) break;
      const isNamed = named !== true;
      const agent = agents.find((one) => one.agent === name);
      const obstacle = agent === undefined ? unknown(name, agents) : obstacleOf(agent, isNamed);
      if (obstacle !== null) {
        if (obstacle !== "")
          report.add({ about: name, state: isNamed ? "fail" : "warn", message: `not run: ${obstacle}` });
        continue;
      }
      const watch: PathWatch = {
        signal: interrupts.signal,
        wait: terminal.wait,
        now: terminal.now,
        progress: (text) => report.progress(`${name}: ${text}`),
      };
      const seen = await sendThrough(client, { ...TASK, agent: name, timeoutMs }, watch);
      evidence.push(seen);
      const { taskId, session } = seen;
      report.addPath({ name, agent: name, taskId, session, steps: judge(seen, { status: "completed", result: "OK" }) });
    }
    if (interrupts.signal.aborted) report.interrupted();
    else summarise(report, evidence);
  } finally {
    interrupts.release();
  }
}

function unknown(name: string, agents: readonly Agent[]): string {
  return `no agent is called ${name}; there are ${agents.map(({ agent }) => agent).join(", ") || "none"}`;
}

/** Why nothing is sent to it; empty: that goes without saying; `null`: nothing keeps it. */
function obstacleOf({ agent, method, availability, reason }: Agent, isNamed: boolean): string | null {
  if (availability === "not_dispatchable") return isNamed ? (reason ?? "it is never dispatched to") : "";
  if (method === "sessions_spawn")
    return isNamed
      ? `only Jarvis can start it: \`task add "Reply with the single word OK" --assignee ${agent}\`, let Jarvis dispatch at its heartbeat (POST /api/orchestrate answers the call of sessions_spawn), and see with \`task show\` what came back`
      : "";
  // One that is busy is waited for, within the time that its task may take.
  if (availability === "available" || availability === "busy") return null;
  const remedy = availability === "paused" ? `; \`agents resume ${agent}\` lets it work again` : "";
  return `it is ${availability.replaceAll("_", " ")}: ${reason ?? "for no known reason"}${remedy}`;
}

/** What it cost in all; and that nothing at all was tried is no success. */
function summarise(report: Report, evidence: readonly Evidence[]): void {
  if (evidence.length === 0)
    return report.add({ about: "run", state: "fail", message: "no agent could be run, so nothing was tried" });
  const sent = evidence.filter(({ session }) => session !== null);
  const known = evidence.flatMap(({ session }) => session?.cost?.usd ?? []);
  const unknown = sent.length - known.length;
  const sum = known.reduce((total, one) => total + one, 0);
  const rest = unknown === 0 ? "" : `, and what ${unknown} of them cost, which is not known`;
  const paid = known.length === 0 ? "what it cost is not known" : `paid: ${usd(sum)}${rest}`;
  report.add({ about: "run", state: "ok", message: `${sent.length} sent; ${paid}` });
}
