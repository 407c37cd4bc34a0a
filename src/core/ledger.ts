/** What else must last, in `orchestrator.json`: the fence, pauses, answers to repeat. */
import type { Pause } from "./agent.ts";
import type { Event, RecordedAnswer } from "./event.ts";

export interface Ledger {
  seq: number;
  /** The highest fence ever given to a lock. */
  fence: number;
  readonly pauses: Map<string, Pause>;
  /** Oldest first. */
  readonly answers: Map<string, TimedAnswer>;
  /** Derived: characters of all answers' bodies. */
  answersSize: number;
}

export type TimedAnswer = RecordedAnswer & { readonly answeredAt: number };

/** How long a repeated request is answered again rather than done again. */
export const ANSWERS_KEPT_MS = 24 * 60 * 60 * 1000;
/** Past these the oldest answers go early: memory has a limit, and a caller that repeats does so within minutes. */
export const ANSWERS_MAX = 50_000;
export const ANSWERS_SIZE_MAX = 32 * 1024 * 1024;

export function emptyLedger(): Ledger {
  return { seq: 0, fence: 0, pauses: new Map(), answers: new Map(), answersSize: 0 };
}

export function foldLedger(ledger: Ledger, event: Event): void {
  switch (event.type) {
    case "session.started":
      if (event.lock !== undefined) ledger.fence = Math.max(ledger.fence, event.lock.fence);
      return;
    case "lock.acquired":
      ledger.fence = Math.max(ledger.fence, event.lock.fence);
      return;
    case "agent.paused":
      ledger.pauses.set(event.agent, event.pause);
      return;
    case "agent.resumed":
      ledger.pauses.delete(event.agent);
      return;
    case "request.answered":
      return remember(ledger, { ...event.answer, answeredAt: event.at });
    default:
      return;
  }
}

/** Adds an answer and lets the oldest go that are past their time or over the limits. */
export function remember(ledger: Ledger, answer: TimedAnswer): void {
  forget(ledger, answer.key);
  ledger.answers.set(answer.key, answer);
  ledger.answersSize += answer.body.length;
  for (const [key, oldest] of ledger.answers) {
    const kept = ledger.answers.size <= ANSWERS_MAX && ledger.answersSize <= ANSWERS_SIZE_MAX;
    if (kept && oldest.answeredAt + ANSWERS_KEPT_MS > answer.answeredAt) return;
    if (key === answer.key) return;
    forget(ledger, key);
  }
}

function forget(ledger: Ledger, key: string): void {
  ledger.answersSize -= ledger.answers.get(key)?.body.length ?? 0;
  ledger.answers.delete(key);
}
