/** What is shown is on disk. */
import type { Dispatcher } from "../dispatcher/dispatcher.ts";

/**
 * Reads the head and hands it out once all of it is on disk. Reading first and waiting then, not the other way round:
 * whatever others change while this waits is not in what was read. Where a commit failed meanwhile, it reads again.
 */
export async function committed<T>(dispatcher: Dispatcher, read: () => T): Promise<T> {
  for (;;) {
    const { state } = dispatcher;
    const seen = read();
    if (dispatcher.isSettled) return seen;
    await dispatcher.settled();
    if (dispatcher.state === state) return seen;
  }
}
