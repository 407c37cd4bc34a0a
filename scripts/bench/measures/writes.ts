/** Durable writes at 50 connections, against a bare Fastify that checks the same POST and writes nothing. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CONNECTIONS, fire } from "../load.ts";
import { compared, type Measure, ROUNDS, takeTurns, total, WARM_UPS, warmUp } from "../measure.ts";
import { startBare, startDaemon } from "../programs.ts";
import type { Row } from "../row.ts";
import { emptyDirectory, openTask, seedBoard } from "../seed.ts";
import { changes, handOut, newTasks, reports, WORKER } from "../workload.ts";

const TASKS = 10_000;
/** Reported on in one round. */
const SESSIONS = 3000;

export const writes: Measure = async ({ seconds, directory }) => {
  const patched = directory("patched");
  const reported = directory("reported");
  const posted = directory("posted");
  for (const path of [patched, reported, posted]) emptyDirectory(path);
  await seedBoard(patched, { tasks: TASKS, task: openTask });
  const bare = await startBare();
  const board = await startDaemon(patched);
  const agents = await startDaemon(reported);
  // Of its own: a hundred thousand open tasks come into being here, which is nothing that callbacks meet.
  const filled = await startDaemon(posted);

  const post = () => fire({ server: bare, requests: newTasks, status: 201, seconds });
  const patch = () => fire({ server: board, requests: changes(TASKS), seconds });
  const create = () => fire({ server: filled, requests: newTasks, status: 201, seconds });
  const put = async () => {
    const sessions = await handOut(agents, SESSIONS);
    return fire({ server: agents, requests: reports(sessions), amount: SESSIONS * 2 });
  };
  const warm = await warmUp({ patch, put, create, post });

  const rounds = await takeTurns(ROUNDS, {
    bare: { program: bare, turn: post },
    patch: { program: board, turn: patch },
    put: { program: agents, turn: put },
    create: { program: filled, turn: create },
  });
  await bare.kill();
  await Promise.all([board.kill(), agents.kill(), filled.kill()]);
  await expectOnDisk(patched, {
    what: "changes",
    got: changesOnDisk,
    atLeast: total([...rounds.patch, ...warm.patch]),
  });
  await expectOnDisk(posted, {
    what: "new tasks",
    got: postedOnDisk,
    atLeast: total([...rounds.create, ...warm.create]),
  });
  await expectOnDisk(reported, {
    what: "completed sessions",
    got: completedOnDisk,
    atLeast: total([...rounds.put, ...warm.put]) / 2,
  });

  const row = (measure: string, which: "patch" | "put" | "create", hasTarget: boolean): Row =>
    compared({
      measure,
      rounds: rounds[which],
      reference: rounds.bare,
      what: "bare POST",
      target: hasTarget ? { of: "ratio", at: "least", value: 0.5 } : null,
    });
  return [
    row("PATCH over 10,000 open tasks", "patch", true),
    row("PUT callbacks: claimed, then completed", "put", true),
    row("POST of new tasks", "create", false),
  ];
};

interface Expected {
  readonly what: string;
  readonly got: (directory: string) => number;
  /** Answered with 2xx. */
  readonly atLeast: number;
}

/** What was under way when a round ended may have been done without being counted. */
const UNCOUNTED_MAX = CONNECTIONS * (ROUNDS + WARM_UPS);

/** The daemon was killed: starts it again, stops it cleanly, and reads what it has. */
async function expectOnDisk(directory: string, { what, got, atLeast }: Expected): Promise<void> {
  const again = await startDaemon(directory);
  await again.stop();
  const found = got(directory);
  if (found >= atLeast && found <= atLeast + UNCOUNTED_MAX) return;
  throw new Error(`${what}: ${atLeast} were answered with 2xx, ${found} are on disk after kill -9`);
}

function tasksOnDisk(directory: string): readonly { version: number; labels: readonly string[] }[] {
  return JSON.parse(readFileSync(join(directory, "tasks.json"), "utf8")).tasks;
}

function changesOnDisk(directory: string): number {
  return tasksOnDisk(directory).reduce((sum, { version }) => sum + version - 1, 0);
}

function postedOnDisk(directory: string): number {
  return tasksOnDisk(directory).filter(({ labels }) => labels.includes("posted")).length;
}

function completedOnDisk(directory: string): number {
  return JSON.parse(readFileSync(join(directory, "orchestrator-metrics.json"), "utf8")).byAgent[WORKER].completed;
}
