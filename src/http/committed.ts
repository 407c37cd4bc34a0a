/** What is shown is on disk. */
import type { Dispatcher } from "../dispatcher/dispatcher.ts";
import { StorageUnavailable } from "../dispatcher/ports.ts";

/**
 * Reads the head and hands it out once all of it is on disk. Reading first and waiting then, not the other way round:
 * whatever others change while this waits is not in what was read. Where a commit failed meanwhile, it reads again.
 * @throws StorageUnavailable when what is on disk cannot be read back after a failure.
 */
export async function committed<T>(dispatcher: Dispatcher, read: () => T): Promise<T> {
  for (;;) {
    const { state } = dispatcher;
    const seen = read();
    if (dispatcher.isSettled) return seen;
    await dispatcher.settled().catch((cause: unknown) => {
      throw new StorageUnavailable("the state cannot be read back", { cause });
    });
    if (dispatcher.state === state) return seen;
  }
}
