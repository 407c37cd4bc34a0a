/** What the dispatcher needs of the outside, owned by it. Implementations live in journal/ and agents/; tests bring their own. */

import type { Verification } from "../core/decide/report.ts";
import type { Event, StoredEvent } from "../core/event.ts";
import type {
  ActiveSession,
  AgentSession,
  EndedSession,
  Isolation,
  Method,
  Resumption,
  RunExit,
  RunFacts,
  SessionError,
  Usage,
  Warning,
} from "../core/session.ts";
import type { Task } from "../core/task.ts";

/** Wall time for what is recorded, monotonic time for measuring, one kind of timer. All in milliseconds. */
export interface Clock {
  now(): number;
  monotonic(): number;
  /** Calls `callback` once after `delayMs`; the returned function cancels it. */
  after(delayMs: number, callback: () => void): () => void;
}

/** Where new ids and randomness come from. */
export interface Ids {
  /** A new id that sorts by time of making, such as `ses_01J...` for the prefix `ses`. */
  next(prefix: string): string;
  /** A number in [0, 1). */
  random(): number;
}

/** The durable order of events. */
export interface Journal {
  /** The newest `seq` that is on disk; 0 when there is none. */
  readonly lastSeq: number;
  /**
   * Writes the events as `expectedSeq`, `expectedSeq + 1`, ... and resolves once they are on disk; calls made while a
   * commit is under way share the next one. Rejects with `StorageUnavailable` when they may not be on disk; from then
   * on every append is refused until `reopen`.
   */
  append(expectedSeq: number, events: readonly Event[]): Promise<void>;
  /** All stored events from `fromSeq` on, in order. */
  read(fromSeq: number): AsyncIterable<StoredEvent>;
  close(): Promise<void>;
}

/** Where records go that left the hot state; on disk when the promise resolves. The newest record of an id counts. */
export interface Archive {
  appendTasks(tasks: readonly Task[]): Promise<void>;
  appendSessions(sessions: readonly EndedSession[]): Promise<void>;
  hasTask(id: string): boolean;
}

/** Thrown by a journal whose disk failed or is full: whether the events will be found later is unknown. */
export class StorageUnavailable extends Error {
  readonly code = "STORAGE_UNAVAILABLE";
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "StorageUnavailable";
  }
}

/** Everything an adapter needs to make a session's run, or to find it again. */
export interface RunSpec {
  readonly sessionId: string;
  readonly taskId: string;
  readonly agent: string;
  readonly model: string | null;
  readonly prompt: string;
  /** The task's workspace, `~` allowed; `null`: the agent's `workdir`, else the run directory. */
  readonly workspace: string | null;
  /** JARVIS_* variables, the callback token among them; they go into the environment and nowhere else. */
  readonly env: Readonly<Record<string, string>>;
  /** When the wrapper ends the run by itself, ms since the epoch. */
  readonly deadlineAt: number;
  /** It is written down that its program began: should nothing be found of it, it is lost, and not made again. */
  readonly hasBegun?: boolean | undefined;
  /** `worktree`: in the task's own git worktree, which is made where there is none yet. */
  readonly isolation?: Isolation | undefined;
  /** When its task was made, ms since the epoch: ids may come again. */
  readonly taskCreatedAt?: number | undefined;
  /** The agent's own session that its program is to go on with. */
  readonly resumes?: Resumption | undefined;
  /** The session in whose work folder it runs, where there is neither a workspace nor a `workdir`; absent = this one. */
  readonly workOf?: string | undefined;
  /** Runs this in place of the agent's own program, and its output is plain text: a check of what the agent did. */
  readonly command?: readonly [string, ...string[]] | undefined;
}

/** How a run ended, read from its exit record and its output. */
export interface RunEnd {
  readonly exit: RunExit;
  /** Completed: the agent's result. Otherwise what went wrong. */
  readonly outcome:
    | { readonly status: "completed"; readonly result: string }
    | { readonly status: "failed" | "timed_out" | "lost"; readonly error: SessionError; readonly result?: string };
  /** Of this run alone. */
  readonly usage?: Usage | undefined;
  /** The agent's own session; `totals` where its program counts on through all attempts. */
  readonly agentSession?: AgentSession | undefined;
  /** How many tools its program used, where its output tells. */
  readonly toolCalls?: number | undefined;
  readonly warnings?: readonly Warning[] | undefined;
}

