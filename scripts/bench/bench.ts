/**
 * `npm run bench`: measures the daemon as a process of its own and prints a table. Each figure stands beside a reference that was
 * measured in the same run, in turn with it, so that a busy machine slows down both.
 */
import { mkdtempSync, rmSync, statfsSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { syncMs } from "./disk.ts";
import type { Workbench } from "./measure.ts";
import { firstInstruction } from "./measures/first-instruction.ts";
import { flow } from "./measures/flow.ts";
import { history } from "./measures/history.ts";
import { loopDelay } from "./measures/loop-delay.ts";
import { memory } from "./measures/memory.ts";
import { runs } from "./measures/runs.ts";
import { start } from "./measures/start.ts";
import { status } from "./measures/status.ts";
import { writes } from "./measures/writes.ts";
import { killAll } from "./programs.ts";
import { isReached, type Row } from "./row.ts";
import { table } from "./table.ts";

const MEASURES = {
  start,
  memory,
  "first-instruction": firstInstruction,
  writes,
  status,
  flow,
  "loop-delay": loopDelay,
  history,
  runs,
};
type Name = keyof typeof MEASURES;

const HELP = `npm run bench [-- --only NAME] [--seconds N] [--json]

  --only NAME   one of ${Object.keys(MEASURES).join(", ")}; may be given again
  --seconds N   how long each round of load lasts (2)
  --json        the rows as JSON instead of a table
`;
const LEGEND = `Medians of rounds that take turns, with the lowest and the highest in parentheses; ratio: round by round, figure to reference.
`;
/** The kind of file system, as statfs tells it. */
const TMPFS = 0x01021994;
/** A bench that hangs is ended. */
const LIMIT_MS = 15 * 60_000;

const options = optionsOf(process.argv.slice(2));
if (typeof options === "string") {
  process.stderr.write(`${options}\n\n${HELP}`);
  process.exit(2);
}
process.exitCode = await bench(options);

interface Options {
  readonly only: readonly Name[];
  readonly seconds: number;
  readonly json: boolean;
}

async function bench({ only, seconds, json }: Options): Promise<number> {
  const directory = mkdtempSync(join(tmpdir(), "jarvis-bench-"));
  const cleanUp = () => {
    killAll();
    rmSync(directory, { recursive: true, force: true });
  };
  const giveUp = (why: string) => {
    cleanUp();
    process.stderr.write(`bench: ${why}\n`);
    process.exit(1);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.once(signal, () => giveUp(signal));
  const limit = setTimeout(() => giveUp(`not done after ${LIMIT_MS / 60_000} minutes`), LIMIT_MS);
  const startedAt = performance.now();
  const rows: Row[] = [];
  try {
    const machine = machineOf(directory);
    for (const name of only) {
      const place = join(directory, name);
      const workbench: Workbench = { seconds, directory: (part) => `${place}-${part}`, say };
      say(`${name} ...`);
      rows.push(...(await MEASURES[name](workbench)));
      killAll();
    }
    const tookMs = Math.round(performance.now() - startedAt);
    if (json)
      process.stdout.write(
        `${JSON.stringify({ machine, tookMs, rows: rows.map((row) => ({ ...row, ok: isReached(row) })) }, null, 2)}\n`,
      );
    else process.stdout.write(`${machine}\n\n${table(rows)}\n\n${LEGEND}Took ${Math.round(tookMs / 1000)} s.\n`);
    return 0;
  } finally {
    clearTimeout(limit);
    cleanUp();
  }
}

/** In general words. */
function machineOf(directory: string): string {
  const inMemory =
    statfsSync(directory).type === TMPFS
      ? " IN MEMORY, so syncing costs nothing: set TMPDIR to a directory on a disk"
      : "";
  const sync = syncMs(join(directory, "sync")).toFixed(2);
  return `${cpus().length} cores, Node ${process.versions.node}, ${process.platform}; an append of 4 KiB with fdatasync takes ${sync} ms (p50)${inMemory}`;
}

/** While it runs: not part of the table. */
function say(line: string): void {
  process.stderr.write(`bench: ${line}\n`);
}

function optionsOf(args: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        only: { type: "string", multiple: true },
        seconds: { type: "string" },
        json: { type: "boolean" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help === true) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    const names = Object.keys(MEASURES) as Name[];
    const unknown = values.only?.find((name) => !names.includes(name as Name));
    if (unknown !== undefined) return `--only ${unknown}: there is no such measure`;
    const seconds = Number(values.seconds ?? 2);
    if (!(seconds >= 0.2 && seconds <= 60)) return `--seconds ${values.seconds}: wanted is a number from 0.2 to 60`;
    return { only: names.filter((name) => values.only?.includes(name) ?? true), seconds, json: values.json === true };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}
