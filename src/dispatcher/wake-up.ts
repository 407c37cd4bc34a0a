/** What is due by time alone, looked at with every tick: runs, clocks that ran out, automatic dispatch, archiving. */
import { dispatch } from "../core/decide/dispatch.ts";
import { expire } from "../core/decide/sessions.ts";
import type { ActiveSession } from "../core/session.ts";
import type { State } from "../core/state.ts";
import { archiveSome } from "./archiver.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { Archive, Clock } from "./ports.ts";
import type { Signs } from "./signs.ts";
import type { Supervisor } from "./supervisor.ts";

/** How often clocks are looked at, ms: the finest that a timeout can be told apart. */
export const TICK_MS = 250;
/** How long after a start, in ms, sub-agents may still report before their clocks count. */
export const SPAWN_GRACE_MS = 60_000;
/** By how much, in ms, wall and monotonic time may part between two ticks; more is a jump: a clock that was set, a machine that slept. */
const JUMP_MS = 5000;

export interface WakeUpParts {
  readonly dispatcher: Dispatcher;
  readonly supervisor: Pick<Supervisor, "reconcile">;
  readonly signs: Signs;
  readonly archive: Archive;
  readonly clock: Clock;
  /** Of this moment. `intervalMs`: between two automatic dispatches. */
  readonly settings: () => { readonly auto: boolean; readonly intervalMs: number };
  readonly log: { warn(facts: object, message: string): void };
}

export class WakeUp {
  readonly #parts: WakeUpParts;
  /** From when on a spawn's clocks count: whoever could not call while nobody was here gets the time to. */
  #spawnsExpireFrom = Number.POSITIVE_INFINITY;
  /** Wall time less monotonic time. */
  #offset = 0;
  #dispatchedAt = Number.NEGATIVE_INFINITY;
  #archiving: Promise<void> | null = null;
  #cancel = () => {};
  #stopped = false;

  constructor(parts: WakeUpParts) {
    this.#parts = parts;
  }

  /** The first look, at once, and one with every tick from then on. */
  start(): void {
    this.#beginToListen();
    this.#tick();
  }

  /** No look any more; resolves once what is being archived is on disk. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    await this.#archiving;
  }

  /** Nobody is taken for silent, or for late, because of time that passed while we did not listen. */
  #beginToListen(): void {
    const { dispatcher, signs, clock } = this.#parts;
    const now = clock.now();
    this.#offset = now - clock.monotonic();
    this.#spawnsExpireFrom = now + SPAWN_GRACE_MS;
    for (const sessions of dispatcher.state.sessions.activeByAgent.values())
      for (const id of sessions.keys()) signs.note(id, now);
  }

  #tick(): void {
    const { dispatcher, supervisor, clock, log } = this.#parts;
    if (this.#stopped) return;
    this.#cancel = clock.after(TICK_MS, () => this.#tick());
    const jumpMs = clock.now() - clock.monotonic() - this.#offset;
    if (Math.abs(jumpMs) >= JUMP_MS) {
      log.warn({ jumpMs }, "the clock jumped: sessions get time to be heard before their clocks count");
      this.#beginToListen();
    }
    if (!dispatcher.healthy) return;
    supervisor.reconcile();
    this.#expire();
    this.#dispatch();
    this.#archiving ??= this.#archive().finally(() => {
      this.#archiving = null;
    });
  }

  #expire(): void {
    const { dispatcher, signs } = this.#parts;
    if (!isSomethingTimed(dispatcher.state)) return;
    const lastSign = (session: ActiveSession) => signs.of(session.id)?.lastSignAt ?? session.startedAt;
    this.#report(dispatcher.execute(expire(lastSign, this.#spawnsExpireFrom)));
  }

  #dispatch(): void {
    const { dispatcher, clock, settings } = this.#parts;
    const { auto, intervalMs } = settings();
    if (!auto || clock.monotonic() - this.#dispatchedAt < intervalMs) return;
    this.#dispatchedAt = clock.monotonic();
    this.#report(dispatcher.execute(dispatch({ unattended: true, waitingMax: 0 })));
  }

  async #archive(): Promise<void> {
    const { dispatcher, archive, clock, log } = this.#parts;
    try {
      while (!this.#stopped && (await archiveSome({ dispatcher, archive, now: () => clock.now() })));
    } catch (error) {
      log.warn({ err: error }, "nothing is archived just now");
    }
  }

  /** A disk that fails has said so by itself; the next tick does it again. */
  #report(executed: Promise<unknown>): void {
    executed.catch((error: unknown) => this.#parts.log.warn({ err: error }, "not written down yet; trying again"));
  }
}

function isSomethingTimed({ sessions, locks }: State): boolean {
  return sessions.activeByAgent.size > 0 || locks.byId.size > 0;
}
