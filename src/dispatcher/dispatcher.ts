/**
 * The one writer. Every change is decided on the head state (committed plus queued) at once and in order, and answered
 * once it is on disk; what is read is shown once the head it was read from is on disk.
 */
import type { Command, Context, Refusal } from "../core/decision.ts";
import type { Event, RecordedAnswer, StoredEvent } from "../core/event.ts";
import type { State } from "../core/state.ts";
import { transition } from "../core/transition.ts";
import { type Journal, StorageUnavailable } from "./ports.ts";

export type Executed<A> = { readonly ok: true; readonly answer: A } | { readonly ok: false; readonly refusal: Refusal };

/** What a request with an `Idempotency-Key` leaves behind, made from its answer in the same commit. */
export type Recorder<A> = (answer: A, state: State) => RecordedAnswer;

export interface DispatcherParts {
  readonly journal: Journal;
  readonly state: State;
  /** What the rules may know at this moment: settings, registry, clock, ids. */
  readonly context: () => Context;
  /** Reads the committed state from disk again, after a commit failed. Only reads. */
  readonly rebuild: () => Promise<State>;
  /** Makes the journal writable again; rejects while the disk will not have it. */
  readonly reopen: (state: State) => Promise<void>;
  readonly log: { error(facts: object, message: string): void; info(facts: object, message: string): void };
  /** Waits before the next try to write again. */
  readonly pause: (ms: number) => Promise<void>;
}

type Listener = (events: readonly StoredEvent[]) => void;

export class Dispatcher {
  readonly #parts: DispatcherParts;
  readonly #listeners = new Set<Listener>();
  #state: State;
  #headSeq: number;
  #committedSeq: number;
  #lastAppend: Promise<void> = Promise.resolve();
  #recovery: Promise<void> | null = null;
  #rebuilt: Promise<void> = Promise.resolve();
  #closed = false;

  constructor(parts: DispatcherParts) {
    this.#parts = parts;
    this.#state = parts.state;
    this.#headSeq = parts.journal.lastSeq;
    this.#committedSeq = parts.journal.lastSeq;
  }

  /** The head. Show nothing of it before `settled` resolves. */
  get state(): State {
    return this.#state;
  }

  /** The newest `seq` that is on disk. */
  get committedSeq(): number {
    return this.#committedSeq;
  }

  get healthy(): boolean {
    return this.#recovery === null && !this.#closed;
  }

  /**
   * Decides the command now; resolves once what came of it is on disk. Refusals, and answers that changed nothing, wait
   * too: they were decided on a head that may still fail.
   * @throws StorageUnavailable when the disk failed: the outcome is unknown.
   */
  async execute<A>(command: Command<A>, record?: Recorder<A>): Promise<Executed<A>> {
    if (!this.healthy)
      throw new StorageUnavailable(this.#closed ? "the daemon is stopping" : "the journal cannot be written just now");
    const context = this.#parts.context();
    const decision = command(this.#state, context);
    if (!decision.ok) {
      await this.#lastAppend;
      return decision;
    }
    const first = this.#headSeq + 1;
    const events = decision.events as Event[];
    for (const event of events) transition(this.#state, { seq: ++this.#headSeq, event });
    let answer: A;
    let answered: readonly Event[] = [];
    try {
      answer = decision.answer(this.#state);
      if (record !== undefined) {
        answered = [{ type: "request.answered", at: context.now, answer: record(answer, this.#state) }];
      }
    } catch (error) {
      // What was folded is decided. It is written though nobody can be told: head and disk must not part.
      if (events.length > 0) await this.#commit(first, events);
      throw error;
    }
    for (const event of answered) transition(this.#state, { seq: ++this.#headSeq, event });
    const all = answered.length === 0 ? events : [...events, ...answered];
    if (all.length === 0) await this.#lastAppend;
    else await this.#commit(first, all);
    return { ok: true, answer };
  }

  /**
   * Resolves once all that the head shows now is on disk. Where a commit failed, `state` is another one then: the head
   * was dropped, and what is on disk was read back.
   */
  async settled(): Promise<void> {
    if (this.isSettled) return;
    // Reads go on while the disk fails: they show what was committed before.
    await this.#lastAppend.catch(() => undefined);
    await this.#rebuilt;
  }

  /** True when `settled` would resolve at once: spares hot readers a turn. */
  get isSettled(): boolean {
    return this.#committedSeq === this.#headSeq && this.#recovery === null;
  }

  /** Calls the listener with every batch of events once it is on disk, in order; returns how to stop that. */
  subscribe(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Takes no more commands and waits for those under way. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#lastAppend.catch(() => undefined);
    await this.#recovery;
  }

  async #commit(first: number, events: readonly Event[]): Promise<void> {
    const append = this.#parts.journal.append(first, events);
    this.#lastAppend = append;
    try {
      await append;
    } catch (error) {
      this.#recovery ??= this.#recover(error);
      await this.#rebuilt;
      throw error;
    }
    this.#committedSeq = first + events.length - 1;
    this.#publish(first, events);
  }

  #publish(first: number, events: readonly Event[]): void {
    if (this.#listeners.size === 0) return;
    const stored = events.map((event, index) => ({ seq: first + index, event }));
    for (const listener of this.#listeners) {
      try {
        listener(stored);
      } catch (error) {
        // What is on disk is on disk: whoever listens cannot take it back, nor keep it from the others.
        this.#parts.log.error({ err: error }, "a listener failed");
      }
    }
  }

  /** Drops the head, goes back to what is on disk, and tries until the disk takes writes again. */
  async #recover(cause: unknown): Promise<void> {
    const { log, reopen, pause } = this.#parts;
    log.error({ err: cause }, "the journal cannot be written; refusing changes until it can");
    void this.#startRebuild();
    for (let delayMs = RECOVERY_DELAY_MS; !this.#closed; delayMs = Math.min(delayMs * 2, RECOVERY_DELAY_MAX_MS)) {
      await pause(delayMs);
      try {
        await this.#rebuilt.catch(() => this.#startRebuild());
        await reopen(this.#state);
        this.#recovery = null;
        log.info({ seq: this.#committedSeq }, "the journal can be written again");
        return;
      } catch (error) {
        log.error({ err: error }, "the journal still cannot be written");
      }
    }
  }

  #startRebuild(): Promise<void> {
    this.#rebuilt = this.#rebuild();
    this.#rebuilt.catch((error: unknown) => this.#parts.log.error({ err: error }, "the state cannot be read back"));
    return this.#rebuilt;
  }

  async #rebuild(): Promise<void> {
    const state = await this.#parts.rebuild();
    this.#state = state;
    this.#headSeq = this.#parts.journal.lastSeq;
    this.#committedSeq = this.#headSeq;
    this.#lastAppend = Promise.resolve();
  }
}

const RECOVERY_DELAY_MS = 250;
const RECOVERY_DELAY_MAX_MS = 5000;