/**
 * What a run tells while it lives. Called in this order: `started` at most once, `sign` any number of times, `ended` exactly once. A
 * `sign` before `started` says that what the run needs is still being made.
 */
export interface RunListener {
  started(facts: RunFacts): void;
  /** Output arrived or the run was seen alive: renews the lease. `progress`: its last action in a few words, where the output tells. */
  sign(progress?: string): void;
  ended(end: RunEnd): void;
}

/** A run that this daemon follows. */
export interface Run {
  /** TERM to the process group, KILL after the agent's `killGraceMs`. Safe to call again; the end is told by `ended`. */
  stop(): void;
  /** Stops following and leaves the run alone: the daemon goes, the run stays. */
  detach(): Promise<void>;
}

/** Looks whether an agent's work is what it should be. */
export interface Verifier {
  /**
   * Runs the session's verifiers one after the other, until one fails. Never throws; safe to call again after a restart, since a
   * verifier that ran is not run again.
   */
  verify(session: ActiveSession, listener: VerifierListener): Run;
}

export interface VerifierListener {
  /** The name of the verifier that runs now. */
  began(name: string): void;
  ended(verification: Verification): void;
}

/** The git worktrees in which tasks were worked at, for whoever reviews that work. */
export interface TaskWorktrees {
  /**
   * What the worktree holds that its beginning did not, committed or not; `null` where the task has none. `bytesMax`: of the diff's text.
   * Changes nothing. Rejects where git cannot read it.
   */
  diff(taskId: string, bytesMax: number): Promise<TaskDiff | null>;
  /** Removes it with its branch, and nothing that was not made for the task. Rejects where git fails; then it can be called again. */
  remove(taskId: string, options: WorktreeRemoveOptions): Promise<WorktreeRemoval>;
}

export interface WorktreeRemoveOptions {
  /** Also what would be lost. */
  readonly force: boolean;
  /** Asked again right before something is removed: no session of the task is active. */
  readonly isFree: () => boolean;
}

/** `none`: there is no worktree; all others but `removed`: why it is still there. `not_ours`: something else is in its place by now. */
export type WorktreeRemoval = "removed" | "none" | "busy" | "uncommitted" | "unmerged" | "locked" | "not_ours";

export interface ChangedFile {
  readonly path: string;
  readonly status: "added" | "modified" | "deleted" | "renamed";
  /** What a renamed file was called. */
  readonly from?: string;
  /** Lines; `null` where it has none: a binary, or one that is too large to be read. */
  readonly additions: number | null;
  readonly deletions: number | null;
}

export interface TaskDiff {
  readonly taskId: string;
  readonly branch: string;
  /** The commit that it is compared with: where the worktree began. */
  readonly base: string;
  /** The commit that the worktree has checked out. */
  readonly head: string;
  /** Absent where the worktree is not there any more: then it is the branch's commits. */
  readonly path?: string;
  readonly files: readonly ChangedFile[];
  /** As `git diff` has it, and its bytes as they are in the files. */
  readonly diff: Buffer;
  /** There is more than is shown. */
  readonly truncated: boolean;
}

/** One thing that was looked at for an agent. */
export interface Finding {
  /** A word: `connection`, `program`, `version`, `disk`, `clock`. */
  readonly about: string;
  /** `fail`: nothing can be started. */
  readonly state: "ok" | "warn" | "fail";
  /** A sentence for the user; where it is not ok, it says what to do. */
  readonly message: string;
}

/** The code for one way to reach agents. One adapter serves all agents of its kind. */
export interface AgentAdapter {
  readonly method: Method;
  /**
   * Makes the run of a session, or finds the one that was made before: `begun` in the run directory decides, and on this
   * machine what stands beside that directory, so a run starts at most once however often this is called. Never throws: what goes wrong
   * is told by `ended` (asynchronously, never before `open` returned).
   */
  open(spec: RunSpec, listener: RunListener): Run;
  /** Can the agent be reached, is its program there, and what else is worth knowing before work is given to it. */
  inspect(agent: string): Promise<readonly Finding[]>;
  /** Lets go of connections; runs stay. */
  close(): Promise<void>;
}
