/**
 * What the clients of a daemon were told, and whether the daemon still says the same. What was acknowledged must be there,
 * what was refused must have changed nothing, and what follows from the rules must hold: one live session per task, locks and
 * slots with live sessions only, counts that add up. Everything that is otherwise is in `wrong`, as a sentence.
 */
import type { OrchestrateStatus } from "../../src/api/orchestrate.ts";
import type { Lock, Session, TaskWithHistory } from "../../src/api/session.ts";
import type { Task } from "../../src/api/task.ts";
import type { Client } from "./client.ts";
import type { Witness } from "./witness.ts";

/** A task as its owner was told that it is. Its owner alone changes it, but for what its sessions do. */
export interface KnownTask {
  readonly id: string;
  /** In the title, so that a task that was made twice is seen. */
  readonly number: number;
  readonly assignee: string;
  revision: number;
  version: number;
  /** Of people, in order. */
  readonly comments: string[];
  /** Where the last report left it, as long as its owner does not move it. */
  expected: string | null;
  /** Grows with the begin and with the end of every move by its owner. */
  moves: number;
  /** The last of its moves to end, of all moves of all tasks; 0 = none. */
  lastMove: number;
}

export interface KnownSession {
  readonly id: string;
  readonly taskId: string;
  readonly agent: string;
  /** A program of the witness, which nobody reports on. */
  readonly isProgram: boolean;
  /** Callback token; `null`: it was told to nobody, since the answer was lost. */
  readonly token: string | null;
  claimed: boolean;
  reported: { readonly status: "completed" | "failed"; readonly text: string } | null;
  /** Somebody tried to cancel it, or to move or delete its task. */
  mayBeCancelled: boolean;
  /** A report was refused, rightly: it is over. */
  over: boolean;
  /** A client is at it. */
  busy: boolean;
  readonly locks: string[];
  /** Seen in the archive. */
  archived: boolean;
}

/** What the daemon shows at one moment. */
interface Seen {
  readonly status: OrchestrateStatus;
  readonly tasks: readonly Task[];
  readonly sessions: readonly Session[];
  readonly locks: readonly Lock[];
}

/** The title and description of a task: one of them new and the other old is a change that was made half. */
export function contentOf({ number, revision }: Pick<KnownTask, "number" | "revision">) {
  return { title: `T${number} revision ${revision}`, description: `of task ${number}: revision ${revision}` };
}

/** Lock paths: those with the same first letter exclude each other. */
export const LOCK_PATHS = ["a/**", "a/x.ts", "b/y.ts", "b/*.ts", "c/z.ts"] as const;

const READS_MAX = 200;

export class Acknowledged {
  readonly wrong: string[] = [];
  readonly tasks = new Map<string, KnownTask>();
  readonly sessions = new Map<string, KnownSession>();
  /** Deleted. */
  readonly gone = new Set<string>();
  readonly paused = new Set<string>();
  /** Tasks to look at closely with the next check. */
  readonly touched = new Set<string>();
  /** A dispatch was lost without a way to ask again: sessions that nobody knows are no surprise. */
  strangersAllowed = false;
  readonly #human: string;
  readonly #slots: ReadonlyMap<string, number>;
  readonly #witness: Witness;
  /** Compared with the daemon, so far. */
  compared = 0;

  constructor(parts: {
    readonly human: string;
    readonly slots: ReadonlyMap<string, number>;
    readonly witness: Witness;
  }) {
    this.#human = parts.human;
    this.#slots = parts.slots;
    this.#witness = parts.witness;
  }

