/** Things that must not happen at once, such as two changes of one repository: git's own locks are not waited for, they fail. */

/**
 * One after the other for each key, in the order of asking; how one ended is nothing to the next. Once `signal` is aborted, nobody waits
 * for his turn, and what has not begun does not begin.
 */
export class OneByOne {
  readonly #last = new Map<string, Promise<unknown>>();

  async run<T>(key: string, action: () => Promise<T>, signal: AbortSignal): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    let hasBegun = false;
    const own = before.then(() => {
      signal.throwIfAborted();
      hasBegun = true;
      return action();
    });
    const settled = own
      .catch(() => {})
      .then(() => {
        if (this.#last.get(key) === settled) this.#last.delete(key);
      });
    this.#last.set(key, settled);
    return new Promise<T>((resolve, reject) => {
      // What has begun hears of it by itself, and is waited for.
      const leave = () => {
        if (!hasBegun) reject(signal.reason as Error);
      };
      signal.addEventListener("abort", leave, { once: true });
      if (signal.aborted) leave();
      own.then(resolve, reject).finally(() => signal.removeEventListener("abort", leave));
    });
  }
}
