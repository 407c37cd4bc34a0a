/** From starting the daemon to "listening", with much to replay, against a start with nothing. */
import { cpSync, rmSync } from "node:fs";
import type { Measure } from "../measure.ts";
import { type StartedProgram, startDaemon } from "../programs.ts";
import { median, sampleOf } from "../sample.ts";
import { emptyDirectory, seedReplay } from "../seed.ts";
import { watchForeign } from "../shares.ts";
import { WORKER } from "../workload.ts";

const STARTS = 5;
const TASKS = 10_000;
const EVENTS = 100_000;

export const start: Measure = async ({ directory }) => {
  const seeded = directory("seeded");
  emptyDirectory(seeded);
  await seedReplay(seeded, { tasks: TASKS, events: EVENTS });
  const tookMs: number[] = [];
  const emptyMs: number[] = [];
  /** Processor time of the start, which other programs cannot make longer by much. */
  const cpuMs: number[] = [];
  const foreign: number[] = [];
  for (let i = 0; i < STARTS; i++) {
    // A daemon changes its directory: each start gets a fresh copy, and is killed before it writes.
    const copy = directory("copy");
    cpSync(seeded, copy, { recursive: true });
    const watch = watchForeign();
    const daemon = await startDaemon(copy);
    foreign.push(watch());
    tookMs.push(daemon.startMs);
    cpuMs.push((daemon.cpu()?.all ?? Number.NaN) * 1000);
    await expectReplayed(daemon);
    await daemon.kill();
    rmSync(copy, { recursive: true });

    const empty = directory("empty");
    emptyDirectory(empty);
    const other = await startDaemon(empty);
    emptyMs.push(other.startMs);
    await other.kill();
    rmSync(empty, { recursive: true });
  }
  return [
    {
      measure: "start with 10,000 open tasks and 100,000 events to replay",
      unit: "ms",
      figure: sampleOf(tookMs),
      reference: { ...sampleOf(emptyMs), what: "with nothing" },
      ratio: sampleOf(tookMs.map((ms, i) => ms / (emptyMs[i] ?? Number.NaN))),
      target: { of: "figure", at: "most", value: 2000 },
      boundedBy: `one thread that loads the program, parses and folds: ${Math.round(median(cpuMs))} ms of processor time`,
      others: median(foreign),
    },
  ];
};

async function expectReplayed({ url }: StartedProgram): Promise<void> {
  const answer = await fetch(`${url}/api/orchestrate`);
  const { metrics, totals } = (await answer.json()) as {
    metrics: { byAgent: Record<string, { failed: number }> };
    totals: { pendingDispatch: number; waiting: number };
  };
  const failed = metrics.byAgent[WORKER]?.failed;
  const open = totals.pendingDispatch + totals.waiting;
  if (failed !== EVENTS / 10 || open !== TASKS)
    throw new Error(`not all was replayed: ${failed} failed sessions, ${open} open tasks`);
}
