/**
 * Makes wanted and real meet: every active session with a run has its run followed, every run whose session is over is
 * stopped. Level-triggered: it compares, so a restart is nothing special, and a missed event does no harm.
 */
import { runEnded, runStarted } from "../core/decide/report.ts";
import type { StoredEvent } from "../core/event.ts";
import { type ActiveSession, hasRun } from "../core/session.ts";
import type { State } from "../core/state.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { AgentAdapter, Run, RunEnd, RunSpec } from "./ports.ts";
import type { Signs } from "./signs.ts";

export interface SupervisorParts {
  readonly dispatcher: Dispatcher;
  readonly signs: Signs;
  readonly now: () => number;
  /** The adapter for an agent's session; `null` when the agent is gone from the config. */
  readonly adapterFor: (session: ActiveSession) => AgentAdapter | null;
  /** Everything the adapter needs, made from the task as it stands. */
  readonly specFor: (session: ActiveSession, state: State) => RunSpec;
  readonly log: { error(facts: object, message: string): void; debug(facts: object, message: string): void };
}

interface Followed {
  run: Run | null;
  /** What the adapter told, until it is written down. */
  end: RunEnd | null;
  stopped: boolean;
}

export class Supervisor {
  readonly #parts: SupervisorParts;
  readonly #followed = new Map<string, Followed>();
  readonly #unsubscribe: () => void;
  #closed = false;

  constructor(parts: SupervisorParts) {
    this.#parts = parts;
    this.#unsubscribe = parts.dispatcher.subscribe((events) => this.#onCommitted(events));
  }

  /** The runs that are followed just now. */
  get size(): number {
    return this.#followed.size;
  }

  /** Compares all sessions with all runs. Called at the start, and again with every tick of the timer. */
  reconcile(): void {
    if (!this.#parts.dispatcher.isSettled) return;
    const { activeByAgent } = this.#parts.dispatcher.state.sessions;
    for (const sessions of activeByAgent.values()) {
      for (const session of sessions.values()) this.#reconcileOne(session);
    }
    for (const [id, followed] of this.#followed) {
      const session = this.#parts.dispatcher.state.sessions.byId.get(id);
      if (session === undefined || "completedAt" in session) this.#letGo(id, followed);
      else if (followed.end !== null) this.#writeDown(id, followed.end);
    }
  }

  /** A person cannot wait for the grace: ends the run of a session that is stopping anyway. */
  stopNow(sessionId: string): void {
    const followed = this.#followed.get(sessionId);
    if (followed === undefined || followed.stopped) return;
    followed.stopped = true;
    followed.run?.stop();
  }

  /** Lets go of all runs, which go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    await Promise.all([...this.#followed.values()].map((followed) => followed.run?.detach()));
    this.#followed.clear();
  }

  #onCommitted(events: readonly StoredEvent[]): void {
    const { sessions } = this.#parts.dispatcher.state;
    for (const { event } of events) {
      if (event.type === "session.ended") this.#parts.signs.forget(event.sessionId);
      const id =
        event.type === "session.started" ? event.session.id : event.type === "session.settled" ? event.sessionId : null;
      const session = id === null ? undefined : sessions.byId.get(id);
      if (session !== undefined && !("completedAt" in session)) this.#reconcileOne(session);
    }
  }

  #reconcileOne(session: ActiveSession): void {
    if (this.#closed || !hasRun(session)) return;
    if (!this.#followed.has(session.id)) this.#open(session);
    if (session.status === "stopping" && session.stopAt <= this.#parts.now()) this.stopNow(session.id);
  }

  #open(session: ActiveSession): void {
    const { adapterFor, specFor, dispatcher, signs, now } = this.#parts;
    const followed: Followed = { run: null, end: null, stopped: false };
    this.#followed.set(session.id, followed);
    const adapter = adapterFor(session);
    if (adapter === null) {
      this.#ended(session.id, followed, gone(session));
      return;
    }
    followed.run = adapter.open(specFor(session, dispatcher.state), {
      started: (facts) => {
        signs.note(session.id, now());
        if (!this.#closed) this.#try(session.id, dispatcher.execute(runStarted(session.id, facts)));
      },
      sign: () => signs.note(session.id, now()),
      ended: (end) => this.#ended(session.id, followed, end),
    });
  }

  #ended(sessionId: string, followed: Followed, end: RunEnd): void {
    if (this.#closed) return;
    followed.end = end;
    this.#writeDown(sessionId, end);
  }

  #writeDown(sessionId: string, end: RunEnd): void {
    this.#try(sessionId, this.#parts.dispatcher.execute(runEnded({ sessionId, ...end })));
  }

  #letGo(sessionId: string, followed: Followed): void {
    this.#followed.delete(sessionId);
    followed.run
      ?.detach()
      .catch((error: unknown) => this.#parts.log.error({ err: error, sessionId }, "a run could not be let go"));
  }

  /** What could not be written down stays in `end`, and the next tick tries again. */
  #try(sessionId: string, written: Promise<unknown>): void {
    written.catch((error: unknown) =>
      this.#parts.log.error({ err: error, sessionId }, "not written down yet; trying again"),
    );
  }
}

function gone(session: ActiveSession): RunEnd {
  return {
    exit: {},
    outcome: {
      status: "lost",
      error: {
        code: "BAD_CONFIG",
        message: `the agent ${session.agent} is gone from the config, so its run cannot be followed`,
      },
    },
    cost: { usd: null, basis: "unknown" },
  };
}