  /** `all`: every task and session closely, the archived ones too; else those that may have changed since the last check. */
  async check(api: Client, { all }: { readonly all: boolean }): Promise<void> {
    this.wrong.push(...this.#witness.read());
    const seen = await this.#look(api);
    // What a program wrote before its end was told is there by now.
    this.wrong.push(...this.#witness.read());
    this.#checkTasks(seen);
    await this.#checkSessions(api, seen);
    this.#checkActive(seen);
    this.#checkCounts(seen);
    await this.#checkClosely(api, all ? [...this.tasks.keys()] : [...this.touched]);
    this.touched.clear();
    if (all) await this.#checkArchive(api, seen);
  }

  /** A task that its owner reads back; `false` where it is not as its owner was told. */
  compare(task: KnownTask, found: Task): boolean {
    this.compared++;
    const { title, description } = contentOf(task);
    const exact = task.assignee === this.#human;
    const good =
      found.title === title &&
      found.description === description &&
      found.assignee === task.assignee &&
      (exact ? found.version === task.version : found.version >= task.version) &&
      (task.expected === null || found.status === task.expected);
    if (!good) this.wrong.push(`${task.id} should be ${JSON.stringify(task)} but is ${JSON.stringify(found)}`);
    task.version = Math.max(task.version, found.version);
    return good;
  }

  /**
   * A session that somebody was told of, or that was found. `afterMove`: the moves that had ended when its dispatch was asked
   * for; those that ended since may have cancelled it, however late the dispatch is heard of.
   */
  learn(
    { id, taskId, agent, method }: Pick<Session, "id" | "taskId" | "agent" | "method">,
    token: string | null,
    afterMove: number,
  ): KnownSession {
    const known = this.sessions.get(id);
    if (known !== undefined) return known;
    const { moves = 1, lastMove = 0 } = this.tasks.get(taskId) ?? {};
    const session: KnownSession = {
      id,
      taskId,
      agent,
      isProgram: method !== "sessions_spawn",
      token,
      claimed: false,
      reported: null,
      // Of one that was told to nobody, nobody knows when it began.
      mayBeCancelled: token === null || moves % 2 === 1 || lastMove > afterMove,
      over: false,
      busy: false,
      locks: [],
      archived: false,
    };
    this.sessions.set(id, session);
    this.touched.add(taskId);
    return session;
  }

  /** Everything at one moment: the tag of the status changes with every change. */
  async #look(api: Client): Promise<Seen> {
    for (let reads = 0; reads < READS_MAX; reads++) {
      const before = await api.send<OrchestrateStatus>("GET", "/api/orchestrate");
      const [tasks, sessions, locks] = await Promise.all([
        api.all<Task>("tasks"),
        api.all<Session>("sessions"),
        api.all<Lock>("locks"),
      ]);
      const after = await api.send("GET", "/api/orchestrate");
      if (before.headers.get("etag") === after.headers.get("etag"))
        return { status: before.body, tasks, sessions, locks };
    }
    throw new Error("the daemon does not come to rest");
  }

  #checkTasks({ tasks }: Seen): void {
    const numbers = new Set<string>();
    const found = new Map(tasks.map((task) => [task.id, task]));
    for (const task of tasks) {
      const number = task.title.split(" ", 1)[0] ?? "";
      if (numbers.has(number)) this.wrong.push(`${number} was made twice`);
      numbers.add(number);
      if (!this.tasks.has(task.id))
        this.wrong.push(`${task.id} is there, though it was ${this.gone.has(task.id) ? "deleted" : "never made"}`);
    }
    for (const task of this.tasks.values()) {
      const now = found.get(task.id);
      if (now === undefined) this.wrong.push(`${task.id} was made, and is not there`);
      else this.compare(task, now);
    }
  }

