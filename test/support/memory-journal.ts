/** A journal in memory, for tests of what stands above it. A turn of the event loop stands for the disk. */
import type { Event, StoredEvent } from "../../src/core/event.ts";
import { type Journal, StorageUnavailable } from "../../src/dispatcher/ports.ts";

export class MemoryJournal implements Journal {
  readonly stored: StoredEvent[] = [];
  /** Set to make every append fail as a full disk does. */
  failing = false;
  /** Set to have a failing append leave its bytes: they are found when the journal is read back. */
  keepsWhatItRefuses = false;
  closed = false;
  /** How many appends were asked for. */
  appends = 0;
  #broken = false;
  #gate: Promise<void> | null = null;
  #turn: Promise<unknown> = Promise.resolve();

  get lastSeq(): number {
    return this.stored.length;
  }

  /** Holds every append until the returned function is called: what is under way stays so. */
  hold(): () => void {
    let open: () => void = () => {};
    const gate = new Promise<void>((resolve) => {
      open = resolve;
    });
    this.#gate = gate;
    return () => {
      if (this.#gate === gate) this.#gate = null;
      open();
    };
  }

  append(expectedSeq: number, events: readonly Event[]): Promise<void> {
    const gate = this.#gate;
    this.appends++;
    // One after the other, as a disk takes them.
    const appended = this.#turn.then(async () => {
      await gate;
      await new Promise((resolve) => setImmediate(resolve));
      this.#write(expectedSeq, events);
    });
    this.#turn = appended.catch(() => undefined);
    return appended;
  }

  #write(expectedSeq: number, events: readonly Event[]): void {
    if (this.#broken) throw new StorageUnavailable("the journal is closed since its disk failed");
    this.#broken = this.failing;
    if (this.failing && !this.keepsWhatItRefuses) throw new StorageUnavailable("the disk is full");
    if (expectedSeq !== this.lastSeq + 1) throw new Error(`out of order: ${expectedSeq} after ${this.lastSeq}`);
    for (const event of events) {
      this.stored.push({ seq: this.lastSeq + 1, event: JSON.parse(JSON.stringify(event)) as Event });
    }
    if (this.failing) throw new StorageUnavailable("the disk said no, yet kept it");
  }

  /** After a failed append nothing is written any more until this succeeds. */
  async reopen(): Promise<void> {
    if (this.failing) throw new Error("still full");
    this.#broken = false;
  }

  async *read(fromSeq: number): AsyncIterable<StoredEvent> {
    yield* this.stored.slice(fromSeq - 1);
  }

  async close(): Promise<void> {
    this.closed = true;
  }
}
