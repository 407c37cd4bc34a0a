/**
 * `npm run soak -- --minutes N`: one data directory under a steady load of tasks, callbacks, cancels and programs, while its daemon
 * is stopped and killed now and then. Says what grew between the first third and the last, and fails where something did that
 * must not, or where the daemon forgot what it acknowledged.
 */
import { lstatSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Acknowledged } from "../test/support/acknowledged.ts";
import { Client } from "../test/support/client.ts";
import { CROWD_AGENTS, Crowd, crowdSettings, HUMAN } from "../test/support/crowd.ts";
import { type DaemonProcess, Home } from "../test/support/daemon.ts";
import { chooseSeed, Random } from "../test/support/random.ts";
import { Witness } from "../test/support/witness.ts";
import { median } from "./bench/sample.ts";

const HELP = `npm run soak -- --minutes N [--seed S] [--rate R] [--lives N]

  --minutes N   how long (6), from 0.2 on
  --seed S      the same choices again
  --rate R      requests a second (150)
  --lives N     of the daemon, one after the other (6); 1: what a daemon keeps that is never restarted
`;

const CLIENTS = 6;
/** As many in the first third as in the last, of one length: so like is compared with like. */
const LIVES = 6;
/** Below, growth is only said: a daemon grows while it warms up. */
const VERDICT_FROM_MINUTES = 1;
const SAMPLE_MS = 1000;
const LINE_MS = 10_000;
/** Of each life, the share that is not sampled: a process that has just started grows. */
const WARM_UP = 0.25;

/** What is measured, and the growth from the first third to the last that is taken for none: a factor, and something on top. */
const MEASURES = {
  "resident memory, MB": { factor: 1.25, more: 16 },
  "open files": { factor: 1.25, more: 8 },
  // As many as its clients open at once, a check more than the load.
  sockets: { factor: 1.5, more: 20 },
  threads: { factor: 1, more: 2 },
  "child processes": { factor: 1.5, more: 6 },
  "state files": { factor: 1, more: 3 },
  "state files, KB": { factor: 1.5, more: 1024 },
  "journal/ files": { factor: 1, more: 2 },
  "journal/ KB": { factor: 1, more: 20_000 },
  // What is known to grow: the figures are said, and nothing fails.
  "orchestrator.json KB (answers, for 24 h)": null,
  "archive/ files (history)": null,
  "archive/ KB (history)": null,
  "runs/ entries (kept for historyDays)": null,
  "runs/ KB (kept for historyDays)": null,
} as const satisfies Record<string, { readonly factor: number; readonly more: number } | null>;
type Measure = keyof typeof MEASURES;
type Sample = Readonly<Record<Measure, number>>;

interface Options {
  readonly minutes: number;
  readonly seed: number;
  readonly rate: number;
  readonly lives: number;
}

async function soak(options: Options): Promise<number> {
  const teardowns: (() => Promise<void>)[] = [];
  const cleanUp = async () => {
    for (const teardown of teardowns.splice(0).reverse()) await teardown();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => void cleanUp().finally(() => process.exit(130)));
  try {
    const { minutes, seed, rate } = options;
    say(`${minutes} minutes, --seed ${seed}, ${rate} requests a second`);
    const home = new Home({ teardown: (handler) => teardowns.push(handler) });
    const { samples, wrong } = await live(home, options);
    const grown = report(samples);
    const growing = minutes < VERDICT_FROM_MINUTES ? [] : grown;
    if (grown.length > growing.length) say(`too short for a verdict: ${grown.join(", ")}`);
    for (const sentence of wrong.slice(0, 20)) say(`WRONG: ${sentence}`);
    say(
      growing.length + wrong.length === 0
        ? "flat: nothing grows that must not, and everything acknowledged was there"
        : `FAILED: ${[...growing.map((measure) => `${measure} grows`), ...(wrong.length > 0 ? ["an invariant broke"] : [])].join("; ")} (--seed ${seed})`,
    );
    return growing.length + wrong.length === 0 ? 0 : 1;
  } finally {
    await cleanUp();
  }
}

