/** The whole state: five stores, each a fold of the same events, each with the `seq` that it contains. */
import { emptyLedger, type Ledger } from "./ledger.ts";
import { emptyLockManager, type LockManager } from "./lock-manager.ts";
import { emptyMetricsStore, type MetricsStore } from "./metrics.ts";
import { emptySessionStore, type SessionStore } from "./session-store.ts";
import { emptyTaskBoard, type TaskBoard } from "./task-board.ts";

/** Only `transition` changes it. Records in it are never changed, only replaced. */
export interface State {
  readonly tasks: TaskBoard;
  readonly sessions: SessionStore;
  readonly locks: LockManager;
  readonly metrics: MetricsStore;
  readonly ledger: Ledger;
}

export function emptyState(): State {
  return {
    tasks: emptyTaskBoard(),
    sessions: emptySessionStore(),
    locks: emptyLockManager(),
    metrics: emptyMetricsStore(),
    ledger: emptyLedger(),
  };
}

/** The oldest `seq` that some store has yet to go on from: where a replay starts. */
export function replayFrom(state: State): number {
  return 1 + Math.min(...Object.values(state).map((store) => store.seq));
}
