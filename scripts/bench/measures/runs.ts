/** Programs that run: what it costs to follow a thousand, to find five hundred again after a kill -9, and how soon a cancelled tree is gone. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { Connection, call, requestText } from "../connection.ts";
import type { Measure } from "../measure.ts";
import { type StartedProgram, startDaemon } from "../programs.ts";
import type { Row } from "../row.ts";
import { type Sample, sampleOf } from "../sample.ts";
import { emptyDirectory } from "../seed.ts";
import { watchForeign } from "../shares.ts";
import { NEW_TASK, WORKER } from "../workload.ts";

const FOLLOWED = 1000;
const FOUND_AGAIN = 500;
const RESTARTS = 3;
const CANCELS = 100;
/** At the same time. */
const CANCELS_AT_ONCE = 10;
const KILL_GRACE_MS = 1000;
const WATCH_MS = 15_000;
const LIMIT_MS = 180_000;

/** A helper in its group and one in a session of its own; like their parent, they heed no TERM. */
const TREE = `trap '' TERM; hold() { while :; do sleep 1000; done; }; hold & echo $$ $!
setsid sh -c 'trap "" TERM; echo $$; while :; do sleep 1000; done' & hold`;

interface Session {
  readonly id: string;
  readonly status: string;
  readonly pid?: number;
}

export const runs: Measure = async ({ directory, say }) => {
  const watch = watchForeign();
  const data = directory("followed");
  emptyDirectory(data, { program: ["sleep", "100000"], killGraceMs: KILL_GRACE_MS });
  let daemon = await startDaemon(data);
  await wait(3000);
  const idleMb = daemon.rssMb();
  say(`starting ${FOLLOWED} programs`);
  await startAll(daemon, FOLLOWED);
  await wait(5000);
  const before = daemon.cpu()?.all ?? Number.NaN;
  await wait(WATCH_MS);
  const share = (((daemon.cpu()?.all ?? Number.NaN) - before) / (WATCH_MS / 1000)) * 100;
  const followedMb = daemon.rssMb() - idleMb;
  await cancelAll(daemon, FOLLOWED - FOUND_AGAIN);

  const restarts: number[] = [];
  for (let i = 0; i < RESTARTS; i++) {
    await daemon.kill();
    daemon = await startDaemon(data);
    restarts.push(daemon.startMs);
  }
  // That each of them was found again shows when it is stopped: nobody else could.
  await cancelAll(daemon, FOUND_AGAIN);
  await daemon.stop();

  const trees = directory("trees");
  emptyDirectory(trees, { program: ["sh", "-c", TREE], killGraceMs: KILL_GRACE_MS });
  daemon = await startDaemon(trees);
  const late: number[] = [];
  for (let i = 0; i < CANCELS; i += CANCELS_AT_ONCE) late.push(...(await cancelTrees(daemon, trees)));
  await daemon.stop();
  const others = watch();
  const row = (rest: Omit<Row, "ratio" | "others" | "reference">, reference: Row["reference"] = null): Row => ({
    ...rest,
    reference,
    ratio: null,
    others,
  });
  const slowest: Sample = sampleOf([Math.max(...late)]);
  return [
    row({
      measure: "1,000 programs followed: processor",
      unit: "%",
      figure: sampleOf([share]),
      target: { of: "figure", at: "most", value: 10 },
      boundedBy: `of one core, over ${WATCH_MS / 1000} s; programs that write nothing`,
    }),
    row({
      measure: "1,000 programs followed: memory more than with none",
      unit: "MB",
      figure: sampleOf([followedMb]),
      target: { of: "figure", at: "most", value: 150 },
      boundedBy: "",
    }),
    row({
      measure: "kill -9 and start with 500 programs running",
      unit: "ms",
      figure: sampleOf(restarts),
      target: { of: "figure", at: "most", value: 1000 },
      boundedBy: "all 500 were found again: each was stopped afterwards",
    }),
    row(
      {
        measure: "cancel, until nothing of a tree is left, over its grace: slowest of 100",
        unit: "ms",
        figure: slowest,
        target: { of: "figure", at: "most", value: 1000 },
        boundedBy: `${CANCELS_AT_ONCE} at once; a program, a helper and one that left its session, none of which heeds TERM`,
      },
      { ...sampleOf(late), what: "all 100" },
    ),
  ];
};

