/** Signs of life and progress: what is known of active sessions beyond what is written down. Lost with the daemon, by design. */

export interface Sign {
  readonly lastSignAt: number;
  readonly progress?: string | undefined;
}

export class Signs {
  readonly #bySession = new Map<string, Sign>();
  /** Grows with every sign, so that a cached view knows that it is old. */
  version = 0;

  note(sessionId: string, at: number, progress?: string): void {
    const before = this.#bySession.get(sessionId);
    const text = progress ?? before?.progress;
    this.#bySession.set(sessionId, { lastSignAt: at, ...(text === undefined ? {} : { progress: text }) });
    this.version++;
  }

  of(sessionId: string): Sign | undefined {
    return this.#bySession.get(sessionId);
  }

  forget(sessionId: string): void {
    this.#bySession.delete(sessionId);
  }
}
