/** What the routes need of the rest of the daemon; compose.ts fills it in. */
import type { Config } from "../config/schema.ts";
import type { Agent, Unavailability } from "../core/agent.ts";
import type { Circumstances } from "../core/plan.ts";
import type { ActiveSession, EndedSession } from "../core/session.ts";
import type { State } from "../core/state.ts";
import type { Task } from "../core/task.ts";
import type { Dispatcher } from "../dispatcher/dispatcher.ts";
import type { Archive, Finding, Journal, TaskWorktrees } from "../dispatcher/ports.ts";
import type { Signs } from "../dispatcher/signs.ts";

export interface ArchiveReader extends Archive {
  task(id: string): Promise<Task | null>;
  session(id: string): Promise<EndedSession | null>;
  /** Newest first; the cursor is opaque. */
  tasks(
    cursor: string | undefined,
    limit: number,
  ): Promise<{ records: readonly Task[]; nextCursor: string | undefined }>;
  sessions(
    cursor: string | undefined,
    limit: number,
  ): Promise<{ records: readonly EndedSession[]; nextCursor: string | undefined }>;
  /** Of a task, newest first. */
  sessionsOf(taskId: string): Promise<readonly EndedSession[]>;
  removeTask(id: string): Promise<void>;
}

export interface AgentDirectory {
  agents(): readonly Agent[];
  agent(name: string): Agent | undefined;
  unavailability(name: string): Unavailability | null;
  /** Tries to reach it, and tells all that was found; nothing where there is nothing to try. */
  inspect(name: string): Promise<readonly Finding[]>;
  /** Grows when an agent or its availability changes. */
  readonly version: number;
}

/** Makes text of a log's bytes as they come. */
export interface LogReader {
  /** Before the first `add`, where that does not begin at the log's beginning: the bytes just before, which it may go on from. */
  resume?(before: Buffer): void;
  /** The text of the next bytes, and how many of all bytes so far are told of: whoever resumes behind them misses nothing. */
  add(bytes: Buffer): { readonly text: string; readonly told: number };
  /** The text of what is left, once nothing more comes. */
  end(): string;
}

export interface Log {
  isLevelEnabled(level: string): boolean;
  debug(facts: object, message: string): void;
  info(facts: object, message: string): void;
  warn(facts: object, message: string): void;
  error(facts: object, message: string): void;
}

export interface Services {
  readonly config: () => Config;
  readonly dispatcher: Dispatcher;
  readonly circumstances: () => Circumstances;
  readonly signs: Signs;
  readonly directory: AgentDirectory;
  readonly journal: Journal;
  readonly archive: ArchiveReader;
  readonly worktrees: TaskWorktrees;
  /** Ends the run of a session that is stopping already. */
  readonly stopNow: (sessionId: string) => void;
  /** Looks whether something can be started without a heartbeat. */
  readonly now: () => number;
  readonly random: (bytes: number) => Buffer;
  /** The key of the callback tokens. */
  readonly secret: Buffer;
  /** Where the run directories are. */
  readonly runsDirectory: string;
  /** Makes a session's output readable; `null` where it is plain text. */
  readonly transcriber: (sessionId: string) => LogReader | null;
  /** The whole text that a heartbeat spawn is started with. */
  readonly spawnPrompt: (session: ActiveSession, state: State, callbackToken: string) => string;
  readonly draining: () => boolean;
  readonly log: Log;
}
