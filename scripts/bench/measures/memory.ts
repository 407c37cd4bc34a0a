/** Resident memory: of a daemon with nothing to do, and of one with 10,000 open tasks. */
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as wait } from "node:timers/promises";
import { fire } from "../load.ts";
import type { Measure } from "../measure.ts";
import { Program, startDaemon } from "../programs.ts";
import type { Row } from "../row.ts";
import { type Sample, sampleOf } from "../sample.ts";
import { emptyDirectory, openTask, seedBoard } from "../seed.ts";
import { watchForeign } from "../shares.ts";
import { changes } from "../workload.ts";

const TASKS = 10_000;
const DAEMONS = 3;
/** After a start, and after load: what is put off has been done by then. */
const SETTLE_MS = 6000;
const LOOK_EVERY_MS = 250;
const LOAD_ROUNDS = 3;

export const memory: Measure = async ({ seconds, directory }) => {
  const idle = Array.from({ length: DAEMONS }, (_, i) => directory(`idle-${i}`));
  const full = Array.from({ length: DAEMONS }, (_, i) => directory(`full-${i}`));
  for (const path of [...idle, ...full]) emptyDirectory(path);
  for (const path of full) await seedBoard(path, { tasks: TASKS, task: openTask });
  const watch = watchForeign();
  const bareNode = new Program(spawnIdleNode());
  const idleDaemons = await Promise.all(idle.map((path) => startDaemon(path)));
  const fullDaemons = await Promise.all(full.map((path) => startDaemon(path)));
  for (const { url } of [...idleDaemons, ...fullDaemons]) await fetch(`${url}/api/orchestrate`);
  await wait(SETTLE_MS);
  const alone = rssOf([bareNode]);
  const atRest = rssOf(idleDaemons);
  const loaded = rssOf(fullDaemons);
  await Promise.all([...idleDaemons, ...fullDaemons.slice(1)].map((daemon) => daemon.kill()));

  const [daemon] = fullDaemons;
  if (daemon === undefined) throw new Error("no daemon was started");
  const underLoad: number[] = [];
  const look = setInterval(() => underLoad.push(daemon.rssMb()), LOOK_EVERY_MS);
  for (let i = 0; i < LOAD_ROUNDS; i++) await fire({ server: daemon, requests: changes(TASKS), seconds });
  clearInterval(look);
  await wait(SETTLE_MS);
  const afterwards = rssOf([daemon]);
  await daemon.stop();
  await bareNode.kill();
  const foreign = watch();

  const row = (measure: string, figure: Sample, mostMb: number | null, boundedBy: string): Row => ({
    measure,
    unit: "MB",
    figure,
    reference: { ...alone, what: "node alone" },
    ratio: null,
    target: mostMb === null ? null : { of: "figure", at: "most", value: mostMb },
    boundedBy,
    others: foreign,
  });
  return [
    row("memory (RSS), idle", atRest, 90, `${SETTLE_MS / 1000} s after the start and one GET`),
    row("memory (RSS), 10,000 open tasks", loaded, 200, `${SETTLE_MS / 1000} s after the start and one GET`),
    row("memory (RSS), the same, under full load of PATCH", sampleOf(underLoad), null, "looked at every 250 ms"),
    row(
      "memory (RSS), the same, after it",
      afterwards,
      200,
      `${SETTLE_MS / 1000} s after ${LOAD_ROUNDS} rounds of load`,
    ),
  ];
};

function rssOf(programs: readonly Program[]): Sample {
  return sampleOf(programs.map((program) => program.rssMb()));
}

function spawnIdleNode(): ChildProcess {
  return spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
}
