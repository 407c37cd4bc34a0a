/** Questions to a host about its runs: `host.sh serve` on one channel, a request and its answer at a time. */
import type { ClientChannel } from "ssh2";
import type { Clock } from "../../dispatcher/ports.ts";
import { AgentProblem } from "../agent-problem.ts";
import type { OutputStream } from "../run-directory.ts";
import { parseExit, parseProgram, parseStartError, parseWrapper, type RunRecord } from "../run-records.ts";
import { hostCommand, installScripts } from "./host-scripts.ts";
import { LineReader } from "./line-reader.ts";
import type { SshPool } from "./pool.ts";
import { type SshTarget, targetName } from "./target.ts";

/** A host that takes longer for an answer has lost the connection in a way that keepalives do not show. */
const ANSWER_MS = 20_000;
/** Ids in a request: they become a command's arguments there. */
const IDS_MAX = 200;

/** Of an answer, for each run that was asked about: host.sh shows a few lines of records that are smaller than this. */
const LINES_PER_RUN_MAX = 64;
const BYTES_PER_RUN_MAX = 16 * 1024;

/** What a run's directory on the host holds, and which of its processes live. */
export interface RemoteState {
  readonly record: RunRecord;
  readonly isWrapperAlive: boolean;
  readonly isGuardAlive: boolean;
  readonly isGroupAlive: boolean;
  /** The files as they are, for the mirror. */
  readonly files: ReadonlyMap<string, string>;
}

export interface RemoteSizes {
  readonly stdout: number;
  readonly stderr: number;
  readonly usage: number;
  readonly hasExit: boolean;
}

export interface HostQuestion {
  readonly program: string;
  /** The agent's own PATH, empty where it has none. */
  readonly path: string;
  /** Whether the program may be started to say its version. */
  readonly asksVersion: boolean;
}

export interface HostFacts {
  readonly isThere: boolean;
  /** `null`: it was not asked, or fails. */
  readonly version: string | null;
  /** Where the runs are; `null`: nothing can be written there. */
  readonly freeBytes: number | null;
  /** The host's clock less ours. */
  readonly clockOffMs: number;
  readonly askedMs: number;
}

export class RemoteShell {
  readonly #channel: ClientChannel;
  readonly #reader: LineReader;
  readonly #clock: Clock;
  #last: Promise<unknown> = Promise.resolve();
  #isOpen = true;
  #home = "";

