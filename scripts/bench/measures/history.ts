/** The same writes and GET with 100,000 tasks done and archived, against the same with none. */
import { cpSync } from "node:fs";
import { fire, type Round } from "../load.ts";
import { costOf, type Measure, takeTurns, type Workbench } from "../measure.ts";
import { type StartedProgram, startDaemon } from "../programs.ts";
import type { Row } from "../row.ts";
import { median, sampleOf } from "../sample.ts";
import { emptyDirectory, openTask, seedArchive, seedBoard } from "../seed.ts";
import { boundOf } from "../shares.ts";
import { changes, handOut, newTasks, reports } from "../workload.ts";

const TASKS = 10_000;
const ARCHIVED = 100_000;
const SESSIONS = 2000;
const ROUNDS = 4;

export const history: Measure = async ({ seconds, directory }: Workbench) => {
  const young = directory("young");
  const old = directory("old");
  emptyDirectory(young);
  await seedBoard(young, { tasks: TASKS, task: openTask });
  cpSync(young, old, { recursive: true });
  await seedArchive(old, ARCHIVED);
  const without = await startDaemon(young);
  const withThem = await startDaemon(old);
  await expectArchived(withThem);

  const rows: Row[] = [];
  for (const [what, load] of Object.entries(loads(seconds / 2))) {
    await load(without);
    await load(withThem);
    const rounds = await takeTurns(ROUNDS, {
      without: { program: without, turn: () => load(without) },
      withThem: { program: withThem, turn: () => load(withThem) },
    });
    rows.push(row(what, rounds.withThem, rounds.without));
  }
  await without.stop();
  await withThem.stop();
  return rows;
};

function loads(seconds: number): Record<string, (server: StartedProgram) => Promise<Round>> {
  return {
    PATCH: (server) => fire({ server, requests: changes(TASKS), seconds }),
    GET: (server) => fire({ server, requests: () => [{ method: "GET", path: "/api/orchestrate" }], seconds }),
    PUT: async (server) => fire({ server, requests: reports(await handOut(server, SESSIONS)), amount: SESSIONS * 2 }),
    POST: (server) => fire({ server, requests: newTasks, status: 201, seconds }),
  };
}

/** As time per request, so that more is worse. */
function row(what: string, rounds: readonly Round[], reference: readonly Round[]): Row {
  const ms = ({ rate }: Round) => 1000 / rate;
  return {
    measure: `${what} with 100,000 tasks done and archived, time for each`,
    unit: "ms",
    figure: sampleOf(rounds.map(ms)),
    reference: { ...sampleOf(reference.map(ms)), what: "with none" },
    ratio: sampleOf(rounds.map((round, i) => ms(round) / ms(reference[i] ?? round))),
    target: { of: "ratio", at: "most", value: 1.2 },
    boundedBy: `${boundOf(rounds.map((round) => round.shares))}; ${costOf(rounds, reference)}`,
    others: median(rounds.map((round) => round.shares.foreign)),
  };
}

async function expectArchived({ url }: StartedProgram): Promise<void> {
  const answer = await fetch(`${url}/api/tasks/old-${ARCHIVED - 1}`);
  if (answer.status !== 200) throw new Error(`an archived task is not found: ${answer.status}`);
}
