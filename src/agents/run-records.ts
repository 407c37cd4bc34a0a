/** What `run.sh` writes, as data. A text that is missing, half written or not understood is `null`: it is read again later. */

/** A pid is proof only together with the start time that the host gives for it. */
export interface ProcessIdentity {
  readonly pid: number;
  readonly start: string;
}

export interface WrapperRecord {
  readonly wrapper: ProcessIdentity;
  readonly guard: ProcessIdentity;
}

/** The program's process, which leads the process group `pid`. */
export interface ProgramRecord extends ProcessIdentity {
  readonly boot: string;
}

export interface ExitRecord {
  /** As the shell has it: a program that a signal ended has 128 + its number. */
  readonly status: number;
  /** The signal's name, such as `SIGTERM`, where the status is that of one. */
  readonly signal: string | null;
  readonly stopped: boolean;
  readonly timedOut: boolean;
  /** Pids of what the program left behind in groups of its own, where that was to be left alone. */
  readonly leftovers: readonly number[];
}

const LEFTOVERS_MAX = 100;

/** Everything that is known of a run from its directory. */
export interface RunRecord {
  readonly begun: boolean;
  readonly processes: WrapperRecord | null;
  readonly program: ProgramRecord | null;
  /** One word: why the wrapper could not start the program. */
  readonly startError: string | null;
  readonly exit: ExitRecord | null;
}

export function parseWrapper(text: string | null): WrapperRecord | null {
  const facts = parseFacts(text);
  const wrapper = identity(facts.get("pid"), facts.get("start"));
  const guard = identity(facts.get("guard"), facts.get("guard-start"));
  return wrapper === null || guard === null ? null : { wrapper, guard };
}

export function parseProgram(text: string | null): ProgramRecord | null {
  const facts = parseFacts(text);
  const program = identity(facts.get("pid"), facts.get("start"));
  const boot = facts.get("boot");
  return program === null || boot === undefined ? null : { ...program, boot };
}

export function parseExit(text: string | null): ExitRecord | null {
  if (text === null) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { status, signal, stopped, timedOut, leftovers } = value as Readonly<Record<string, unknown>>;
  if (typeof status !== "number" || !Number.isInteger(status) || status < 0 || status > 255) return null;
  return {
    status,
    signal: typeof signal === "string" && /^SIG[A-Z0-9]{1,10}$/.test(signal) ? signal : null,
    stopped: stopped === true,
    timedOut: timedOut === true,
    leftovers: Array.isArray(leftovers) ? leftovers.slice(0, LEFTOVERS_MAX).filter(isPid) : [],
  };
}

function isPid(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) > 1;
}

/** One word of capitals; what else stands there did not come from the wrapper. */
export function parseStartError(text: string | null): string | null {
  return /^([A-Z_]{1,40})\n?$/.exec(text ?? "")?.[1] ?? null;
}

/** Lines of a word, a blank and a value. A last line without its newline is still being written. */
function parseFacts(text: string | null): ReadonlyMap<string, string> {
  const lines = text?.split("\n").slice(0, -1) ?? [];
  return new Map(
    lines.flatMap((line) => {
      const blank = line.indexOf(" ");
      return blank < 0 ? [] : [[line.slice(0, blank), line.slice(blank + 1)] as const];
    }),
  );
}

function identity(pid: string | undefined, start: string | undefined): ProcessIdentity | null {
  // Signals to 0, 1 and their groups would go to others.
  if (pid === undefined || start === undefined || !/^[1-9][0-9]{0,9}$/.test(pid) || pid === "1") return null;
  // `ps` pads its dates.
  return { pid: Number(pid), start: start.trim().replace(/\s+/g, " ") };
}
