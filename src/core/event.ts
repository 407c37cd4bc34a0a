/**
 * Events: what happened, in the past tense, with every fact that any store needs to fold it alone. A store never looks at
 * another store's slice, so that state files of different `seq` replay to one state.
 */
import type { Pause } from "./agent.ts";
import type { Lock } from "./lock.ts";
import type {
  AgentSession,
  Cost,
  Handout,
  Method,
  Outcome,
  RunExit,
  RunFacts,
  StartingSession,
  Usage,
  Warning,
} from "./session.ts";
import type { Comment, Task, TaskChanges } from "./task.ts";

/** An answer that the same `Idempotency-Key` gets again. */
export interface RecordedAnswer {
  /** A hash of method, path, caller and key. */
  readonly key: string;
  /** A hash of the request's body: another body under the same key is refused. */
  readonly bodyHash: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** The body as sent, but for callback tokens: `secrets` says which marker stands for which session's token. */
  readonly body: string;
  readonly secrets: readonly { readonly marker: string; readonly sessionId: string }[];
}

interface At {
  /** When it happened, ms since the epoch. */
  readonly at: number;
}

/** What a session's end means for its task; absent where a person already moved or deleted the task. */
export interface TaskVerdict {
  readonly comment: Comment;
  readonly changes: TaskChanges;
}

export type Event = At &
  (
    | { readonly type: "task.created"; readonly task: Task }
    | { readonly type: "task.changed"; readonly taskId: string; readonly changes: TaskChanges }
    | { readonly type: "task.deleted"; readonly taskId: string }
    | { readonly type: "task.archived"; readonly taskIds: readonly string[] }
    | { readonly type: "task.restored"; readonly task: Task }
    | { readonly type: "comment.added"; readonly taskId: string; readonly comment: Comment }
    | { readonly type: "session.started"; readonly session: StartingSession; readonly lock?: Lock | undefined }
    | {
        readonly type: "session.handed_out";
        readonly sessionId: string;
        readonly taskId: string;
        readonly handout: Handout;
      }
    | {
        readonly type: "session.running";
        readonly sessionId: string;
        readonly taskId: string;
        readonly sessionKey?: string | undefined;
        readonly run?: RunFacts | undefined;
        /** A spawn's time counts from its claim. */
        readonly deadlineAt?: number | undefined;
      }
    | {
        /** The agent says that it is done; whether that is so is verified before the outcome is fixed. */
        readonly type: "session.reported";
        readonly sessionId: string;
        readonly taskId: string;
        readonly result?: string | undefined;
        readonly stopAt: number;
        readonly usage?: Usage | undefined;
      }
    | {
        /** The outcome is fixed: the task moves, the metrics count. The run, if there is one, has still to end. */
        readonly type: "session.settled";
        readonly sessionId: string;
        readonly taskId: string;
        readonly agent: string;
        readonly method: Method;
        readonly outcome: Outcome;
        readonly durationMs: number;
        readonly stopAt: number;
        readonly usage?: Usage | undefined;
        readonly verdict?: TaskVerdict | undefined;
      }
    | {
        /** Nothing of the session is left: its slot and locks are free. */
        readonly type: "session.ended";
        readonly sessionId: string;
        readonly taskId: string;
        readonly agent: string;
        readonly exit: RunExit;
        readonly usage?: Usage | undefined;
        readonly cost: Cost;
        readonly agentSession?: AgentSession | undefined;
        readonly warnings?: readonly Warning[] | undefined;
      }
    | { readonly type: "session.archived"; readonly sessionIds: readonly string[] }
    | { readonly type: "lock.acquired"; readonly lock: Lock }
    | { readonly type: "lock.renewed"; readonly lockId: string; readonly expiresAt: number }
    | {
        readonly type: "lock.released";
        readonly lockId: string;
        readonly sessionId: string;
        readonly why: "released" | "expired";
      }
    | { readonly type: "agent.paused"; readonly agent: string; readonly pause: Pause }
    | { readonly type: "agent.resumed"; readonly agent: string }
    | { readonly type: "request.answered"; readonly answer: RecordedAnswer }
  );

/** An event with its place in the durable order. */
export interface StoredEvent {
  readonly seq: number;
  readonly event: Event;
}
