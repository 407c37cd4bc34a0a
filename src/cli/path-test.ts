/**
 * Sends one small task through the whole path (board, dispatch, program, report, comment, locks, metrics), over the public API
 * alone, and gathers what could be seen of it on the way. What that means is judged in path-steps.ts.
 */
import { randomBytes } from "node:crypto";
import { ACTIVE_STATUSES, ApiError, allPages, type Client, ConnectionError } from "../api/client.ts";
import type { OrchestrateStatus } from "../api/orchestrate.ts";
import type { Session, TaskWithHistory } from "../api/session.ts";
import { describeFailure } from "./failure.ts";
import type { Terminal } from "./terminal.ts";

export interface PathPlan {
  readonly agent: string;
  readonly title: string;
  readonly description: string;
  /** `null`: each agent's own place, which is no project of the user's unless its settings say so. */
  readonly workspace: string | null;
  /** Of the session; nothing here waits much longer. */
  readonly timeoutMs: number;
  /** Called once, when the program is seen to run. */
  readonly onRunning?: (session: Session) => Promise<void>;
}

export interface PathWatch {
  /** Aborts when the person has had enough. */
  readonly signal: AbortSignal;
  readonly wait: Terminal["wait"];
  readonly now: Terminal["now"];
  /** In a few words what goes on. */
  progress(text: string): void;
}

export type Counts = OrchestrateStatus["metrics"]["byAgent"][string];

/** What was seen. What was not comes out as `null`. */
export interface Evidence {
  readonly agent: string;
  readonly taskId: string;
  /** Why nothing was started: the dispatcher's own sentences. */
  readonly refused: readonly string[] | null;
  /** As it was last seen. */
  readonly session: Session | null;
  /** How often the session was looked at while it was at work, and in how many of these it held its lock. */
  readonly looks: number;
  readonly looksWithLock: number;
  /** What it still holds after its end. */
  readonly locksLeft: readonly string[] | null;
  readonly task: TaskWithHistory | null;
  readonly before: Counts | null;
  readonly after: Counts | null;
  /** Other sessions of the agent were at work meanwhile, so that its counts grow by more than this one. */
  readonly othersRan: boolean;
  /** The last lines of what the program wrote, where it did not complete. */
  readonly log: readonly string[];
  /** What kept this test from going on. */
  readonly trouble: string | null;
  /** What is left on the board; `null` = nothing. */
  readonly leftBehind: string | null;
}

type Findings = { -readonly [K in keyof Evidence]: Evidence[K] };

/** Never rejects, and takes the task away again; on an abort it cancels the session first. */
export async function sendThrough(client: Client, plan: PathPlan, watch: PathWatch): Promise<Evidence> {
  const seen: Findings = {
    agent: plan.agent,
    taskId: `doctor-${randomBytes(8).toString("hex")}`,
    refused: null,
    session: null,
    looks: 0,
    looksWithLock: 0,
    locksLeft: null,
    task: null,
    before: null,
    after: null,
    othersRan: false,
    log: [],
    trouble: null,
    leftBehind: null,
  };
  try {
    await walk(client, plan, watch, seen);
  } catch (error) {
    seen.trouble = watch.signal.aborted ? "cut short" : describeFailure(error).text.replace(/^error: /, "");
  }
  seen.leftBehind = await removeTask(client, seen, watch);
  return seen;
}

async function walk(client: Client, plan: PathPlan, watch: PathWatch, seen: Findings): Promise<void> {
  const givenUpAt = watch.now() + plan.timeoutMs;
  watch.progress("puts a task on the board");
  seen.before = await countsOf(client, plan.agent);
  const { createdAt } = await client.addTask({
    id: seen.taskId,
    title: plan.title,
    description: plan.description,
    assignee: plan.agent,
    // Of its own name, so that it neither waits for a lock of real work nor keeps real work waiting.
    files: [`${seen.taskId}/**`],
    workspace: plan.workspace,
    isolation: "none",
    maxAttempts: 1,
    timeoutMs: plan.timeoutMs,
  });
  const sessionId = await dispatch(client, watch, seen, givenUpAt);
  if (sessionId === null) return;
  const session = await follow(client, plan, watch, seen, sessionId);
  seen.locksLeft = await locksOf(client, sessionId);
  seen.task = await client.task(seen.taskId);
  seen.after = await countsOf(client, plan.agent);
  seen.othersRan = await didOthersRun(client, session, createdAt);
  if (session.status !== "completed") seen.log = await lastLines(client, session);
}

/** A slot that somebody else has now is free in a while; the others are a person's to mend. */
const PASSING = new Set(["NO_SLOT", "GLOBAL_LIMIT", "LOCKED"]);
const SLOT_LOOK_MS = 1000;

/** Resolves to the session; to `null`, with the reasons, where none was started in time. */
async function dispatch(client: Client, watch: PathWatch, seen: Findings, givenUpAt: number): Promise<string | null> {
  for (;;) {
    watch.signal.throwIfAborted();
    const { dispatched = [], skipped } = await client.dispatch({ taskIds: [seen.taskId] });
    const started = dispatched.find(({ taskId }) => taskId === seen.taskId);
    if (started !== undefined) return started.sessionId;
    // A daemon that dispatches by itself, or a heartbeat, may have been quicker.
    const other = (await client.task(seen.taskId)).sessions[0];
    if (other !== undefined) return other.id;
    const reasons = skipped.flatMap((one) => one.reasons);
    seen.refused = reasons.map(({ message }) => message);
    const isPassing = reasons.length > 0 && reasons.every(({ code }) => PASSING.has(code));
    if (!isPassing || watch.now() >= givenUpAt) return null;
    watch.progress(`waits: ${seen.refused.join("; ")}`);
    await pause(watch, SLOT_LOOK_MS);
  }
}

