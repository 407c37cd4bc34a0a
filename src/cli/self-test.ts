/**
 * `doctor --self-test`: the orchestrator itself, from the dispatch to the metrics, with a daemon of its own and stand-in agents. What
 * goes wrong here is no agent's fault.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Client } from "../api/client.ts";
import type { Session } from "../api/session.ts";
import type { Context } from "./context.ts";
import type { Finding, Report } from "./doctor-report.ts";
import { OwnDaemon } from "./own-daemon.ts";
import { type Expectation, judge } from "./path-steps.ts";
import { type Evidence, isActive, type PathWatch, sendThrough } from "./path-test.ts";
import { ANSWER, gateOf, STARTS, standInSettings, WORKSPACE } from "./stand-ins.ts";

/** For all of it; what is cut short by it is taken away within the rest of a minute. */
const LIMIT_MS = 40_000;
/** A daemon that does not even answer by then is killed, so that nothing waits for it. */
const HUNG_MS = 50_000;
const TASK_TIMEOUT_MS = 20_000;

/** Adds what it finds to the report. Never rejects. */
export async function selfTest(context: Context, report: Report): Promise<void> {
  const { terminal } = context;
  const interrupts = terminal.catchInterrupts();
  const late = AbortSignal.timeout(LIMIT_MS);
  const daemon = new OwnDaemon(terminal.env, standInSettings);
  const hung = setTimeout(() => void daemon.kill(), HUNG_MS);
  try {
    mkdirSync(join(daemon.directory, WORKSPACE));
    report.progress("starts a daemon");
    const startedAt = terminal.now();
    const pid = await daemon.start();
    report.add({ about: "daemon", state: "ok", message: `started in ${terminal.now() - startedAt} ms, pid ${pid}` });
    const watch = (name: string): PathWatch => ({
      signal: AbortSignal.any([interrupts.signal, late]),
      wait: terminal.wait,
      now: terminal.now,
      progress: (text) => report.progress(`${name}: ${text}`),
    });
    for (const scenario of scenarios(daemon)) {
      if (interrupts.signal.aborted || late.aborted) break;
      await play(daemon, scenario, report, watch(scenario.name));
    }
    if (late.aborted)
      report.add({
        about: "time",
        state: "fail",
        message: `not done within ${LIMIT_MS / 1000} s: the machine is too busy`,
      });
  } catch (error) {
    report.add({ about: "daemon", state: "fail", message: error instanceof Error ? error.message : String(error) });
  } finally {
    clearTimeout(hung);
    report.progress("takes everything away");
    const left = await daemon.remove();
    if (left === null)
      report.add({ about: "removed", state: "ok", message: "the daemon is stopped, its data deleted" });
    else report.add({ about: "removed", state: "warn", message: `${daemon.directory} is still there: ${left}` });
    if (interrupts.signal.aborted) report.interrupted();
    interrupts.release();
  }
}

/** One stand-in with one task. */
interface Scenario {
  readonly name: string;
  readonly agent: string;
  readonly expected: Expectation;
  /** Why it cannot be played here; `null` = it can. */
  readonly missing: string | null;
  readonly onRunning: (session: Session) => Promise<void>;
  /** What else must be true afterwards. */
  readonly check?: (seen: Evidence) => Promise<Finding> | Finding;
}

function scenarios(daemon: OwnDaemon): readonly Scenario[] {
  const plain = { missing: null, onRunning: async ({ agent }: Session) => openGate(daemon, agent) };
  return [
    { ...plain, name: "exit", agent: "answers", expected: { status: "completed", result: ANSWER } },
    {
      ...plain,
      name: "callback",
      agent: "calls-back",
      expected: { status: "completed", result: `${ANSWER}, by callback` },
      missing: hasCurl() ? null : "curl is not there, which this stand-in calls back with",
    },
    { ...plain, name: "failure", agent: "fails", expected: { status: "failed" } },
    {
      ...plain,
      name: "cancel",
      agent: "hangs",
      expected: { status: "cancelled" },
      onRunning: ({ id }) => cancel(daemon.client, id),
      check: checkGone,
    },
    restart(daemon),
  ];
}

function openGate({ directory }: OwnDaemon, agent: string): void {
  writeFileSync(gateOf(agent, directory), "");
}

async function play(daemon: OwnDaemon, scenario: Scenario, report: Report, watch: PathWatch): Promise<void> {
  const { name, agent, expected, missing, onRunning, check } = scenario;
  if (missing !== null) return report.add({ about: name, state: "warn", message: `skipped: ${missing}` });
  const plan = {
    agent,
    title: `Self-test: ${name}`,
    description: `Reply with ${ANSWER}.`,
    workspace: join(daemon.directory, WORKSPACE),
    timeoutMs: TASK_TIMEOUT_MS,
    onRunning,
  };
  const seen = await sendThrough(daemon.client, plan, watch);
  // Stand-ins use no tokens.
  const steps = judge(seen, expected).filter(({ step }) => step !== "cost");
  const { taskId, session } = seen;
  report.addPath({ name, agent, taskId, session, steps });
  if (check !== undefined && session !== null && !isActive(session)) report.add(await check(seen));
}

async function cancel(client: Client, id: string): Promise<void> {
  await client.cancel(id);
}

/** A cancelled session has ended only when its program has. */
function checkGone({ session }: Evidence): Finding {
  const pid = session?.pid ?? 0;
  return isAlive(pid)
    ? { about: "cancel", state: "fail", message: `program: pid ${pid} is still there` }
    : { about: "cancel", state: "ok", message: "program: it is gone" };
}

function isAlive(pid: number): boolean {
  try {
    return pid > 0 && process.kill(pid, 0);
  } catch {
    return false;
  }
}

/** The daemon dies by `kill -9` while a program runs; the next one must find it and read its answer. */
function restart(daemon: OwnDaemon): Scenario {
  let before: Session | null = null;
  let after: Session | null = null;
  return {
    name: "restart",
    agent: "outlives",
    expected: { status: "completed", result: ANSWER },
    missing: null,
    onRunning: async (session) => {
      before = session;
      await daemon.kill();
      await daemon.start();
      after = await daemon.client.session(session.id);
      // Only now may it end, so that its answer is the new daemon's to read.
      openGate(daemon, session.agent);
    },
    check: () =>
      checkFound(before, after, readFileSync(join(daemon.directory, STARTS), "utf8").trim().split("\n").length),
  };
}

function checkFound(before: Session | null, after: Session | null, starts: number): Finding {
  const about = "restart";
  const isSame = before !== null && after !== null && after.status === "running" && after.pid === before.pid;
  if (starts !== 1) return { about, state: "fail", message: `found again: its program was started ${starts} times` };
  return isSame
    ? { about, state: "ok", message: `found again: pid ${after?.pid} after kill -9 of the daemon, started once` }
    : {
        about,
        state: "fail",
        message: `found again: it was ${after?.status ?? "not there"} after kill -9 of the daemon`,
      };
}

function hasCurl(): boolean {
  return spawnSync("curl", ["--version"], { stdio: "ignore" }).status === 0;
}
