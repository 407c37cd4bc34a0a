/**
 * Makes wanted and real meet: every active session with a run has its run followed, every run whose session is settled is
 * stopped, and what an agent says that it did is verified where its task asks for that. Level-triggered: committed events only say
 * sooner what the next comparison would find, so a restart is nothing special.
 */
import { type RunReport, runEnded, runStarted } from "../core/decide/report.ts";
import type { Command } from "../core/decision.ts";
import type { StoredEvent } from "../core/event.ts";
import { type ActiveSession, hasProgram, hasRun, isActive, type RunFacts } from "../core/session.ts";
import type { State } from "../core/state.ts";
import type { Dispatcher } from "./dispatcher.ts";
import type { AgentAdapter, Run, RunEnd, RunSpec, Verifier } from "./ports.ts";
import type { Signs } from "./signs.ts";

export interface SupervisorParts {
  readonly dispatcher: Dispatcher;
  readonly signs: Signs;
  /** Ms since the epoch. */
  readonly now: () => number;
  /** By how the session was started, whatever the config says of its agent by now; `null` for what has no run. */
  readonly adapterOf: (session: ActiveSession) => AgentAdapter | null;
  /** Everything the adapter needs, made from the task as it stands. */
  readonly specFor: (session: ActiveSession, state: State) => RunSpec;
  readonly verifier: Verifier;
  readonly log: { error(facts: object, message: string): void };
}

/** What is known of a run here, until all of it is written down. */
interface Followed {
  run: Run | null;
  facts: RunFacts | null;
  end: Omit<RunReport, "sessionId"> | null;
  /** The verifier that runs now, after the program's end. */
  verifying: string | null;
  /** A write is under way. */
  writing: boolean;
  /** From when on it is to be stopped; `null` while its session is not settled. */
  stopAt: number | null;
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

  /** Does what is due and compares all sessions with all runs: at the start, and with every tick of the timer. */
  reconcile(): void {
    for (const [id, followed] of this.#followed) {
      this.#stopIfDue(followed);
      // Verifiers have their own time: while one runs, the silence of its session is no stall.
      if (followed.verifying !== null) this.#noteVerifying(id, followed.verifying);
      this.#writeDown(id, followed);
    }
    // Only what is on disk counts. Under load the head is ahead most of the time, but then events tell everything.
    if (this.#parts.dispatcher.isSettled) this.#compare();
  }

  /** A person cannot wait for the grace: ends the run of a session that is settled. */
  stopNow(sessionId: string): void {
    const followed = this.#followed.get(sessionId);
    if (followed === undefined) return;
    followed.stopAt = this.#parts.now();
    this.#stopIfDue(followed);
  }

  /** Lets go of all runs, which go on. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#unsubscribe();
    await Promise.all([...this.#followed.values()].map((followed) => followed.run?.detach()));
    this.#followed.clear();
  }

  /** Acts on what the events themselves say: the head may already show what is not on disk yet. */
  #onCommitted(events: readonly StoredEvent[]): void {
    for (const { event } of events) {
      if (event.type === "session.started") this.#follow(event.session);
      else if (event.type === "session.reported") this.#onReported(event.sessionId, event.stopAt);
      else if (event.type === "session.settled") this.#onSettled(event.sessionId, event.stopAt);
      else if (event.type === "session.ended") this.#letGo(event.sessionId);
    }
  }

