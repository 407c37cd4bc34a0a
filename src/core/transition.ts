/** The one function that changes state: folds a stored event into every store that has not yet seen it. */
import type { StoredEvent } from "./event.ts";
import { foldLedger } from "./ledger.ts";
import { foldLocks } from "./lock-manager.ts";
import { foldMetrics } from "./metrics.ts";
import { foldSessions } from "./session-store.ts";
import type { State } from "./state.ts";
import { foldTasks } from "./task-board.ts";

/**
 * Folds the event in place. Deterministic, no input but its arguments. A store whose `seq` is already past the event
 * is left alone: that is what lets state files of different age replay to one state.
 */
export function transition(state: State, { seq, event }: StoredEvent): void {
  if (state.tasks.seq < seq) {
    foldTasks(state.tasks, event);
    state.tasks.seq = seq;
  }
  if (state.sessions.seq < seq) {
    foldSessions(state.sessions, event);
    state.sessions.seq = seq;
  }
  if (state.locks.seq < seq) {
    foldLocks(state.locks, event);
    state.locks.seq = seq;
  }
  if (state.metrics.seq < seq) {
    foldMetrics(state.metrics, event);
    state.metrics.seq = seq;
  }
  if (state.ledger.seq < seq) {
    foldLedger(state.ledger, event);
    state.ledger.seq = seq;
  }
}
