/** The real clock and real ids. */
import { monotonicFactory } from "ulid";
import type { Clock, Ids } from "./ports.ts";

export const realClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, delayMs);
    return () => clearTimeout(timer);
  },
};

export function realIds(): Ids {
  const ulid = monotonicFactory();
  return { next: (prefix) => `${prefix}_${ulid()}`, random: () => Math.random() };
}