async function startAll(daemon: StartedProgram, count: number): Promise<readonly Session[]> {
  const connection = new Connection(daemon.url);
  for (let i = 0; i < count; i++)
    await call(connection, requestText("POST", "/api/tasks", { ...NEW_TASK, assignee: WORKER }), 201);
  await call(connection, requestText("POST", "/api/orchestrate", { limit: count }), 200);
  connection.close();
  return until(daemon, `${count} programs run`, (sessions) => {
    const running = sessions.filter(({ status, pid }) => status === "running" && pid !== undefined);
    return running.length === count && running;
  });
}

async function cancelAll(daemon: StartedProgram, count: number): Promise<void> {
  const sessions = (await activeSessions(daemon)).slice(0, count);
  const pids = sessions.map(({ pid }) => pid ?? 0);
  await cancel(daemon, sessions);
  const ids = new Set(sessions.map(({ id }) => id));
  await until(daemon, `${count} are gone`, (active) => !active.some(({ id }) => ids.has(id)));
  const left = pids.filter(isThere);
  if (sessions.length !== count || left.length > 0)
    throw new Error(`${count} were to be stopped: ${sessions.length} were there, ${left.length} are left`);
}

async function cancelTrees(daemon: StartedProgram, data: string): Promise<readonly number[]> {
  const sessions = await startAll(daemon, CANCELS_AT_ONCE);
  const trees = await Promise.all(sessions.map(({ id }) => treeOf(join(data, "runs", id, "stdout.log"))));
  const startedAt = performance.now();
  await cancel(daemon, sessions);
  const late = await Promise.all(
    trees.map(async (pids) => {
      while (pids.some(isThere)) {
        if (performance.now() - startedAt > LIMIT_MS) throw new Error("a tree was not ended");
        await wait(5);
      }
      return performance.now() - startedAt - KILL_GRACE_MS;
    }),
  );
  await until(daemon, "their sessions are over", (active) => active.length === 0);
  return late;
}

async function treeOf(log: string): Promise<readonly number[]> {
  for (const limit = performance.now() + LIMIT_MS; performance.now() < limit; await wait(20)) {
    const pids = readFileSync(log, "latin1").trim().split(/\s+/).map(Number);
    if (pids.length === 3) return pids;
  }
  throw new Error("a tree was not started");
}

async function cancel(daemon: StartedProgram, sessions: readonly Session[]): Promise<void> {
  const connection = new Connection(daemon.url);
  for (const { id } of sessions) await call(connection, requestText("POST", `/api/sessions/${id}/cancel`), 202);
  connection.close();
}

async function activeSessions({ url }: StartedProgram): Promise<readonly Session[]> {
  const answer = await fetch(`${url}/api/orchestrate`);
  return ((await answer.json()) as { activeSessions: Session[] }).activeSessions;
}

async function until<T>(
  daemon: StartedProgram,
  what: string,
  look: (sessions: readonly Session[]) => T | false,
): Promise<T> {
  for (const limit = performance.now() + LIMIT_MS; performance.now() < limit; await wait(100)) {
    const found = look(await activeSessions(daemon));
    if (found !== false) return found;
  }
  throw new Error(`waited in vain until ${what}`);
}

/** A zombie is not: its parent has yet to look. */
function isThere(pid: number): boolean {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return !/^[ZX]/.test(stat.slice(stat.lastIndexOf(")") + 2));
  } catch {
    return false;
  }
}
