/** A session: one attempt of one agent at one task. A variant per stage of its life, carrying what that stage has. */

export const ACTIVE_STATUSES = ["starting", "running", "stopping"] as const;
export type ActiveStatus = (typeof ACTIVE_STATUSES)[number];

export const ENDED_STATUSES = ["completed", "failed", "cancelled", "timed_out", "stalled", "lost"] as const;
export type EndedStatus = (typeof ENDED_STATUSES)[number];

export type SessionStatus = ActiveStatus | EndedStatus;

/** How an agent is reached; `sessions_spawn` is handed to Jarvis rather than started here. */
export const METHODS = ["cli", "ssh", "spawn", "sessions_spawn"] as const;
export type Method = (typeof METHODS)[number];

export interface SessionError {
  readonly code: string;
  readonly message: string;
  /** From when on another try makes sense, ms since the epoch, where the provider says so. */
  readonly resetAt?: number | undefined;
}

export interface Usage {
  /** All of them, those that came from the provider's cache among them. */
  readonly inputTokens?: number;
  readonly cacheReadTokens?: number;
  readonly cacheWriteTokens?: number;
  readonly outputTokens?: number;
  readonly costUsd?: number;
  readonly model?: string;
}

/** What a session was worth, how surely that is known, and who says so. */
export interface Cost {
  readonly usd: number | null;
  readonly basis: "measured" | "estimated" | "unknown";
  /** Estimates: from the tokens and a table of prices, or from the tokens and the agent's `costMultiplier`. */
  readonly by?: "program" | "prices" | "multiplier";
}

/** The agent's own session, as its program calls it: what a later attempt can go on with. */
export interface AgentSession {
  readonly id: string;
  /** Where the program counts on through all attempts: what it had counted by the end of this one. */
  readonly totals?: Usage | undefined;
}

/** The agent's own session that an attempt goes on with. */
export interface Resumption extends AgentSession {
  /** The session of ours that began it: without a workspace, its work folder is where it went on ever since. */
  readonly origin: string;
}

/** Where a task's program works: in the workspace itself, or in a git worktree of its own. */
export const ISOLATIONS = ["none", "worktree"] as const;
export type Isolation = (typeof ISOLATIONS)[number];

/** Something about a session that a person should look at, though it did not fail. */
export interface Warning {
  readonly code: string;
  readonly message: string;
}

/** How a session ended, fixed by the first report of it. */
export interface Outcome {
  readonly status: EndedStatus;
  readonly result?: string | undefined;
  readonly error?: SessionError | undefined;
}

/** The git worktree that a task's sessions work in. */
export interface Worktree {
  readonly path: string;
  readonly branch: string;
  /** The commit that it began with. */
  readonly base: string;
}

/** What a host has of a session, once its program runs. */
export interface RunFacts {
  readonly host: string;
  /** None where it is no process of a machine that we know, but a session of a gateway. */
  readonly pid?: number | undefined;
  /** The start time as the host gives it and its boot: a pid alone is never proof. */
  readonly pidStart?: string | undefined;
  readonly bootId?: string | undefined;
  /** Where it works, if not in the workspace itself. */
  readonly worktree?: Worktree | undefined;
  /** The gateway's key of the session that works on it. */
  readonly sessionKey?: string | undefined;
}

/** How a run's program ended. */
export interface RunExit {
  readonly exitCode?: number | undefined;
  readonly signal?: string | undefined;
  /** Pids of processes that the program left running, where they are not to be ended. */
  readonly leftovers?: readonly number[] | undefined;
}

/** How often a heartbeat spawn was handed out, and until when it may be claimed. */
export interface Handout {
  readonly times: number;
  readonly expiresAt: number;
}

/** What all stages have. */
export interface SessionBase {
  readonly id: string;
  readonly taskId: string;
  readonly taskTitle: string;
  readonly agent: string;
  readonly attempt: number;
  readonly method: Method;
  readonly startedAt: number;
  /** When its total time is over. */
  readonly deadlineAt: number;
  readonly timeoutMs: number;
  /** 0 = silence is never taken for a stall. */
  readonly stallTimeoutMs: number;
  /** How long its program may take to begin, where it has one; 0 = as long as it likes. */
  readonly startTimeoutMs: number;
  /** How long its program may go on after it reported its end. */
  readonly exitGraceMs: number;
  /** The paths it holds under `workspace`, through the lock of the same id as the session. */
  readonly files: readonly string[];
  readonly workspace: string | null;
  /** The verifiers that must pass before it counts as completed; absent = none. */
  readonly verify?: readonly string[] | undefined;
  /** Absent = none. */
  readonly isolation?: Isolation | undefined;
  readonly resumes?: Resumption | undefined;
  readonly sessionKey?: string | undefined;
  readonly run?: RunFacts | undefined;
  readonly usage?: Usage | undefined;
  /** The agent said that it is done, and its work has still to be verified. */
  readonly reported?: Reported | undefined;
}

export interface Reported {
  readonly result?: string | undefined;
  readonly reportedAt: number;
  /** When a run that goes on is stopped. */
  readonly stopAt: number;
}

export interface StartingSession extends SessionBase {
  readonly status: "starting";
  /** Only for `sessions_spawn`. */
  readonly handout?: Handout | undefined;
}

export interface RunningSession extends SessionBase {
  readonly status: "running";
}

export interface StoppingSession extends SessionBase {
  readonly status: "stopping";
  /** The outcome is fixed already; only the run has still to end. */
  readonly outcome: Outcome;
  readonly stoppingAt: number;
  /** When the run is to be stopped: at once for a cancel, after `exitGraceMs` for a program that reported its end. */
  readonly stopAt: number;
}

export interface EndedSession extends SessionBase, RunExit {
  readonly status: EndedStatus;
  readonly completedAt: number;
  readonly outcome: Outcome;
  readonly cost: Cost;
  readonly agentSession?: AgentSession | undefined;
  readonly warnings?: readonly Warning[] | undefined;
}

export type ActiveSession = StartingSession | RunningSession | StoppingSession;
export type Session = ActiveSession | EndedSession;

export function isActive(session: Session): session is ActiveSession {
  return session.status === "starting" || session.status === "running" || session.status === "stopping";
}

/**
 * A session of `sessions_spawn` has no run of ours, and only its callback or a clock ends it: unless what it reported is verified,
 * which is a run like another.
 */
export function hasRun(session: Pick<Session, "method" | "reported">): boolean {
  return hasProgram(session) || session.reported !== undefined;
}

/** False where the agent's work is done elsewhere, and what runs here can only be its verifiers. */
export function hasProgram(session: Pick<Session, "method">): boolean {
  return session.method !== "sessions_spawn";
}
