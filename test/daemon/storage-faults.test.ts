/**
 * The disk fails under the daemon as its user has it. strace makes one call of the process fail, or kills the process at it, for
 * every such call of a fixed life: its commits, its checkpoint, what it archives. Then a disk that is really full, one that
 * takes no writes for a while, and files that were damaged by hand.
 */
import { execFileSync, spawnSync } from "node:child_process";
import {
  closeSync,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { pino } from "pino";
import t, { type Test } from "tap";
import type { Session, TaskWithHistory } from "../../src/api/session.ts";
import { composeDaemon } from "../../src/compose.ts";
import { loadConfig } from "../../src/config/load.ts";
import { emptyState } from "../../src/core/state.ts";
import { transition } from "../../src/core/transition.ts";
import { realClock } from "../../src/dispatcher/clock.ts";
import { openDataDirectory } from "../../src/journal/data-directory.ts";
import { openFileJournal } from "../../src/journal/file-journal.ts";
import { decodeSegmentLine, isFrame } from "../../src/journal/segment.ts";
import { readStateFile } from "../../src/journal/state-file.ts";
import { StateFileWriter } from "../../src/journal/state-file-writer.ts";
import { STATE_FILES, snapshotOf } from "../../src/journal/stores.ts";
import { aTask } from "../core/world.ts";
import { type Answer, Client, type Dispatch, type Problem } from "../support/client.ts";
import { type DaemonProcess, Home } from "../support/daemon.ts";

t.setTimeout(600_000);
// Much of each is waiting.
t.jobs = 4;

/**
 * Each error at each call, where the default takes the two in turns; and lives that end at an fsync. Those leave what one leaves
 * that ends at the write or rename after it: a process that is killed takes nothing along that the system has.
 */
const ALL_FAULTS = process.env.JARVIS_TEST_FAULTS === "all";
/** Lives at once: part of their time is spent waiting, more of it where they have to recover. */
const LANES = { killed: 3, failed: 4 } as const;
/** Of one thing to come about, on a machine that is busy with other things. */
const PATIENCE_MS = 30_000;
const DAY_MS = 24 * 60 * 60 * 1000;

const CALLS = ["fdatasync", "pwrite64", "fsync", "rename"] as const;
type Call = (typeof CALLS)[number];

/**
 * So many calls after a failed one the next fails, so that one life meets several faults. No fewer than what has to succeed in one
 * go: a base copy syncs nine files and directories.
 */
const STEPS = { fdatasync: 4, pwrite64: 8, fsync: 13, rename: 6 } as const satisfies Record<Call, number>;

const SETTINGS = {
  humans: ["diego"],
  // The shortest: so that the oldest segment goes, and a base copy comes before.
  historyDays: 1,
  agents: {
    claude: { adapter: "spawn", via: "heartbeat", maxConcurrent: 3 },
    gemini: { enabled: false },
    copilot: { enabled: false },
  },
};

const OLD = ["old-1", "old-2", "old-3"];

/**
 * What every life begins with: done tasks that are due for the archive, three segments, the first of them past its time, and
 * state files that are behind. So the first checkpoint writes them all, moves a segment, makes a base copy and deletes a segment.
 */
async function makeTemplate(path: string): Promise<void> {
  const log = pino({ level: "silent" });
  const onLost = (error: Error) => t.fail(error.message);
  const directory = await openDataDirectory(path, { stateFiles: STATE_FILES, clock: realClock, log, onLost });
  const at = Date.now() - 40 * DAY_MS;
  const options = { directory: path, dataId: directory.id, now: () => at, log, segmentBytesMax: 1 };
  const journal = await openFileJournal(options);
  const state = emptyState();
  for (const [index, id] of OLD.entries()) {
    const task = aTask({ id, title: `title of ${id}`, status: "done", createdAt: at, updatedAt: at });
    const event = { type: "task.created", at, task } as const;
    await journal.append(index + 1, [event]);
    transition(state, { seq: index + 1, event });
    if (index > 0) continue;
    for (const name of STATE_FILES)
      await new StateFileWriter({ directory: path, name, dataId: directory.id }).write(snapshotOf(name, state));
  }
  await journal.archiveThrough(1);
  await journal.close();
  await directory.close();
  for (const name of readdirSync(join(path, "archive/journal")))
    utimesSync(join(path, "archive/journal", name), at / 1000, at / 1000);
  writeFileSync(join(path, "config.json"), JSON.stringify(SETTINGS));
}

/** All that a client sees, without what chance and time decide. */
interface View {
  readonly made: object | null;
  readonly sessions: readonly object[];
  readonly locks: readonly (readonly string[])[];
  readonly counts: object | undefined;
  readonly old: readonly string[];
}

async function look(api: Client): Promise<View> {
  const made = await api.send<TaskWithHistory>("GET", "/api/tasks/made");
  const sessions = await api.all<Session>("sessions");
  const locks = await api.all<{ paths: string[] }>("locks");
  const old = await Promise.all(OLD.map((id) => api.task(id)));
  const { metrics, activeSessions } = await api.status();
  const { title, description, status, version, attempts, comments = [] } = made.body;
  return {
    made:
      made.status === 404
        ? null
        : {
            ...{ title, description, status, version, attempts },
            comments: comments.map(({ author, content }) => `${author}: ${content}`),
          },
    sessions: sessions.map(({ taskId, status, result, sessionKey }) => ({ taskId, status, result, sessionKey })),
    locks: [...locks.map(({ paths }) => paths), ...activeSessions.map((session) => session.locks)],
    counts: metrics.byAgent["claude"],
    old: old.map(({ id, title, status }) => `${id} ${title} ${status}`),
  };
}

/** What a client is told on its way, which it needs for what comes next. */
interface Told {
  sessionId?: string;
  token?: string;
}

interface Step {
  readonly what: string;
  /** Asked again, it does the same and no more. */
  readonly ask: (api: Client, told: Told) => Promise<Answer<unknown>>;
}

const callback = (api: Client, { sessionId, token }: Told, report: object) =>
  api.send(
    "PUT",
    "/api/orchestrate",
    { taskId: "made", sessionId, sessionKey: "key", ...report },
    {
      authorization: `Bearer ${token}`,
    },
  );

const STEPS_OF_A_LIFE: readonly Step[] = [
  {
    what: "task",
    ask: (api) =>
      api.send(
        "POST",
        "/api/tasks",
        { id: "made", title: "first", description: "first", assignee: "claude", files: ["src/**"] },
        { "idempotency-key": "make" },
      ),
  },
  {
    what: "patch",
    ask: (api) => api.send("PATCH", "/api/tasks/made", { title: "second", description: "second" }),
  },
  {
    what: "comment",
    ask: (api) =>
      api.send(
        "POST",
        "/api/tasks/made/comments",
        { author: "diego", content: "look" },
        { "idempotency-key": "comment" },
      ),
  },
  {
    what: "dispatch",
    async ask(api, told) {
      const answer = await api.send<Dispatch>(
        "POST",
        "/api/orchestrate",
        { limit: 1 },
        { "idempotency-key": "dispatch" },
      );
      const [one] = answer.body.dispatched ?? [];
      const token = /Authorization: Bearer ([^']+)'/.exec(one?.spawn?.args.task ?? "")?.[1];
      if (one !== undefined && token !== undefined) Object.assign(told, { sessionId: one.sessionId, token });
      return answer;
    },
  },
  { what: "claim", ask: (api, told) => callback(api, told, { status: "running", progress: "at work" }) },
  { what: "report", ask: (api, told) => callback(api, told, { status: "completed", result: "the result" }) },
];

/** One life: which of its steps were acknowledged, what was seen on the way, and what was wrong with it. */
class Life {
  readonly wrong: string[] = [];
  readonly counts = { refused: 0, red: 0 };
  /** Steps that were answered 2xx. */
  acknowledged = 0;
  /** What is seen after each step; `null`: this very life finds out. */
  readonly #views: readonly View[] | null;
  readonly views: View[] = [];
  readonly #data: string;
  readonly #told: Told = {};
  #over = false;

  constructor({ data }: Home, daemon: DaemonProcess, views: readonly View[] | null) {
    this.#data = data;
    this.#views = views;
    void daemon.exited.then(() => {
      this.#over = true;
    });
  }

  /** Rejects where the daemon dies on the way. */
  async live(api: Client, { history = true }: { readonly history?: boolean } = {}): Promise<void> {
    if (this.#views === null) this.views.push(await look(api));
    for (const step of STEPS_OF_A_LIFE) {
      await this.#take(api, step);
      this.acknowledged++;
      if (this.#views === null) this.views.push(await this.#calm(api));
    }
    await this.shows(api, "all was acknowledged");
    await this.#checkpointed(history);
    await this.shows(api, "after the checkpoint");
  }

  /** Until the daemon shows what was acknowledged, and at most the one step that is unknown. */
  async shows(api: Client, when: string): Promise<void> {
    const allowed = [this.acknowledged, this.acknowledged + 1].map((n) => JSON.stringify(this.#views?.[n]));
    let last = "";
    // The end of a session, and what is archived, follow by themselves.
    for (const until = performance.now() + PATIENCE_MS; performance.now() < until; await pause(20)) {
      last = JSON.stringify(await look(api));
      if (this.#views === null || allowed.includes(last)) return;
    }
    this.wrong.push(`${when}, ${this.acknowledged} steps acknowledged: ${last}, wanted ${allowed.join(" or ")}`);
  }

  async #take(api: Client, { what, ask }: Step): Promise<void> {
    for (const until = performance.now() + PATIENCE_MS; performance.now() < until; ) {
      const answer = await ask(api, this.#told);
      if (answer.status < 300) return;
      const { code, outcome } = answer.body as Problem & { readonly outcome?: string };
      if (answer.status !== 503 || code !== "STORAGE_UNAVAILABLE" || outcome !== "unknown") {
        this.wrong.push(`${what}: ${answer.status} ${answer.text}`);
        return;
      }
      this.counts.refused++;
      if ((await api.send("GET", "/readyz")).status === 503) this.counts.red++;
      await this.#readsGoOn(api, what);
      await this.#ready(api);
    }
    this.wrong.push(`${what} was never acknowledged`);
  }

  /** What was refused is not shown. */
  async #readsGoOn(api: Client, what: string): Promise<void> {
    const made = await api.send<TaskWithHistory>("GET", "/api/tasks/made");
    const before = this.#views?.[this.acknowledged]?.made as { version: number } | null | undefined;
    if (before === undefined) return;
    const shown = made.status === 404 ? null : { version: made.body.version };
    const good = before === null ? shown === null : shown?.version === before.version;
    if (!good) this.wrong.push(`${what} was refused, and yet reads show ${made.text}`);
  }

  async #ready(api: Client): Promise<void> {
    for (const until = performance.now() + PATIENCE_MS; performance.now() < until; await pause(20))
      if ((await api.send("GET", "/readyz")).status === 200) return;
    this.wrong.push("it does not recover");
  }

  async #calm(api: Client): Promise<View> {
    for (;;) {
      const view = await look(api);
      await pause(TICK_MS);
      if (JSON.stringify(view) === JSON.stringify(await look(api))) return view;
    }
  }

  /**
   * All state files are whole at every moment, and in the end contain all. With `history` the segments before are in the archive
   * and the oldest is gone, too; without it they get a moment, for where tidying up failed it has the time until later.
   */
  async #checkpointed(history: boolean): Promise<void> {
    let missing: string[] = [];
    let momentUntil = Number.POSITIVE_INFINITY;
    for (const until = performance.now() + PATIENCE_MS; performance.now() < until; await pause(20)) {
      missing = await this.#missing();
      if (missing.length === 0 || performance.now() > momentUntil) return;
      if (this.#over) throw new Error("the daemon ended");
      const isKept = missing.every((what) => HISTORY.includes(what));
      if (isKept && !history) momentUntil = Math.min(momentUntil, performance.now() + MOMENT_MS);
    }
    this.wrong.push(`no checkpoint: ${missing.join(", ")}`);
  }

  async #missing(): Promise<string[]> {
    const dataId = readFileSync(join(this.#data, "id"), "utf8").trim();
    const texts = new Map<string, string>();
    for (const name of STATE_FILES) {
      try {
        texts.set(name, JSON.stringify((await readStateFile(join(this.#data, name), { dataId }))?.content));
      } catch (error) {
        this.wrong.push(`${name} was seen damaged: ${error}`);
      }
    }
    const has = (name: string, text: string) => texts.get(name)?.includes(text) === true;
    const names = (folder: string) =>
      existsSync(join(this.#data, folder)) ? readdirSync(join(this.#data, folder)) : [];
    const all: Record<string, boolean> = {
      "the report in tasks.json": has("tasks.json", "the result") && has("tasks.json", '"status":"done"'),
      "the old tasks gone from tasks.json": !has("tasks.json", "old-"),
      "the end in active-sessions.json": has("active-sessions.json", '"completed"'),
      "the count in orchestrator-metrics.json": has("orchestrator-metrics.json", '"completed":1'),
      "no lock in locks.json": has("locks.json", '"locks":[]'),
      "the answers in orchestrator.json": has("orchestrator.json", "dispatch"),
      [HISTORY[0]]: names("journal").filter((name) => name.endsWith(".jsonl")).length === 1,
      [HISTORY[1]]: names("archive/base").some((name) => name !== "begun"),
      [HISTORY[2]]: !names("archive/journal").includes("0000000000000001.jsonl"),
    };
    return Object.keys(all).filter((what) => all[what] === false);
  }
}

/** Tidying up follows the last state file at once. */
const MOMENT_MS = 1000;
const HISTORY: readonly [string, string, string] = ["one segment", "a base", "the oldest segment gone"];

/** The daemon looks at what is due by time so often. */
const TICK_MS = 250;

interface Fault {
  readonly call: Call;
  /** What happens at it. */
  readonly effect: "error=EIO" | "error=ENOSPC" | "signal=KILL";
  /** At which of them: as strace's `when`. */
  readonly when: string;
}

interface Line {
  readonly thread: string;
  readonly call: Call;
  /** The file, without what differs from life to life. */
  readonly file: string;
  /** As it was. */
  readonly path: string;
  readonly injected: boolean;
}

const seccomp = /--seccomp-bpf/.test(spawnSync("strace", ["--help"], { encoding: "utf8" }).stdout ?? "");
const reasonToSkip =
  spawnSync("strace", ["-V"]).status === 0
    ? undefined
    : process.env.CI === undefined
      ? "skipped: strace not installed"
      : undefined;

/** A data directory that lives again and again, each time from the template. */
class Lane {
  readonly home: Home;
  readonly #template: string;
  #lives = 0;

  constructor(t: Test, template: string) {
    this.home = new Home(t);
    this.#template = template;
  }

  /** Everything from the beginning. */
  reset(): void {
    rmSync(this.home.data, { recursive: true, force: true });
    cpSync(this.#template, this.home.data, { recursive: true, preserveTimestamps: true });
  }

  launch(fault: Fault | null): { daemon: DaemonProcess; trace: () => readonly Line[] } {
    const file = this.home.path(`trace-${++this.#lives}`);
    // -D: strace is the child, so that the daemon keeps the pid that was started and gets its signals.
    const strace = ["strace", "-D", "-f", "-y", "-qq", "-s", "0", "-e", "signal=none", "-o", file];
    // With the filter, strace sends no signal.
    const filter = seccomp && fault?.effect !== "signal=KILL" ? ["--seccomp-bpf"] : [];
    const through = [...strace, ...filter, "-e", `trace=${CALLS.join()}`];
    if (fault !== null) through.push("-e", `inject=${fault.call}:${fault.effect}:when=${fault.when}`);
    // strace counts by thread.
    const daemon = this.home.launch({ env: { UV_THREADPOOL_SIZE: "1" }, args: ["--port", "0"], through });
    return { daemon, trace: () => readTrace(file, this.home.data) };
  }
}

function readTrace(file: string, data: string): readonly Line[] {
  const lines: Line[] = [];
  for (const line of readFileSync(file, "latin1").split("\n")) {
    const [, thread = "", call, first = ""] = /^(\d+) +(\w+)\((?:\d+<)?("?[^">]*)/.exec(line) ?? [];
    if (!CALLS.includes(call as Call)) continue;
    const path = first.replace(/^"/, "").replace(`${data}/`, "").replace(data, ".");
    // In which order the state files are written differs from life to life, too.
    const shown = path
      .replace(/^[a-z-]+\.json\.\d+$/, "STATE.tmp")
      .replace(/begun\/.+/, "begun/STATE")
      .replace(/\d{16}(-\d+)?/, "SEQ");
    lines.push({ thread, call: call as Call, file: shown, path, injected: line.includes("(INJECTED)") });
  }
  return lines;
}

/** It listens, or it ended with status 1 and says why; `stuck`: it says why and does not end. */
async function startOf(daemon: DaemonProcess): Promise<"listening" | "ended" | "stuck"> {
  let over = false;
  const said = async () => {
    while (!over && !daemon.stderr.endsWith("\n")) await pause(20);
    if (!over) await pause(END_MS);
    return "stuck" as const;
  };
  const listening = daemon.listening.then(
    () => "listening" as const,
    () => new Promise<never>(() => {}),
  );
  const ended = daemon.exited.then(({ code }) => {
    if (code !== 1) throw new Error(`the start ended with ${code}: ${daemon.stderr}`);
    return "ended" as const;
  });
  return Promise.race([listening, ended, said()]).finally(() => {
    over = true;
  });
}

/** From a start's last word to its end. */
const END_MS = 3000;

/** Why the segments do not fit together; empty: they do. */
function wrongSegments(data: string): readonly string[] {
  const wrong: string[] = [];
  const files = new Map(
    ["archive/journal", "journal"].flatMap((folder) =>
      readdirSync(join(data, folder))
        .filter((name) => name.endsWith(".jsonl"))
        .map((name) => [name, join(data, folder, name)] as const),
    ),
  );
  for (const [name, path] of files) {
    const bytes = readFileSync(path);
    const header = decodeSegmentLine(bytes.subarray(0, bytes.indexOf("\n")));
    if (header === undefined || isFrame(header)) {
      wrong.push(`${name} has no header`);
      continue;
    }
    const before = files.get(header.continues?.segment ?? "");
    if (header.continues === undefined || before === undefined) continue;
    // What counts of the one before ends with a whole frame, and with the event before the first of this one.
    const valid = readFileSync(before).subarray(0, header.continues.bytes);
    const last = valid.subarray(valid.lastIndexOf("\n", valid.length - 2) + 1, -1);
    const line = decodeSegmentLine(last);
    const next = line === undefined ? Number.NaN : isFrame(line) ? line.seq + line.events.length : line.seq;
    if (valid.at(-1) !== 0x0a || next !== header.seq)
      wrong.push(
        `${name} continues ${header.continues.segment} at byte ${header.continues.bytes}, where ${next} is next`,
      );
  }
  return wrong;
}

/** A segment whose write or sync failed is never written or synced again. */
function writtenAfterFailure(trace: readonly Line[]): readonly string[] {
  const failed = new Set<string>();
  const wrong: string[] = [];
  for (const { call, path, file, injected } of trace) {
    if (!file.startsWith("journal/SEQ") || call === "rename") continue;
    if (failed.has(path)) wrong.push(`${call} of ${path} after a call for it failed`);
    if (injected) failed.add(path);
  }
  return wrong;
}

/** The daemon from its sources, in this process: it reads the directory as the real one does, at a tenth of the cost. */
async function restarted<T>(home: Home, use: (api: Client) => Promise<T>): Promise<T> {
  const { config } = loadConfig({ flags: { data: home.data, port: "0", logLevel: "silent" }, env: {}, cwd: home.data });
  const onLost = (error: Error) => t.fail(error.message);
  const daemon = await composeDaemon({ config, log: pino({ level: "silent" }), onLost });
  try {
    const url = await daemon.app.listen({ host: "127.0.0.1", port: 0 });
    daemon.start(url);
    return await use(new Client(url));
  } finally {
    await daemon.stop();
  }
}

async function restartedForReal<T>(home: Home, use: (api: Client) => Promise<T>): Promise<T> {
  const daemon = await home.start();
  try {
    return await use(daemon.client);
  } finally {
    await daemon.kill();
  }
}

/** Comments on one task, each large enough to be noticed by a disk that is full. */
class Comments {
  readonly acknowledged: string[] = [];
  readonly #api: Client;
  #numbers = 0;

  constructor(api: Client) {
    this.#api = api;
  }

  async add(): Promise<Answer<unknown>> {
    const content = `comment ${++this.#numbers}`;
    const body = { author: "diego", content: `${content}\n${"x".repeat(2000)}` };
    const answer = await this.#api.send("POST", "/api/tasks/made/comments", body);
    if (answer.status === 201) this.acknowledged.push(content);
    return answer;
  }

  async shown(): Promise<string[]> {
    return (await this.#api.task("made")).comments.map(({ content }) => content.split("\n")[0] ?? "");
  }
}

async function ready(api: Client): Promise<void> {
  for (const until = performance.now() + PATIENCE_MS; performance.now() < until; await pause(50))
    if ((await api.send("GET", "/readyz")).status === 200) return;
  throw new Error("it does not recover");
}

/** Why not; else `false`. */
function mayMount(): string | false {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return "skipped: only root may mount a small disk";
  const probe = mkdtempSync(join(tmpdir(), "jarvis-mount-"));
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "jarvis-test", probe]).status === 0;
  if (mounted) spawnSync("umount", [probe]);
  rmSync(probe, { recursive: true });
  return mounted ? false : "skipped: this container may not mount";
}

/** A small disk under the data directory, gone with the test, whoever still uses it. */
function mount(t: Test, home: Home, options: string): void {
  execFileSync("mount", ["-t", "tmpfs", "-o", options, "jarvis-test", home.data]);
  t.teardown(() => execFileSync("umount", ["-l", home.data]));
}

/** Not a byte is left. */
function fillUp(directory: string): void {
  const ballast = openSync(join(directory, "ballast"), "w");
  const piece = Buffer.alloc(4096);
  try {
    for (;;) writeSync(ballast, piece);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    closeSync(ballast);
  }
}

/** Of 1 to `last`, those that are not there. */
function missing(numbers: ReadonlySet<number>, last: number): readonly number[] {
  return Array.from({ length: last }, (_, i) => i + 1).filter((number) => !numbers.has(number));
}

const CLEAN_LIVES = 3;
const ROUNDS_MAX = 4;
/** Of the restarts, one is that of the daemon as its user has it; the others are of the same in this process. */
const REAL_RESTART_EVERY = 8;

t.test(
  "each call for the disk fails, or is the last one",
  { skip: reasonToSkip ?? false, buffered: true },
  async (t) => {
    const template = t.testdir({ data: {} });
    await makeTemplate(join(template, "data"));
    const lanes = (length: number) => Array.from({ length }, () => new Lane(t, join(template, "data")));
    const begunAt = performance.now();
    const since = () => ((performance.now() - begunAt) / 1000).toFixed(0);

    const clean = await cleanLife(new Lane(t, join(template, "data")));
    t.comment(`calls of a life: ${JSON.stringify(clean.calls)}, of them in the start ${JSON.stringify(clean.inStart)}`);
    for (const one of CALLS) t.ok(clean.calls[one] > clean.inStart[one], one);

    t.jobs = 2;
    const killed = t.test("killed", { buffered: true }, async (t) => {
      const wrong: string[] = [];
      const kills = CALLS.filter((call) => call !== "fsync" || ALL_FAULTS);
      const hits = new Map(
        kills.map((call) => [call, { lives: 0, last: clean.calls[call] + 1, files: new Set<string>() }]),
      );
      /** The next call that no life ended at yet, and of each kind one that never comes. */
      const next = (): { call: Call; n: number } | undefined => {
        for (const [call, each] of hits) if (each.lives < each.last) return { call, n: ++each.lives };
        return undefined;
      };
      await Promise.all(
        lanes(LANES.killed).map(async (lane) => {
          for (let job = next(); job !== undefined && wrong.length === 0; job = next()) {
            const { call, n } = job;
            const ended = await killedLife(lane, { call, effect: "signal=KILL", when: `${n}` }, n);
            wrong.push(...ended.problems.map((problem) => `${call} ${n}: ${problem}`));
            const each = hits.get(call);
            if (!ended.hit || each === undefined) continue;
            each.files.add(ended.file);
            each.last = Math.max(each.last, n + 1);
          }
        }),
      );
      t.same(wrong, []);
      for (const [call, { lives, files }] of hits) {
        t.ok(lives > clean.calls[call], `${call}: at each of them`);
        t.same(
          [...clean.files(call)].filter((file) => !files.has(file)),
          [],
          `${call}: of every file`,
        );
      }
      const lives = [...hits.values()].reduce((sum, each) => sum + each.lives, 0);
      t.comment(`${lives} lives, ${since()} s`);
    });

    const failed = t.test("failed", { buffered: true }, async (t) => {
      const jobs: Fault[] = [];
      for (const call of CALLS)
        for (let n = 1; n <= clean.inStart[call] + STEPS[call]; n++)
          for (const [which, code] of ["EIO", "ENOSPC"].entries()) {
            // In a start, one fault is the end of it.
            const when = n <= clean.inStart[call] ? `${n}` : `${n}+${STEPS[call]}`;
            const effect = `error=${code}` as "error=EIO" | "error=ENOSPC";
            if (ALL_FAULTS || which === n % 2) jobs.push({ call, effect, when });
          }
      const wrong: string[] = [];
      const hits = new Map<Call, { numbers: Set<number>; files: Set<string> }>(
        CALLS.map((call) => [call, { numbers: new Set(), files: new Set() }]),
      );
      const notEnded: string[] = [];
      const counts = { lives: 0, faults: 0, failedStarts: 0, refused: 0, red: 0 };
      await all();
      // What fell between two faults, since it came sooner or later than in the life without any: each alone.
      for (let round = 0; round < ROUNDS_MAX && wrong.length === 0; round++) {
        for (const [call, { files, numbers }] of hits) {
          for (const file of clean.files(call))
            if (!files.has(file))
              jobs.push({ call, effect: "error=EIO", when: `${clean.numberOf(call, file) + round}` });
          for (const number of missing(numbers, clean.calls[call]))
            jobs.push({ call, effect: "error=ENOSPC", when: `${number}` });
        }
        await all();
      }
      t.same(wrong, []);
      t.same(notEnded, []);
      for (const [call, { numbers, files }] of hits) {
        const missed = missing(numbers, clean.calls[call]);
        t.same(missed, [], `${call}: each of ${clean.calls[call]} failed once`);
        t.same(
          [...clean.files(call)].filter((file) => !files.has(file)),
          [],
          `${call}: of every file`,
        );
      }
      t.ok(counts.refused > 0 && counts.red > 0, "clients were refused, and /readyz was red");
      t.comment(`${JSON.stringify(counts)}, ${since()} s`);

      async function all(): Promise<void> {
        await Promise.all(
          lanes(LANES.failed).map(async (lane) => {
            for (let job = jobs.shift(); job !== undefined && wrong.length === 0; job = jobs.shift()) {
              const { trace, life, started, stuck, problems } = await failedLife(lane, job, ++counts.lives);
              wrong.push(...problems.map((problem) => `${job.call} ${job.effect} ${job.when}: ${problem}`));
              notEnded.push(...stuck);
              counts.failedStarts += started ? 0 : 1;
              counts.refused += life.counts.refused;
              counts.red += life.counts.red;
              const { numbers, files } = hits.get(job.call) as { numbers: Set<number>; files: Set<string> };
              const ofThread = new Map<string, number>();
              for (const { thread, call, file, injected } of trace) {
                if (call !== job.call) continue;
                const number = (ofThread.get(thread) ?? 0) + 1;
                ofThread.set(thread, number);
                if (!injected) continue;
                counts.faults++;
                files.add(file);
                numbers.add(number);
              }
            }
          }),
        );
      }
    });

    await Promise.all([killed, failed]);

    /** A life without a fault: what is seen after each of its steps, and its calls. */
    async function cleanLife(lane: Lane) {
      lane.reset();
      const { daemon } = lane.launch(null);
      await daemon.listening;
      const life = new Life(lane.home, daemon, null);
      await life.live(daemon.client);
      await daemon.kill();
      t.same(life.wrong, []);
      // Of a few, the one with the fewest calls: a checkpoint more than it takes depends on how busy the machine is.
      const lives: (readonly Line[])[] = [];
      while (lives.length < CLEAN_LIVES) lives.push(await quickLife(lane, life.views));
      const [lines = []] = lives.sort((a, b) => a.length - b.length);
      t.equal(new Set(life.views.map((view) => JSON.stringify(view))).size, STEPS_OF_A_LIFE.length + 1);
      t.match(life.views.at(-1), {
        made: { title: "second", status: "done", comments: ["diego: look", /the result/] },
        sessions: [{ taskId: "made", status: "completed", result: "the result" }],
        locks: [],
        counts: { dispatched: 1, completed: 1, failed: 0, cancelled: 0 },
      });
      // In the main thread: after all that a start does to the data.
      const listening = lines.findIndex(({ call, file }) => call === "rename" && file.startsWith("listening.json"));
      const main = lines[listening]?.thread;
      const count = (some: readonly Line[]) =>
        Object.fromEntries(
          CALLS.map((call) => [call, some.filter((line) => line.call === call && line.thread !== main).length]),
        ) as Record<Call, number>;
      return {
        views: life.views,
        calls: count(lines),
        inStart: count(lines.slice(0, listening)),
        numberOf: (call: Call, file: string) =>
          lines.filter((line) => line.call === call && line.thread !== main).findIndex((line) => line.file === file) +
          1,
        files: (call: Call) =>
          new Set(lines.filter((line) => line.call === call && line.thread !== main).map(({ file }) => file)),
      };
    }

    async function quickLife(lane: Lane, views: readonly View[]): Promise<readonly Line[]> {
      lane.reset();
      const { daemon, trace } = lane.launch(null);
      await daemon.listening;
      const life = new Life(lane.home, daemon, views);
      await life.live(daemon.client);
      await daemon.kill();
      t.same(life.wrong, []);
      return trace();
    }

    async function killedLife(lane: Lane, fault: Fault, nth: number) {
      lane.reset();
      const { home } = lane;
      const { daemon, trace } = lane.launch(fault);
      const life = new Life(home, daemon, clean.views);
      const lived = await daemon.listening
        .then(() => life.live(daemon.client))
        .then(
          () => true,
          () => false,
        );
      if (lived) daemon.signal("SIGKILL");
      const { signal } = await daemon.exited;
      const last = trace().findLast(({ call }) => call === fault.call);
      if (!lived && signal !== "SIGKILL") life.wrong.push(`it ended with ${signal}: ${daemon.stderr}`);
      life.wrong.push(...wrongSegments(home.data));
      const check = (api: Client) => life.shows(api, "after the restart");
      await (nth % REAL_RESTART_EVERY === 0 ? restartedForReal : restarted)(home, check).catch((error: unknown) =>
        life.wrong.push(`no restart: ${error}`),
      );
      return { hit: !lived, file: last?.file ?? "", problems: life.wrong };
    }

    async function failedLife(lane: Lane, fault: Fault, nth: number) {
      lane.reset();
      const { home } = lane;
      const { daemon, trace } = lane.launch(fault);
      const life = new Life(home, daemon, clean.views);
      const outcome = await startOf(daemon);
      if (outcome === "listening")
        await life
          .live(daemon.client, { history: false })
          .catch((error: unknown) => life.wrong.push(`it died: ${error}`));
      else if (!/^jarvis-orchestrator: .*(EIO|ENOSPC)[^\n]*\n$/.test(daemon.stderr))
        life.wrong.push(`the start said: ${daemon.stderr}`);
      const started = outcome === "listening";
      const stuck = outcome === "stuck" ? [`${fault.call} ${fault.when}: ${daemon.stderr}`] : [];
      await daemon.kill();
      const lines = trace();
      life.wrong.push(...writtenAfterFailure(lines), ...wrongSegments(home.data));
      const check = (api: Client) => life.shows(api, "after the restart");
      await (nth % REAL_RESTART_EVERY === 0 ? restartedForReal : restarted)(home, check).catch((error: unknown) =>
        life.wrong.push(`no restart: ${error}`),
      );
      return { trace: lines, life, started, stuck, problems: life.wrong };
    }
  },
);

t.test("a disk that is full", { skip: mayMount(), buffered: true }, async (t) => {
  const home = new Home(t, SETTINGS);
  mount(t, home, "size=3m");
  home.configure(SETTINGS);
  const daemon = await home.start();
  const { client } = daemon;
  await client.post("/api/tasks", { id: "made", title: "first", assignee: "diego" });
  const board = new Comments(client);
  for (let n = 0; n < 3; n++) t.equal((await board.add()).status, 201);

  fillUp(home.data);
  // There may be room in the last page of the segment.
  let answer = await board.add();
  for (let n = 0; n < 20 && answer.status === 201; n++) answer = await board.add();
  for (let n = 0; n < 5; n++) {
    t.match(answer, { status: 503, body: { code: "STORAGE_UNAVAILABLE", outcome: "unknown" } });
    t.equal((await client.send("GET", "/readyz")).status, 503);
    t.equal((await client.send("GET", "/healthz")).status, 200);
    t.equal((await client.status()).status, "degraded");
    t.same(await board.shown(), [...board.acknowledged], "reads go on, with what was acknowledged");
    await pause(300);
    answer = await board.add();
  }

  rmSync(join(home.data, "ballast"));
  await ready(client);
  t.equal((await board.add()).status, 201);
  t.same(await board.shown(), [...board.acknowledged]);
  await daemon.kill();
  t.same(wrongSegments(home.data), []);
  const next = await home.start();
  t.same(await new Comments(next.client).shown(), [...board.acknowledged]);
  t.same(await next.stop(), { code: 0, signal: null });
});

t.test("a disk that is full at the start", { skip: mayMount(), buffered: true }, async (t) => {
  const home = new Home(t, SETTINGS);
  mount(t, home, "size=3m");
  home.configure(SETTINGS);
  fillUp(home.data);
  const refused = home.launch();
  t.same(await refused.exited, { code: 1, signal: null });
  t.match(refused.stderr, /^jarvis-orchestrator: .*ENOSPC/);
  rmSync(join(home.data, "ballast"));
  const daemon = await home.start();
  t.same(await daemon.stop(), { code: 0, signal: null });
});

// A remount as read-only is refused while the daemon has its journal open, as it always has: a file system that turns read-only
// by itself, after an error, is what its writes would find.
t.test("a file system that is read-only for a while", { skip: reasonToSkip ?? false, buffered: true }, async (t) => {
  const home = new Home(t, SETTINGS);
  const strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", ...(seccomp ? ["--seccomp-bpf"] : [])];
  const inject = "inject=pwrite64:error=EROFS:when=30..45";
  const daemon = await home.start({
    through: [...strace, "-e", "trace=pwrite64", "-e", inject],
    env: { UV_THREADPOOL_SIZE: "1" },
  });
  const { client } = daemon;
  await client.post("/api/tasks", { id: "made", title: "first", assignee: "diego" });
  const board = new Comments(client);
  let answer = await board.add();
  for (let n = 0; n < 60 && answer.status === 201; n++) answer = await board.add();
  t.match(answer, { status: 503, body: { code: "STORAGE_UNAVAILABLE", outcome: "unknown" } });
  t.equal((await client.send("GET", "/readyz")).status, 503);
  t.same(await board.shown(), [...board.acknowledged], "reads go on");
  await ready(client);
  t.equal((await board.add()).status, 201);
  await daemon.kill();
  t.same(wrongSegments(home.data), []);
  const next = await home.start();
  t.same(await new Comments(next.client).shown(), [...board.acknowledged]);
});

t.test(
  "what was damaged by hand stops the start, is not touched, and is mended as far as can be",
  { buffered: true },
  async (t) => {
    const [good, other] = [new Home(t, SETTINGS), new Home(t, SETTINGS)];
    for (const home of [good, other]) {
      const daemon = await home.start();
      await daemon.client.post("/api/tasks", { id: "made", title: "first", assignee: "diego" });
      const board = new Comments(daemon.client);
      for (let n = 0; n < 3; n++) await board.add();
      t.same(await daemon.stop(), { code: 0, signal: null });
    }
    const segment = `journal/${readdirSync(join(good.data, "journal")).find((name) => name.endsWith(".jsonl"))}`;
    const flip = (bytes: Buffer) => {
      const at = bytes.indexOf("comment 2");
      bytes[at] = (bytes[at] ?? 0) ^ 1;
      return bytes;
    };
    const cut = (bytes: Buffer) => bytes.subarray(0, bytes.length >> 1);
    const foreign = (name: string) => () => readFileSync(join(other.data, name));
    const cases: readonly { what: string; file: string; change: (bytes: Buffer) => Buffer }[] = [
      { what: "a state file cut", file: "tasks.json", change: cut },
      { what: "a state file of another directory", file: "tasks.json", change: foreign("tasks.json") },
      { what: "an empty state file", file: "locks.json", change: () => Buffer.alloc(0) },
      { what: "a segment cut", file: segment, change: cut },
      { what: "a segment with a byte flipped", file: segment, change: flip },
      { what: "an empty segment", file: segment, change: () => Buffer.alloc(0) },
      { what: "a segment of another directory", file: segment, change: foreign(segment) },
      { what: "the id of another directory", file: "id", change: foreign("id") },
    ];
    const queue = [...cases];
    await Promise.all(
      [new Home(t, SETTINGS), new Home(t, SETTINGS), new Home(t, SETTINGS)].map(async (home) => {
        for (let one = queue.shift(); one !== undefined; one = queue.shift()) {
          rmSync(home.data, { recursive: true });
          cpSync(good.data, home.data, { recursive: true });
          await damaged(t, home, one);
        }
      }),
    );

    async function damaged(t: Test, home: Home, { what, file, change }: (typeof cases)[number]): Promise<void> {
      const path = join(home.data, file);
      const bytes = change(readFileSync(path));
      writeFileSync(path, bytes);
      const refused = home.launch();
      const outcome = await startOf(refused);
      t.equal(outcome, "ended", what);
      t.match(refused.stderr, /^jarvis-orchestrator: .*"jarvis-orchestrator repair"/, what);
      t.ok(readFileSync(path).equals(bytes), `${what}: as it was`);
      const repair = await home.run(["repair", "--json"]);
      const { repaired } = JSON.parse(repair.stdout) as { repaired: readonly { file: string; lost: string | null }[] };
      t.ok(repaired.length > 0, `${what}: ${repair.stdout}`);
      t.equal(
        repair.code,
        repaired.some(({ lost }) => lost !== null) ? 1 : 0,
        `${what}: the status says whether something may be lost`,
      );
      const aside = readdirSync(home.data).find((name) => name.startsWith("damaged-")) ?? "";
      t.ok(file === "id" || existsSync(join(home.data, aside, file)), `${what}: what it was is kept`);
      // Whatever was damaged, the other files have all of it.
      const daemon = await home.start();
      t.same(await new Comments(daemon.client).shown(), ["comment 1", "comment 2", "comment 3"], what);
      t.equal((await daemon.client.send("PATCH", "/api/tasks/made", { title: "second" })).status, 200, what);
      await daemon.kill();
    }
  },
);
