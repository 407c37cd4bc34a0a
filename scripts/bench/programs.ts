/** The programs under test, each a process of its own: started, paused while another has its turn, ended by their pid. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const DAEMON = fileURLToPath(new URL("../../dist/cli.js", import.meta.url));
const BARE = fileURLToPath(new URL("bare.ts", import.meta.url));
const LOOP_DELAY = new URL("loop-delay.mjs", import.meta.url).href;
const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 30_000;

const running = new Set<Program>();

/** Processor time that all of them took so far, in seconds; 0 where the system does not tell. */
export function cpuSecondsOfAll(): number {
  return [...running].reduce((sum, program) => sum + (program.cpu()?.all ?? 0), 0);
}

/** Whatever happens, nothing that was started is left behind. */
export function killAll(): void {
  for (const program of running) program.process.kill("SIGKILL");
}

export interface StartedProgram extends Program {
  readonly url: string;
  /** From its start to "listening". */
  readonly startMs: number;
}

export interface DaemonOptions {
  /** Where it writes its event loop's delay on SIGUSR2. */
  readonly loopDelayFile?: string;
  /** More options for node. */
  readonly nodeOptions?: readonly string[];
}

export function startDaemon(
  data: string,
  { loopDelayFile, nodeOptions = [] }: DaemonOptions = {},
): Promise<StartedProgram> {
  const watched = loopDelayFile === undefined ? [] : ["--import", LOOP_DELAY];
  const args = [...watched, ...nodeOptions, DAEMON, "serve", "--data", data, "--port", "0"];
  return start(args, loopDelayFile === undefined ? {} : { BENCH_LOOP_DELAY: loopDelayFile });
}

export function startBare({ loopDelayFile }: Pick<DaemonOptions, "loopDelayFile"> = {}): Promise<StartedProgram> {
  const watched = loopDelayFile === undefined ? [] : ["--import", LOOP_DELAY];
  return start(
    [...watched, "--import", "tsx", BARE],
    loopDelayFile === undefined ? {} : { BENCH_LOOP_DELAY: loopDelayFile },
  );
}

async function start(args: readonly string[], more: Readonly<Record<string, string>>): Promise<StartedProgram> {
  const startedAt = performance.now();
  const process_ = spawn(process.execPath, args, {
    env: { ...environment(), ...more },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const program = new Program(process_);
  const limit = setTimeout(() => process_.kill("SIGKILL"), START_LIMIT_MS);
  try {
    for await (const line of createInterface({ input: process_.stdout })) {
      const { msg, url } = JSON.parse(line) as { msg?: string; url?: string };
      if (msg !== "listening" || url === undefined) continue;
      const startMs = performance.now() - startedAt;
      process_.stdout.resume();
      return Object.assign(program, { url, startMs });
    }
  } finally {
    clearTimeout(limit);
  }
  throw new Error(`it did not start: node ${args.join(" ")}`);
}

/** Without the settings of a daemon that is in use on this machine. */
function environment(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("JARVIS_")));
}

export class Program {
  readonly process: ChildProcess;
  readonly #ended: Promise<void>;

  constructor(child: ChildProcess) {
    this.process = child;
    running.add(this);
    this.#ended = new Promise((resolve) => {
      child.once("exit", () => {
        running.delete(this);
        resolve();
      });
    });
  }

  get pid(): number {
    if (this.process.pid === undefined) throw new Error("the program did not start");
    return this.process.pid;
  }

  /** What it still has to do waits: another program has the machine. */
  pause(): void {
    this.process.kill("SIGSTOP");
  }

  resume(): void {
    this.process.kill("SIGCONT");
  }

  /** Lets it end by itself. */
  async stop(): Promise<void> {
    this.resume();
    this.process.kill("SIGTERM");
    const limit = setTimeout(() => this.process.kill("SIGKILL"), STOP_LIMIT_MS);
    await this.#ended;
    clearTimeout(limit);
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.#ended;
  }

  /** Resident memory in MB. */
  rssMb(): number {
    return Number(execFileSync("ps", ["-o", "rss=", "-p", String(this.pid)], { encoding: "utf8" })) / 1024;
  }

  /** Seconds of processor time of its main thread and of all its threads; `null` where the system does not tell. */
  cpu(): { readonly main: number; readonly all: number } | null {
    try {
      return { main: cpuSeconds(`/proc/${this.pid}/task/${this.pid}/stat`), all: cpuSeconds(`/proc/${this.pid}/stat`) };
    } catch {
      return null;
    }
  }
}

const TICKS_PER_SECOND = 100;

function cpuSeconds(file: string): number {
  const stat = readFileSync(file, "latin1");
  // After the name in parentheses, which may hold blanks: state is the first, utime the 12th, stime the 13th.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
}
