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
}

export interface Usage {
  readonly inputTokens?: number;
  readonly outputTokens?: number;
  readonly costUsd?: number;
  readonly model?: string;
}

/** What a session was worth, and how surely that is known. */
export interface Cost {
  readonly usd: number | null;
  readonly basis: "measured" | "estimated" | "unknown";
}

/** How a session ended, fixed by the first report of it. */
export interface Outcome {
  readonly status: EndedStatus;
  readonly result?: string | undefined;
  readonly error?: SessionError | undefined;
}

/** What a host has of a session, once its program runs. */
export interface RunFacts {
  readonly host: string;
  /** None where it is no process of a machine that we know, but a session of a gateway. */
  readonly pid?: number | undefined;
  /** The start time as the host gives it and its boot: a pid alone is never proof. */
  readonly pidStart?: string | undefined;
  readonly bootId?: string | undefined;
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
  readonly sessionKey?: string | undefined;
  readonly run?: RunFacts | undefined;
  readonly usage?: Usage | undefined;
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
}

export type ActiveSession = StartingSession | RunningSession | StoppingSession;
export type Session = ActiveSession | EndedSession;

export function isActive(session: Session): session is ActiveSession {
  return session.status === "starting" || session.status === "running" || session.status === "stopping";
}

/** A session of `sessions_spawn` has no run of ours: only its callback or a clock ends it. */
export function hasRun(session: Pick<Session, "method">): boolean {
  return session.method !== "sessions_spawn";
}