  #compare(): void {
    const { sessions } = this.#parts.dispatcher.state;
    for (const active of sessions.activeByAgent.values()) {
      for (const session of active.values()) {
        this.#follow(session);
        if (session.status === "stopping") this.#onSettled(session.id, session.stopAt);
        else if (session.reported !== undefined) this.#onReported(session.id, session.reported.stopAt);
      }
    }
    for (const id of this.#followed.keys()) {
      const session = sessions.byId.get(id);
      if (session === undefined || !isActive(session)) this.#letGo(id);
    }
  }

  #follow(session: ActiveSession): void {
    if (this.#closed || this.#followed.has(session.id)) return;
    const { adapterOf, specFor, dispatcher, signs, now, log } = this.#parts;
    const { id } = session;
    if (!hasRun(session)) return;
    const followed: Followed = {
      run: null,
      facts: null,
      end: null,
      verifying: null,
      writing: false,
      stopAt: null,
      stopped: false,
    };
    this.#followed.set(id, followed);
    if (!hasProgram(session))
      return this.#onRunEnd(id, followed, { exit: {}, outcome: { status: "completed", result: "" } });
    try {
      const adapter = adapterOf(session);
      if (adapter === null) throw new Error(`nothing here can follow a session of ${session.method}`);
      followed.run = adapter.open(specFor(session, dispatcher.state), {
        started: (facts) => {
          signs.note(id, now());
          followed.facts = facts;
          this.#writeDown(id, followed);
        },
        sign: (progress) => signs.note(id, now(), progress),
        ended: (end) => this.#onRunEnd(id, followed, end),
      });
    } catch (error) {
      log.error({ err: error, sessionId: id }, "a run could not be opened");
      followed.end = notOpened(error);
      this.#writeDown(id, followed);
    }
  }

  /**
   * Nothing of the program is left. What it says that it did is verified first. Where somebody decided otherwise already, a verifier
   * that was begun before a restart is only stopped.
   */
  #onRunEnd(id: string, followed: Followed, end: Omit<RunReport, "sessionId">): void {
    const session = this.#parts.dispatcher.state.sessions.byId.get(id);
    const saysDone = session?.reported !== undefined || end.outcome.status === "completed";
    if (session?.verify === undefined || !isActive(session) || !saysDone) {
      followed.end = end;
      return this.#writeDown(id, followed);
    }
    followed.verifying = "";
    this.#detach(id, followed.run);
    followed.stopAt = null;
    followed.stopped = false;
    followed.run = this.#parts.verifier.verify(session, {
      began: (name) => {
        followed.verifying = name;
        this.#noteVerifying(id, name);
      },
      ended: (verification) => {
        followed.verifying = null;
        followed.end = { ...end, verification };
        this.#writeDown(id, followed);
      },
    });
    if (session.status === "stopping") followed.run.stop();
  }

  #noteVerifying(id: string, name: string): void {
    const { signs, now } = this.#parts;
    signs.note(id, now(), name === "" ? undefined : `verifying: ${name}`);
  }

  /** Its program may go on for a while; verifiers that look at what it did already have a time of their own. */
  #onReported(sessionId: string, stopAt: number): void {
    if (this.#followed.get(sessionId)?.verifying === null) this.#onSettled(sessionId, stopAt);
  }

  /** The program, or the verifier that looks at what it did, is to be stopped. */
  #onSettled(sessionId: string, stopAt: number): void {
    const followed = this.#followed.get(sessionId);
    if (followed === undefined) return;
    followed.stopAt = Math.min(stopAt, followed.stopAt ?? stopAt);
    this.#stopIfDue(followed);
  }

  #stopIfDue(followed: Followed): void {
    if (followed.stopAt === null || followed.stopped || followed.stopAt > this.#parts.now()) return;
    followed.stopped = true;
    followed.run?.stop();
  }

  #letGo(sessionId: string): void {
    this.#parts.signs.forget(sessionId);
    const run = this.#followed.get(sessionId)?.run;
    this.#followed.delete(sessionId);
    this.#detach(sessionId, run);
  }

  #detach(sessionId: string, run: Run | null | undefined): void {
    const { log } = this.#parts;
    run?.detach().catch((error: unknown) => log.error({ err: error, sessionId }, "a run could not be let go"));
  }

  /** Writes down what the adapter told, the end last. What could not be written stays, and the next tick tries again. */
  #writeDown(sessionId: string, followed: Followed): void {
    const { facts, end } = followed;
    if (this.#closed || followed.writing || (facts === null && end === null)) return;
    const command: Command<null> =
      facts === null ? runEnded({ sessionId, ...(end as RunEnd) }) : runStarted(sessionId, facts);
    followed.writing = true;
    this.#parts.dispatcher.execute(command).then(
      ({ ok }) => {
        followed.writing = false;
        if (facts !== null) followed.facts = null;
        else followed.end = null;
        // The agent called back in the very moment of its program's end: its word counts, and is verified.
        if (!ok && end !== null) return this.#onRunEnd(sessionId, followed, end);
        this.#writeDown(sessionId, followed);
      },
      (error: unknown) => {
        followed.writing = false;
        this.#parts.log.error({ err: error, sessionId }, "not written down yet; trying again");
      },
    );
  }
}

function notOpened(error: unknown): RunEnd {
  const message = error instanceof Error ? error.message : String(error);
  return {
    exit: {},
    outcome: { status: "failed", error: { code: "START_FAILED", message: `its run could not be opened: ${message}` } },
  };
}
