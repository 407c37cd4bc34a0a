/** The real clock and real ids. */
import { randomFillSync } from "node:crypto";
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

/** Random numbers in [0, 1), drawn many at a time: an id takes sixteen, and each draw costs as much as all of a pool. */
function pooledRandom(): () => number {
  const pool = new Uint8Array(4096);
  let next = pool.length;
  return () => {
    if (next === pool.length) {
      randomFillSync(pool);
      next = 0;
    }
    return (pool[next++] as number) / 256;
  };
}

export function realIds(): Ids {
  const ulid = monotonicFactory(pooledRandom());
  return { next: (prefix) => `${prefix}_${ulid()}`, random: () => Math.random() };
}
