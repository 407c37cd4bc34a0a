/** How late the daemon's event loop is while 10,000 open tasks are changed at full load. */
import { existsSync, readFileSync, rmSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { fire, type Round } from "../load.ts";
import { type Measure, ROUNDS, takeTurns } from "../measure.ts";
import { type StartedProgram, startBare, startDaemon } from "../programs.ts";
import { median, sampleOf } from "../sample.ts";
import { emptyDirectory, openTask, seedBoard } from "../seed.ts";
import { boundOf } from "../shares.ts";
import { changes, newTasks } from "../workload.ts";

const TASKS = 10_000;

interface Delay {
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

export const loopDelay: Measure = async ({ seconds, directory }) => {
  const data = directory("data");
  emptyDirectory(data);
  await seedBoard(data, { tasks: TASKS, task: openTask });
  const files = { bare: directory("bare.json"), daemon: directory("daemon.json") };
  const bare = await startBare({ loopDelayFile: files.bare });
  const daemon = await startDaemon(data, { loopDelayFile: files.daemon });
  const delays = { bare: [] as Delay[], daemon: [] as Delay[] };
  const watched = (side: "bare" | "daemon", server: StartedProgram, round: () => Promise<Round>) => async () => {
    // The first look takes what was before, a pause among it.
    await wait(50);
    await delayOf(server, files[side]);
    const fired = await round();
    delays[side].push(await delayOf(server, files[side]));
    return fired;
  };
  const post = () => fire({ server: bare, requests: newTasks, status: 201, seconds });
  const patch = () => fire({ server: daemon, requests: changes(TASKS), seconds });
  await post();
  await patch();
  const rounds = await takeTurns(ROUNDS, {
    bare: { program: bare, turn: watched("bare", bare, post) },
    daemon: { program: daemon, turn: watched("daemon", daemon, patch) },
  });
  await bare.kill();
  await daemon.stop();

  const p50 = median(delays.daemon.map((delay) => delay.p50));
  const max = Math.max(...delays.daemon.map((delay) => delay.max));
  return [
    {
      measure: "event loop delay p99, 10,000 open tasks changed at full load",
      unit: "ms",
      figure: sampleOf(delays.daemon.map((delay) => delay.p99)),
      reference: { ...sampleOf(delays.bare.map((delay) => delay.p99)), what: "bare POST" },
      ratio: sampleOf(delays.daemon.map((delay, i) => delay.p99 / (delays.bare[i]?.p99 ?? Number.NaN))),
      target: { of: "figure", at: "most", value: 20 },
      boundedBy: `p50 ${p50.toFixed(1)} ms, longest ${max.toFixed(1)} ms; ${boundOf(rounds.daemon.map((round) => round.shares))}`,
      others: median(rounds.daemon.map((round) => round.shares.foreign)),
    },
  ];
};

const LOOK_LIMIT_MS = 5000;

/** What loop-delay.mjs saw since it was asked last. */
async function delayOf(server: StartedProgram, file: string): Promise<Delay> {
  rmSync(file, { force: true });
  server.process.kill("SIGUSR2");
  for (const until = performance.now() + LOOK_LIMIT_MS; !existsSync(file); await wait(5)) {
    if (performance.now() > until) throw new Error("the program under test does not tell its event loop's delay");
  }
  return JSON.parse(readFileSync(file, "utf8")) as Delay;
}