  async #checkSessions(api: Client, { sessions }: Seen): Promise<void> {
    const found = new Map(sessions.map((session) => [session.id, session]));
    for (const session of sessions) {
      if (!this.sessions.has(session.id)) {
        if (!this.strangersAllowed) this.wrong.push(`nobody dispatched ${session.id}: ${JSON.stringify(session)}`);
        this.learn(session, null, 0);
      }
    }
    this.strangersAllowed = false;
    for (const known of this.sessions.values()) {
      const now = found.get(known.id);
      if (now !== undefined) this.#compareSession(known, now);
      if (now !== undefined || known.archived) continue;
      known.archived = true;
      const { status, body } = await api.send<Session>("GET", `/api/sessions/${known.id}`);
      if (status === 200) this.#compareSession(known, body);
      else this.wrong.push(`${known.id} was dispatched, and is not there (${status})`);
    }
  }

  #compareSession(known: KnownSession, now: Session): void {
    this.compared++;
    const differs = this.#difference(known, now);
    if (differs !== null) this.wrong.push(`${known.id}: ${differs}: ${JSON.stringify(now)}`);
  }

  #difference(known: KnownSession, now: Session): string | null {
    const { status } = now;
    if (now.taskId !== known.taskId || now.agent !== known.agent) return "is another session";
    if (known.reported !== null) {
      const text = known.reported.status === "completed" ? now.result : now.error?.message;
      return status === known.reported.status && text === known.reported.text
        ? null
        : "its report was acknowledged, and is lost";
    }
    if (known.over) return status === "cancelled" ? null : "a report was refused, though nobody cancelled it";
    if (status === "starting" || status === "running") return null;
    if (status === "stopping" || status === "cancelled") {
      // A program may also be stopping because it has just ended.
      return known.mayBeCancelled || (status === "stopping" && known.isProgram) ? null : "nobody cancelled it";
    }
    if (!known.isProgram) return "it ended by itself";
    const end = this.#witness.runs.get(known.id)?.end;
    if (status === "completed" && end === "ok" && now.exitCode === 0) {
      return now.result?.trim() === `the result of ${known.id}` ? null : "its output is lost";
    }
    return status === "failed" && end === "bad" && now.exitCode === 3
      ? null
      : `its program ended with ${end ?? "nothing"}`;
  }

  #checkActive({ status, tasks, locks }: Seen): void {
    const active = new Map(status.activeSessions.map((session) => [session.id, session]));
    const byId = new Map(tasks.map((task) => [task.id, task]));
    const busy = new Map<string, string>();
    const used = new Map<string, number>();
    const held = new Map<string, string>();
    for (const session of active.values()) {
      const other = busy.get(session.taskId);
      if (other !== undefined) this.wrong.push(`${session.taskId} has two live sessions: ${other} and ${session.id}`);
      busy.set(session.taskId, session.id);
      used.set(session.agent, (used.get(session.agent) ?? 0) + 1);
      const task = byId.get(session.taskId);
      if (session.status !== "stopping" && task?.status !== "in_progress") {
        this.wrong.push(
          `${session.id} is ${session.status}, but its task ${session.taskId} is ${task?.status ?? "gone"}`,
        );
      }
      const known = this.sessions.get(session.id);
      const missing = [...(task?.files ?? []), ...(known?.locks ?? [])].filter((path) => !session.locks.includes(path));
      if (missing.length > 0) this.wrong.push(`${session.id} lost its lock on ${missing.join(", ")}`);
      for (const letter of new Set(
        session.locks.filter((path) => /^[abc]\//.test(path)).map((path) => path.charAt(0)),
      )) {
        const holder = held.get(letter);
        if (holder !== undefined) this.wrong.push(`${holder} and ${session.id} both hold ${letter}`);
        held.set(letter, session.id);
      }
    }
    for (const { agent, availability } of status.agents) {
      const wanted = this.paused.has(agent);
      if (wanted !== (availability === "paused"))
        this.wrong.push(`${agent} was ${wanted ? "paused" : "resumed"}, but is ${availability}`);
    }
    for (const [agent, slots] of this.#slots) {
      if ((used.get(agent) ?? 0) > slots) this.wrong.push(`${agent} has ${used.get(agent)} sessions in ${slots} slots`);
    }
    for (const task of tasks) {
      if (task.status === "in_progress" && task.assignee !== this.#human && !busy.has(task.id)) {
        this.wrong.push(`${task.id} is in progress without a session`);
      }
    }
    for (const lock of locks) {
      if (!active.has(lock.sessionId))
        this.wrong.push(`the lock ${lock.id} belongs to no live session: ${lock.sessionId}`);
    }
  }

  #checkCounts({ status: { metrics, activeSessions } }: Seen): void {
    let total = 0;
    for (const [agent, { dispatched, completed, failed, cancelled }] of Object.entries(metrics.byAgent)) {
      total += dispatched;
      // The outcome of one that is stopping is counted already.
      const open = activeSessions.filter((session) => session.agent === agent && session.status !== "stopping").length;
      if (dispatched !== completed + failed + cancelled + open) {
        this.wrong.push(
          `${agent}: ${dispatched} dispatched, but ${completed} + ${failed} + ${cancelled} ended and ${open} active`,
        );
      }
    }
    if (metrics.totalDispatched !== total)
      this.wrong.push(`${metrics.totalDispatched} dispatched in all, but ${total} by agents`);
  }

  async #checkClosely(api: Client, ids: readonly string[]): Promise<void> {
    for (let at = 0; at < ids.length; at += 16) {
      await Promise.all(
        ids.slice(at, at + 16).map(async (id) => {
          const task = this.tasks.get(id);
          if (task !== undefined) this.#checkComments(task, await api.task(id));
        }),
      );
    }
  }

  #checkComments(task: KnownTask, { comments }: TaskWithHistory): void {
    this.compared++;
    const people = comments.filter((comment) => comment.sessionId === undefined).map((comment) => comment.content);
    if (people.join() !== task.comments.join()) {
      this.wrong.push(`${task.id} should have the comments ${task.comments.join()}, but has ${people.join()}`);
    }
    const bySession = new Map<string, string>();
    for (const { sessionId, content } of comments) {
      if (sessionId === undefined) continue;
      if (bySession.has(sessionId)) this.wrong.push(`${sessionId} has two comments on ${task.id}`);
      bySession.set(sessionId, content);
    }
    for (const session of this.sessions.values()) {
      if (session.taskId !== task.id || session.reported === null) continue;
      const comment = bySession.get(session.id);
      if (!comment?.includes(session.reported.text)) {
        this.wrong.push(
          `${session.id} reported "${session.reported.text}", but its comment is ${comment ?? "missing"}`,
        );
      }
    }
  }

  /** Every session there ever was, counted again. */
  async #checkArchive(api: Client, { sessions, status: { metrics } }: Seen): Promise<void> {
    const all = new Map<string, Session>();
    for (const session of await api.all<Session>("sessions", "&archived=true")) {
      if (all.has(session.id)) this.wrong.push(`${session.id} is in the archive twice`);
      all.set(session.id, session);
    }
    // In both, where the daemon was killed between the two.
    for (const session of sessions) all.set(session.id, session);
    for (const known of this.sessions.values()) {
      const now = all.get(known.id);
      if (now === undefined) this.wrong.push(`${known.id} was dispatched, and is in no list`);
      else this.#compareSession(known, now);
    }
    for (const [agent, counts] of Object.entries(metrics.byAgent)) {
      const own = [...all.values()].filter((session) => session.agent === agent);
      const stopping = own.filter((session) => session.status === "stopping").length;
      const ended = (statuses: readonly string[]) => own.filter((session) => statuses.includes(session.status)).length;
      const recount = {
        dispatched: own.length,
        completed: ended(["completed"]),
        failed: ended(["failed", "timed_out", "stalled", "lost"]),
        cancelled: ended(["cancelled"]),
      };
      for (const [what, counted] of Object.entries(recount) as [keyof typeof recount, number][]) {
        const slack = what === "dispatched" ? 0 : stopping;
        if (counts[what] < counted || counts[what] > counted + slack) {
          this.wrong.push(`${agent}: ${counts[what]} ${what} by the metrics, ${counted} by the sessions`);
        }
      }
    }
  }
}