  private constructor(channel: ClientChannel, target: SshTarget, clock: Clock) {
    this.#channel = channel;
    this.#clock = clock;
    this.#reader = new LineReader(channel, () => {
      return new AgentProblem("HOST_UNREACHABLE", `the connection to ${targetName(target)} was lost`);
    });
    channel.stderr.resume();
    channel.on("error", () => {});
    channel.once("close", () => {
      this.#isOpen = false;
    });
  }

  /** Opens it, and puts our scripts on the host where they are not there yet. Throws an `AgentProblem`. */
  static async open(pool: SshPool, target: SshTarget, clock: Clock): Promise<RemoteShell> {
    const first = new RemoteShell(await pool.exec(hostCommand(target, "serve")), target, clock);
    if (await first.#greeting()) return first;
    await installScripts(pool, target);
    const second = new RemoteShell(await pool.exec(hostCommand(target, "serve")), target, clock);
    if (await second.#greeting()) return second;
    throw new AgentProblem("HOST_UNREACHABLE", `${targetName(target)} does not run our script with /bin/sh`);
  }

  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** The user's home there, absolute. */
  get home(): string {
    return this.#home;
  }

  async sizes(ids: readonly string[]): Promise<ReadonlyMap<string, RemoteSizes>> {
    const sizes = new Map<string, RemoteSizes>(
      ids.map((id) => [id, { stdout: 0, stderr: 0, usage: 0, hasExit: false }]),
    );
    for (let start = 0; start < ids.length; start += IDS_MAX) {
      const asked = ids.slice(start, start + IDS_MAX);
      const lines = await this.#ask(`sizes ${asked.join(" ")}`, asked.length);
      for (const line of lines) addSize(sizes, line);
    }
    return sizes;
  }

  async states(ids: readonly string[]): Promise<ReadonlyMap<string, RemoteState>> {
    const states = new Map<string, RemoteState>();
    for (let start = 0; start < ids.length; start += IDS_MAX) {
      const asked = ids.slice(start, start + IDS_MAX);
      const lines = await this.#ask(`state ${asked.join(" ")}`, asked.length);
      for (const [id, part] of splitRuns(lines)) states.set(id, toState(part));
    }
    return states;
  }

  async read(id: string, stream: OutputStream, offset: number, bytes: number): Promise<Buffer> {
    return this.#request(`read ${id} ${stream} ${offset} ${bytes}\n`, async () => {
      const content = await this.#reader.bytes(bytes);
      await this.#reader.bytes(1);
      await this.#linesToDot();
      return content;
    });
  }

  async stop(id: string, graceSeconds: string, why: "stopped" | "timed-out"): Promise<void> {
    await this.#ask(`stop ${id} ${graceSeconds} ${why}`);
  }

  async kill(id: string): Promise<void> {
    await this.#ask(`kill ${id}`);
  }

  /** Lets the guard go of a run that is over without its wrapper, and ends what carries its mark; `null` = nothing is to be ended. */
  async dismiss(
    id: string,
    { graceSeconds, mark }: { readonly graceSeconds: string; readonly mark: string | null },
  ): Promise<void> {
    await this.#ask(`dismiss ${id} ${graceSeconds} ${mark !== null && /^[0-9a-f]{1,64}$/.test(mark) ? mark : "-"}`);
  }

  async inspect({ program, path, asksVersion }: HostQuestion): Promise<HostFacts> {
    const askedAt = this.#clock.now();
    const verb = asksVersion ? "inspect version" : "inspect";
    const lines = await this.#ask(`${verb}\n${firstLine(path)}\n${firstLine(program)}`);
    const answeredAt = this.#clock.now();
    const said = (word: string) => lines.find((line) => line.startsWith(`${word} `))?.slice(word.length + 1);
    const free = Number(said("free-kib") ?? Number.NaN);
    const now = Number(said("now") ?? Number.NaN) * 1000;
    return {
      isThere: lines.includes("found"),
      version: said("version") ?? null,
      freeBytes: Number.isSafeInteger(free) ? free * 1024 : null,
      // It tells whole seconds.
      clockOffMs: Number.isSafeInteger(now) ? now + 500 - (askedAt + answeredAt) / 2 : 0,
      askedMs: answeredAt - askedAt,
    };
  }

  close(): void {
    this.#isOpen = false;
    this.#channel.end();
    this.#channel.destroy();
  }

  async #greeting(): Promise<boolean> {
    try {
      return await this.#request("", async () => {
        // A login shell's own words may come first.
        for (let line = ""; line !== "jarvis-host 1"; ) line = await this.#reader.line();
        for (const line of await this.#linesToDot()) {
          if (line.startsWith("home ")) this.#home = line.slice("home ".length);
        }
        return true;
      });
    } catch {
      this.close();
      return false;
    }
  }

  #ask(request: string, runs = 1): Promise<readonly string[]> {
    return this.#request(`${request}\n`, () => this.#linesToDot(runs));
  }

  async #linesToDot(runs = 1): Promise<readonly string[]> {
    const lines: string[] = [];
    for (let length = 0; ; ) {
      const line = await this.#reader.line();
      if (line === ".") return lines;
      lines.push(line);
      length += line.length;
      if (lines.length > runs * LINES_PER_RUN_MAX || length > runs * BYTES_PER_RUN_MAX)
        throw new Error("the host answers with more than was asked for");
    }
  }

  /** One at a time, in order. A late answer ends the channel: nobody could tell which question it belongs to. */
  #request<T>(text: string, readAnswer: () => Promise<T>): Promise<T> {
    const answer = this.#last.then(async () => {
      const cancel = this.#clock.after(ANSWER_MS, () => this.close());
      try {
        if (text !== "") this.#channel.write(text);
        return await readAnswer();
      } finally {
        cancel();
      }
    });
    this.#last = answer.catch(() => {});
    return answer;
  }
}

/** Of `ls -ln`: mode, links, owner, group, size, date, path. */
function addSize(sizes: Map<string, RemoteSizes>, line: string): void {
  // A link's line ends with a text that says anything.
  if (!line.startsWith("-")) return;
  const fields = line.trim().split(/\s+/);
  const [file, id] = (fields.at(-1) ?? "").split("/").reverse();
  const known = id === undefined ? undefined : sizes.get(id);
  const size = Number(fields[4]);
  if (id === undefined || known === undefined || !Number.isSafeInteger(size)) return;
  if (file === "stdout.log") sizes.set(id, { ...known, stdout: size });
  else if (file === "stderr.log") sizes.set(id, { ...known, stderr: size });
  else if (file === "usage.log") sizes.set(id, { ...known, usage: size });
  else if (file === "exit.json") sizes.set(id, { ...known, hasExit: true });
}

function splitRuns(lines: readonly string[]): readonly (readonly [string, readonly string[]])[] {
  const runs: [string, string[]][] = [];
  for (const line of lines) {
    if (line.startsWith("run ")) runs.push([line.slice("run ".length), []]);
    else runs.at(-1)?.[1].push(line);
  }
  return runs;
}

function toState(lines: readonly string[]): RemoteState {
  const files = new Map<string, string>();
  for (const line of lines) {
    const blank = line.indexOf(" ");
    if (blank < 0) continue;
    const name = line.slice(0, blank);
    files.set(name, `${files.get(name) ?? ""}${line.slice(blank + 1)}\n`);
  }
  return {
    record: {
      begun: lines.includes("begun"),
      processes: parseWrapper(files.get("wrapper") ?? null),
      program: parseProgram(files.get("pid") ?? null),
      startError: parseStartError(files.get("start-error") ?? null),
      exit: parseExit(files.get("exit.json") ?? null),
    },
    isWrapperAlive: lines.includes("wrapper-alive"),
    isGuardAlive: lines.includes("guard-alive"),
    isGroupAlive: lines.includes("group-alive"),
    files,
  };
}

function firstLine(text: string): string {
  return text.split("\n", 1)[0] ?? "";
}