async function live(home: Home, { minutes, seed, rate, lives }: Options) {
  const random = new Random(seed);
  const slots = new Map<string, number>(CROWD_AGENTS.map(({ name, maxConcurrent }) => [name, maxConcurrent]));
  const witness = new Witness(home, slots);
  home.configure({ ...crowdSettings(witness.command), historyDays: 1 });
  const record = new Acknowledged({ human: HUMAN, slots, witness });
  const crowd = new Crowd(record, CROWD_AGENTS, { seed, size: CLIENTS });
  const pace = new Pace(rate);
  const samples: Sample[] = [];
  const lifeMs = (minutes * 60_000) / lives;
  const beganAt = performance.now();
  let lineAt = beganAt;

  for (let life = 1; life <= lives && record.wrong.length === 0; life++) {
    const daemon = await home.start();
    const api = new PacedClient(daemon.url, pace);
    await crowd.settle(daemon.client);
    await record.check(daemon.client, { all: false });
    const { ended } = crowd.work(api);
    await watch(daemon, beganAt + life * lifeMs);
    const isLast = life === lives;
    const how = isLast || random.chance(0.5) ? "SIGTERM" : "SIGKILL";
    crowd.interrupt();
    if (isLast) await ended.then(() => finish(daemon));
    const { code, signal } = await (how === "SIGTERM" ? daemon.stop() : daemon.kill());
    if (how === "SIGTERM" && code !== 0) record.wrong.push(`SIGTERM ended it with ${code ?? signal}`);
    await ended;
    say(`life ${life} of ${lives} ended by ${how}`);
  }
  return { samples, wrong: record.wrong };

  /** Samples until then, but for the life's beginning. */
  async function watch({ pid }: DaemonProcess, until: number): Promise<void> {
    const from = performance.now() + (until - performance.now()) * WARM_UP;
    while (performance.now() < until && record.wrong.length === 0) {
      await pause(Math.min(SAMPLE_MS, Math.max(until - performance.now(), 1)));
      const sample = sampleOf(pid, home.data);
      if (performance.now() >= from) samples.push(sample);
      if (performance.now() < lineAt + LINE_MS) continue;
      lineAt = performance.now();
      const figures = ["resident memory, MB", "open files", "threads", "child processes", "journal/ files"] as const;
      const { acknowledged, refused, unknown } = crowd.counts;
      say(
        `${Math.round((performance.now() - beganAt) / 1000)} s: ${figures.map((name) => `${name} ${sample[name].toFixed(0)}`).join(" · ")}; ` +
          `${acknowledged} acknowledged, ${refused} refused, ${unknown} unknown, ${record.sessions.size} sessions, ${witness.runs.size} programs`,
      );
    }
  }

  /** All comes to rest, and everything is compared. */
  async function finish({ client }: DaemonProcess): Promise<void> {
    await crowd.settle(client);
    await crowd.finish(client);
    const isOver = async () => (await client.status()).activeSessions.length === 0;
    if (!(await isOver())) await client.until("the end of all sessions", isOver);
    await record.check(client, { all: true });
    record.wrong.push(
      ...witness.open.map((id) => `the program of ${id} never ended`),
      ...home.livingRuns().map((run) => `left over: ${run}`),
    );
    say(`${record.compared} comparisons, ${record.sessions.size} sessions, ${witness.runs.size} programs`);
  }
}

/** So many requests a second, of all clients together. */
class Pace {
  readonly #everyMs: number;
  #next = 0;

  constructor(rate: number) {
    this.#everyMs = 1000 / rate;
  }

  async turn(): Promise<void> {
    const now = performance.now();
    this.#next = Math.max(this.#next + this.#everyMs, now);
    await pause(this.#next - now);
  }
}

class PacedClient extends Client {
  readonly #pace: Pace;

  constructor(url: string, pace: Pace) {
    super(url);
    this.#pace = pace;
  }

  override async send<T>(...request: Parameters<Client["send"]>) {
    await this.#pace.turn();
    return super.send<T>(...request);
  }
}

function sampleOf(pid: number, data: string): Sample {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const field = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, "m").exec(status)?.[1]);
  const files = readdirSync(`/proc/${pid}/fd`).map((fd) => readlinkIfThere(`/proc/${pid}/fd/${fd}`));
  const sockets = files.filter((file) => file.startsWith("socket:")).length;
  const stateFiles = folderOf(data, { deep: false });
  const answers = folderOf(join(data, "orchestrator.json"));
  const [journal, archive, runs] = ["journal", "archive", "runs"].map((name) => folderOf(join(data, name)));
  return {
    "resident memory, MB": field("VmRSS") / 1024,
    "open files": files.length - sockets,
    sockets,
    threads: field("Threads"),
    "child processes": childrenOf(pid),
    "state files": stateFiles.files,
    "state files, KB": stateFiles.kb - answers.kb,
    "journal/ files": journal?.files ?? 0,
    "journal/ KB": journal?.kb ?? 0,
    "orchestrator.json KB (answers, for 24 h)": answers.kb,
    "archive/ files (history)": archive?.files ?? 0,
    "archive/ KB (history)": archive?.kb ?? 0,
    "runs/ entries (kept for historyDays)": readdirSync(join(data, "runs")).length,
    "runs/ KB (kept for historyDays)": runs?.kb ?? 0,
  };
}

