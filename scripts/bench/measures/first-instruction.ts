/** One POST that dispatches, until the agent's program does its first instruction, against a bare `spawn` of the same program. */
import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { closeSync, constants, openSync } from "node:fs";
import { Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Connection, call, requestText } from "../connection.ts";
import type { Measure } from "../measure.ts";
import { startDaemon } from "../programs.ts";
import { sampleOf } from "../sample.ts";
import { emptyDirectory } from "../seed.ts";
import { watchForeign } from "../shares.ts";
import { NEW_TASK, WORKER } from "../workload.ts";

const PAIRS = 40;
const WARM_UP = 5;
/** Between two starts: the last one's processes are gone, and its end is written down. */
const QUIET_MS = 120;
const SPAWNER = fileURLToPath(new URL("../bare-spawn.mjs", import.meta.url));

export const firstInstruction: Measure = async ({ directory }) => {
  const data = directory("data");
  const pipe = directory("pipe");
  // The program is a shell whose first command writes to a named pipe that is read here: a shell is there at once, and a pipe
  // tells at once, where a file's time may be some ms coarse.
  execFileSync("mkfifo", [pipe]);
  const program = ["/bin/sh", "-c", 'echo >"$0"', pipe];
  emptyDirectory(data, { program });
  const signs = new Signs(pipe);
  const spawner = fork(SPAWNER, { stdio: "inherit", execArgv: [] });
  try {
    await once(spawner, "message");
    const daemon = await startDaemon(data);
    const connection = new Connection(daemon.url);
    const foreign = watchForeign();
    const tookMs: number[] = [];
    const answeredMs: number[] = [];
    const bareMs: number[] = [];
    for (let i = 0; i < WARM_UP + PAIRS; i++) {
      await call(connection, requestText("POST", "/api/tasks", { ...NEW_TASK, assignee: WORKER }), 201);
      await wait(QUIET_MS);
      const dispatched = await dispatchOne(connection, signs);
      await wait(QUIET_MS);
      const bare = await spawnBare(spawner, program, signs);
      if (i < WARM_UP) continue;
      tookMs.push(dispatched.tookMs);
      answeredMs.push(dispatched.answeredMs);
      bareMs.push(bare);
    }
    connection.close();
    const others = foreign();
    await daemon.stop();
    const answered = sampleOf(answeredMs).median;
    return [
      {
        measure: "POST that dispatches, to the agent's first instruction",
        unit: "ms",
        figure: sampleOf(tookMs),
        reference: { ...sampleOf(bareMs), what: "bare spawn" },
        ratio: sampleOf(tookMs.map((ms, i) => ms / (bareMs[i] ?? Number.NaN))),
        target: { of: "difference", at: "most", value: 10 },
        boundedBy: `on disk and answered after ${answered.toFixed(1)} ms (p50), then the wrapper's processes`,
        others,
      },
    ];
  } finally {
    spawner.kill("SIGKILL");
    signs.close();
  }
};

async function dispatchOne(connection: Connection, signs: Signs): Promise<{ tookMs: number; answeredMs: number }> {
  const sign = signs.next();
  const startedAt = process.hrtime.bigint();
  const answer = await call<{ dispatched: readonly unknown[] }>(
    connection,
    requestText("POST", "/api/orchestrate"),
    200,
  );
  const answeredAt = process.hrtime.bigint();
  if (answer.dispatched.length !== 1) throw new Error(`one task was to be dispatched, not ${answer.dispatched.length}`);
  return { tookMs: ms(startedAt, await sign), answeredMs: ms(startedAt, answeredAt) };
}

async function spawnBare(spawner: ChildProcess, program: readonly string[], signs: Signs): Promise<number> {
  const sign = signs.next();
  const startedAt = once(spawner, "message");
  spawner.send(program);
  return ms(BigInt((await startedAt)[0] as string), await sign);
}

function ms(from: bigint, to: bigint): number {
  return Number(to - from) / 1e6;
}

const SIGN_LIMIT_MS = 5000;

/** What arrives in the pipe, by the clock that all processes share. */
class Signs {
  readonly #writer: number;
  readonly #reader: Socket;
  #waiting: ((at: bigint) => void) | null = null;

  constructor(pipe: string) {
    const reader = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
    // As long as somebody could write, it does not end.
    this.#writer = openSync(pipe, constants.O_WRONLY);
    this.#reader = new Socket({ fd: reader, readable: true, writable: false });
    this.#reader.on("data", () => {
      this.#waiting?.(process.hrtime.bigint());
      this.#waiting = null;
    });
  }

  async next(): Promise<bigint> {
    let limit: NodeJS.Timeout | undefined;
    try {
      return await new Promise<bigint>((resolve, reject) => {
        this.#waiting = resolve;
        limit = setTimeout(() => reject(new Error("the program did not start")), SIGN_LIMIT_MS);
      });
    } finally {
      clearTimeout(limit);
    }
  }

  close(): void {
    this.#reader.destroy();
    closeSync(this.#writer);
  }
}