/** Short at first, so that a program that answers at once is seen at work, too. */
const LOOK_MS = { first: 20, longest: 500, growth: 1.5 } as const;
/** Beyond the session's own time: what the daemon may need to end it, and to say so. */
const AFTER_TIMEOUT_MS = 60_000;

async function follow(
  client: Client,
  plan: PathPlan,
  watch: PathWatch,
  seen: Findings,
  sessionId: string,
): Promise<Session> {
  const givenUpAt = watch.now() + plan.timeoutMs + AFTER_TIMEOUT_MS;
  seen.refused = null;
  let wasRunning = false;
  for (let lookMs: number = LOOK_MS.first; ; lookMs = Math.min(LOOK_MS.longest, lookMs * LOOK_MS.growth)) {
    const session = await sessionOf(client, sessionId);
    if (session === null) {
      watch.progress("waits for the daemon to answer again");
    } else {
      seen.session = session;
      if (!isActive(session)) return session;
      seen.looks++;
      if (session.locks.length > 0) seen.looksWithLock++;
      watch.progress(session.progress ?? wordsFor(session));
      if (session.status === "running" && !wasRunning) {
        wasRunning = true;
        await plan.onRunning?.(session);
      }
    }
    if (watch.now() >= givenUpAt)
      throw new Error(`${sessionId} has not ended in time: its daemon should have ended it`);
    await pause(watch, lookMs);
  }
}

/** `null`: the daemon is not there just now. A run goes on without it, and so may this. */
async function sessionOf(client: Client, id: string): Promise<Session | null> {
  try {
    return await client.session(id);
  } catch (error) {
    if (error instanceof ConnectionError && error.code !== "NOT_JARVIS") return null;
    throw error;
  }
}

function wordsFor({ status, pid, host }: Session): string {
  return pid === undefined ? status : `${status} (${host === undefined ? "" : `${host}, `}pid ${pid})`;
}

export function isActive({ status }: Session): boolean {
  return ACTIVE_STATUSES.some((each) => each === status);
}

async function countsOf(client: Client, agent: string): Promise<Counts> {
  const { byAgent } = (await client.status()).metrics;
  return byAgent[agent] ?? { dispatched: 0, completed: 0, failed: 0, cancelled: 0 };
}

async function locksOf(client: Client, sessionId: string): Promise<readonly string[]> {
  const locks = await allPages(async (page) => {
    const { locks: items, nextCursor } = await client.locks(page);
    return { items, nextCursor };
  });
  return locks.filter((lock) => lock.sessionId === sessionId).flatMap(({ paths }) => paths);
}

/** The counts were read a moment before the task was made. */
const BEFORE_CREATION_MS = 5000;

async function didOthersRun(client: Client, { id, agent }: Session, createdAt: string): Promise<boolean> {
  const since = Date.parse(createdAt) - BEFORE_CREATION_MS;
  const sessions = await allPages(async (page) => {
    const { sessions: items, nextCursor } = await client.sessions({ ...page, agent });
    return { items, nextCursor };
  });
  return sessions.some(
    (other) => other.id !== id && (other.completedAt === undefined || Date.parse(other.completedAt) >= since),
  );
}

const TAIL = { lines: 10, bytes: 64 * 1024, charactersOfLine: 300 } as const;

/** Of its error output, or, where that is empty, of its output. */
async function lastLines(client: Client, { id }: Session): Promise<readonly string[]> {
  for (const stream of ["stderr", "stdout"] as const) {
    const { body } = await client.log(id, stream, 0, "readable");
    let tail = Buffer.alloc(0);
    for await (const bytes of body) tail = Buffer.concat([tail, bytes]).subarray(-TAIL.bytes);
    const lines = tail
      .toString("utf8")
      .split("\n")
      .filter((line) => line.trim() !== "");
    if (lines.length > 0) return lines.slice(-TAIL.lines).map((line) => line.slice(0, TAIL.charactersOfLine));
  }
  return [];
}

/** The daemon's own way from TERM to KILL takes 10 s, if the agent's settings say nothing else. */
const CANCEL_MS = 20_000;
const CANCEL_LOOK_MS = 100;

/** Cancels what may still run, and deletes the task; resolves to what could not be taken away. */
async function removeTask(client: Client, seen: Findings, watch: PathWatch): Promise<string | null> {
  try {
    watch.progress("takes the task away");
    const task = await client.task(seen.taskId);
    for (const session of task.sessions.filter(isActive)) await endSession(client, session.id, watch);
    await client.removeTask(seen.taskId);
    return null;
  } catch (error) {
    if (error instanceof ApiError && error.status === 404) return null;
    const why = describeFailure(error).text.replace(/^error: /, "");
    return `the task ${seen.taskId} may still be there (\`task rm ${seen.taskId}\` takes it away): ${why}`;
  }
}

async function endSession(client: Client, id: string, watch: PathWatch): Promise<void> {
  await client.cancel(id);
  const givenUpAt = watch.now() + CANCEL_MS;
  while (isActive(await client.session(id))) {
    if (watch.now() >= givenUpAt) throw new Error(`${id} is still being stopped`);
    await watch.wait(CANCEL_LOOK_MS);
  }
}

/** Rejects once the signal aborts. */
async function pause({ wait, signal }: PathWatch, delayMs: number): Promise<void> {
  signal.throwIfAborted();
  let stop = () => {};
  const aborted = new Promise<void>((resolve) => {
    stop = resolve;
    signal.addEventListener("abort", stop, { once: true });
  });
  await Promise.race([wait(delayMs), aborted]);
  signal.removeEventListener("abort", stop);
  signal.throwIfAborted();
}
