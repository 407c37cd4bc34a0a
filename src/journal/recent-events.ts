/** The newest committed events, kept in memory so that whoever follows them touches no disk. */
import type { Event, StoredEvent } from "../core/event.ts";

interface Committed {
  readonly firstSeq: number;
  readonly events: readonly Event[];
  /** Length of their JSON text: what they may cost in memory. */
  readonly chars: number;
}

const CHARS_MAX = 8 * 1024 * 1024;

export class RecentEvents {
  readonly #eventsMax: number;
  readonly #batches: Committed[] = [];
  #events = 0;
  #chars = 0;

  constructor(eventsMax: number) {
    this.#eventsMax = eventsMax;
  }

  /** `batch` begins where the one before it ended. */
  add(batch: Committed): void {
    this.#batches.push(batch);
    this.#events += batch.events.length;
    this.#chars += batch.chars;
    while (this.#events > this.#eventsMax || this.#chars > CHARS_MAX) {
      const oldest = this.#batches.shift();
      if (oldest === undefined) return;
      this.#events -= oldest.events.length;
      this.#chars -= oldest.chars;
    }
  }

  get(seq: number): StoredEvent | undefined {
    const batch = this.#batches[this.#find(seq)];
    const event = batch?.events[seq - batch.firstSeq];
    return event === undefined ? undefined : { seq, event };
  }

  /** The index of the last batch that starts at `seq` or before it. */
  #find(seq: number): number {
    let low = 0;
    let high = this.#batches.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#batches[middle]?.firstSeq ?? Number.POSITIVE_INFINITY) <= seq) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
}