/** Those that nobody waited for among them. */
function childrenOf(pid: number): number {
  return readdirSync("/proc").filter((name) => {
    if (!/^\d+$/.test(name)) return false;
    const stat = readIfThere(`/proc/${name}/stat`);
    // After the name in parentheses, which may hold blanks: the state, then the parent.
    return stat !== null && Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]) === pid;
  }).length;
}

/** All files in it, or the file itself. They come and go meanwhile. */
function folderOf(path: string, { deep = true } = {}): { readonly files: number; readonly kb: number } {
  let files = 0;
  let bytes = 0;
  const add = (each: string, level: number): void => {
    const stats = lstatSync(each, { throwIfNoEntry: false });
    if (stats === undefined) return;
    if (!stats.isDirectory()) {
      files++;
      bytes += stats.size;
    } else if (level === 0 || deep) {
      for (const name of readdirIfThere(each)) add(join(each, name), level + 1);
    }
  };
  add(path, 0);
  return { files, kb: bytes / 1024 };
}

function readdirIfThere(path: string): readonly string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

function readlinkIfThere(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return null;
  }
}

/** The table; returns what grows. */
function report(samples: readonly Sample[]): readonly Measure[] {
  const third = Math.floor(samples.length / 3);
  const growing: Measure[] = [];
  const rows = (Object.keys(MEASURES) as Measure[]).map((name) => {
    const [first, last] = [samples.slice(0, third), samples.slice(-third)].map((some) =>
      median(some.map((sample) => sample[name])),
    ) as [number, number];
    const allowed = MEASURES[name];
    const limit = allowed === null ? null : first * allowed.factor + allowed.more;
    // Without samples neither is a number, and that is no verdict.
    const grows = limit !== null && !(last <= limit);
    if (grows) growing.push(name);
    return [
      name,
      first.toFixed(1),
      last.toFixed(1),
      limit === null ? "" : limit.toFixed(1),
      allowed === null ? "known" : grows ? "GROWS" : "flat",
    ];
  });
  const lines = [["median of", "first third", "last third", "may be", ""], ...rows];
  const widths = [0, 1, 2, 3, 4].map((column) => Math.max(...lines.map((cells) => cells[column]?.length ?? 0)));
  const text = lines.map((cells) =>
    cells
      .map((cell, i) => (i === 0 || i === 4 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0)))
      .join("  "),
  );
  process.stdout.write(
    `\n${text.map((line) => line.trimEnd()).join("\n")}\n\n${samples.length} samples. May be: a factor of the first third and something on top.\n`,
  );
  return growing;
}

function say(line: string): void {
  process.stdout.write(`soak: ${line}\n`);
}

function optionsOf(args: readonly string[]): Options | string {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: {
        minutes: { type: "string" },
        seed: { type: "string" },
        rate: { type: "string" },
        lives: { type: "string" },
        help: { type: "boolean", short: "h" },
      },
    });
    if (values.help === true) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    const minutes = Number(values.minutes ?? 6);
    if (!(minutes >= 0.2 && minutes <= 24 * 60))
      return `--minutes ${values.minutes}: wanted is a number from 0.2 to 1440`;
    const rate = Number(values.rate ?? 150);
    if (!(rate >= 1 && rate <= 10_000)) return `--rate ${values.rate}: wanted is a number from 1 to 10000`;
    const lives = Number(values.lives ?? LIVES);
    if (!Number.isInteger(lives) || lives < 1) return `--lives ${values.lives}: wanted is a whole number from 1 on`;
    const seed = values.seed === undefined ? chooseSeed() : Number(values.seed);
    if (!Number.isSafeInteger(seed)) return `--seed ${values.seed}: wanted is a whole number`;
    return { minutes, seed, rate, lives };
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

const options = optionsOf(process.argv.slice(2));
if (typeof options === "string") {
  process.stderr.write(`${options}\n\n${HELP}`);
  process.exit(2);
}
process.exitCode = await soak(options);
