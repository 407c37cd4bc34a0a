/** Things that must not happen at once, such as two changes of one repository: git's own locks are not waited for, they fail. */

/** One after the other for each key, in the order of asking; how one ended is nothing to the next. */
export class OneByOne {
  readonly #last = new Map<string, Promise<unknown>>();

  async run<T>(key: string, action: () => Promise<T>): Promise<T> {
    const before = this.#last.get(key) ?? Promise.resolve();
    const own = before.then(action);
    const settled = own.catch(() => {});
    this.#last.set(key, settled);
    try {
      return await own;
    } finally {
      if (this.#last.get(key) === settled) this.#last.delete(key);
    }
  }
}
