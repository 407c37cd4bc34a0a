/**
 * Clients of a daemon that is killed under them: each works on tasks of its own, and all on the sessions that were handed
 * out. What they were told goes into the record; what was under way when the daemon died is found out afterwards.
 */
import type { Task } from "../../src/api/task.ts";
import { type Acknowledged, contentOf, type KnownSession, type KnownTask, LOCK_PATHS } from "./acknowledged.ts";
import type { Answer, Client, Dispatch } from "./client.ts";
import { Random } from "./random.ts";
import { programTaskId } from "./witness.ts";

export const HUMAN = "diego";

export interface CrowdAgent {
  readonly name: string;
  /** Its sessions are handed out, and the crowd reports on them; else they are programs. */
  readonly handedOut: boolean;
}

/** Two whose sessions are handed out, and two that run programs. */
export const CROWD_AGENTS = [
  { name: "claude", handedOut: true, maxConcurrent: 20 },
  { name: "helper", handedOut: true, maxConcurrent: 5 },
  { name: "copilot", handedOut: false, maxConcurrent: 3 },
  { name: "detached", handedOut: false, maxConcurrent: 2 },
] as const;

/** A config with these agents; `command`: what the programs are. */
export function crowdSettings(command: readonly string[]) {
  const adapters = {
    claude: { adapter: "spawn", via: "heartbeat" },
    helper: { adapter: "spawn", via: "heartbeat" },
    copilot: { adapter: "cli", command },
    detached: { adapter: "spawn", via: "process", command },
  };
  const agents = CROWD_AGENTS.map(({ name, maxConcurrent }) => [name, { ...adapters[name], maxConcurrent }]);
  return {
    humans: [HUMAN, "jarvis"],
    dispatch: { maxConcurrent: 28 },
    retry: { maxAttempts: 2, initialDelayMs: 20, maxDelayMs: 100 },
    agents: { ...Object.fromEntries(agents), gemini: { enabled: false } },
  };
}

interface Operation {
  readonly method: string;
  readonly path: string;
  readonly body?: object;
  readonly headers?: Record<string, string>;
  /** The daemon has answered. `again`: it may have done the same before, when nobody heard its answer. */
  answered(answer: Answer<unknown>, again: boolean): void;
  /** No answer came: finds out what became of it. Default: asks again. */
  readonly settle?: (api: Client) => Promise<void>;
}

interface Member {
  readonly random: Random;
  readonly tasks: KnownTask[];
}

const TASKS_PER_MEMBER = 25;
const KEYED_KEPT = 300;

export class Crowd {
  readonly counts = { acknowledged: 0, refused: 0, unknown: 0, askedAgain: 0 };
  readonly #record: Acknowledged;
  readonly #agents: readonly CrowdAgent[];
  readonly #members: readonly Member[];
  readonly #underWay = new Set<Operation>();
  /** Acknowledged POSTs with a key, and what was answered. */
  readonly #keyed: { readonly operation: Operation; readonly text: string }[] = [];
  /** Agents that are being paused or resumed. */
  readonly #pausing = new Set<string>();
  #numbers = 0;
  /** Moves that have ended. */
  #moves = 0;
  #stopped = false;
  #connectionsMayBreak = false;
  #onAnswer: () => void = () => {};

  constructor(
    record: Acknowledged,
    agents: readonly CrowdAgent[],
    { seed, size }: { readonly seed: number; readonly size: number },
  ) {
    this.#record = record;
    this.#agents = agents;
    this.#members = Array.from({ length: size }, (_, index) => ({ random: new Random(seed * 31 + index), tasks: [] }));
  }

  /** All at work until `interrupt`; what is under way then may never be answered. `answered`: the first of them was. */
  work(api: Client): { readonly answered: Promise<void>; readonly ended: Promise<unknown> } {
    this.#stopped = false;
    this.#connectionsMayBreak = false;
    const answered = new Promise<void>((resolve) => {
      this.#onAnswer = resolve;
    });
    return { answered, ended: Promise.all(this.#members.map((member) => this.#workOf(member, api))) };
  }

  /** The daemon is about to die. */
  interrupt(): void {
    this.#stopped = true;
    this.#connectionsMayBreak = true;
  }

  /** Finds out what became of everything that was under way. */
  async settle(api: Client): Promise<void> {
    const operations = [...this.#underWay];
    this.#underWay.clear();
    this.counts.unknown += operations.length;
    // First what changes things, then what is read back: a task that was read before a report on it was heard is not compared after it.
    const repeated = operations.filter(({ settle }) => settle === undefined);
    await Promise.all(repeated.map((operation) => this.#askAgain(api, operation)));
    await Promise.all(operations.map((operation) => operation.settle?.(api)));
    for (const session of this.#record.sessions.values()) session.busy = false;
  }

  /** Reports the end of all that is handed out. */
  async finish(api: Client): Promise<void> {
    for (const session of this.#open()) await this.#perform(api, this.#reportEnd(session, "completed"));
  }

  async #workOf(member: Member, api: Client): Promise<void> {
    try {
      while (!this.#stopped && this.#record.wrong.length === 0) await this.#perform(api, this.#choose(member));
    } catch (error) {
      if (this.#connectionsMayBreak) return;
      this.#wrong(
        "a connection broke while the daemon lived",
        String(error instanceof Error ? (error.cause ?? error.stack) : error),
      );
    }
  }

  async #perform(api: Client, operation: Operation): Promise<void> {
    this.#underWay.add(operation);
    const answer = await api.send(operation.method, operation.path, operation.body, operation.headers);
    this.#underWay.delete(operation);
    this.#onAnswer();
    this.#take(operation, answer, false);
  }

  async #askAgain(api: Client, operation: Operation): Promise<void> {
    this.counts.askedAgain++;
    this.#take(operation, await api.send(operation.method, operation.path, operation.body, operation.headers), true);
  }

  #take(operation: Operation, answer: Answer<unknown>, again: boolean): void {
    const good = answer.status < 300;
    if (good) this.counts.acknowledged++;
    else this.counts.refused++;
    operation.answered(answer, again);
    if (!good || operation.headers?.["idempotency-key"] === undefined) return;
    this.#keyed.push({ operation, text: answer.text });
    if (this.#keyed.length > KEYED_KEPT) this.#keyed.shift();
  }

  #wrong(what: string, text: string): void {
    this.#record.wrong.push(`${what}: ${text}`);
  }

  /** `operation` was answered otherwise than it had to be. */
  #expect(
    operation: Pick<Operation, "method" | "path">,
    answer: Answer<unknown>,
    ...statuses: readonly number[]
  ): boolean {
    if (statuses.includes(answer.status)) return true;
    this.#wrong(
      `${operation.method} ${operation.path}`,
      `${answer.status}, wanted ${statuses.join(" or ")}: ${answer.text}`,
    );
    return false;
  }

  #choose(member: Member): Operation {
    const { random, tasks } = member;
    const task = random.of(tasks);
    if (task === undefined || (tasks.length < TASKS_PER_MEMBER && random.chance(0.15))) return this.#create(member);
    const what = random.weighted({
      report: 10,
      change: 5,
      comment: 4,
      dispatch: 4,
      move: 2,
      remove: 1,
      repeat: 1,
      refused: 1,
      late: 0.5,
      lock: 0.5,
      cancel: 0.3,
      pause: 0.3,
    });
    const chosen = {
      report: () => this.#report(random),
      change: () => this.#change(task),
      comment: () => this.#comment(random, task),
      dispatch: () => this.#dispatch(random),
      move: () => (task.assignee === HUMAN ? undefined : this.#move(random, task)),
      remove: () => (tasks.length < TASKS_PER_MEMBER / 2 ? undefined : this.#remove(member, task)),
      repeat: () => this.#repeat(random),
      refused: () => this.#refused(random, task),
      late: () => this.#late(random),
      lock: () => this.#lock(random),
      cancel: () => this.#cancel(random),
      pause: () => this.#pauseOrResume(random),
    }[what]();
    return chosen ?? this.#change(task);
  }

  #create(member: Member): Operation {
    const { random } = member;
    const number = ++this.#numbers;
    const agent = random.chance(0.35) ? undefined : random.of(this.#agents);
    const files = agent !== undefined && random.chance(0.3) ? [random.of(LOCK_PATHS) ?? ""] : [];
    // A program's task says in its id what there is to do; so that id is not left to the daemon.
    const id =
      agent?.handedOut === false
        ? programTaskId({
            number,
            agent: agent.name,
            file: files[0],
            succeeds: random.chance(0.75),
            seconds: random.below(6) / 10,
          })
        : `t${number}`;
    const withKey = agent?.handedOut !== false && random.chance(0.5);
    const body = {
      ...(withKey ? {} : { id }),
      ...contentOf({ number, revision: 0 }),
      assignee: agent?.name ?? HUMAN,
      files,
      requiresReview: random.chance(0.2),
      priority: random.of(["urgent", "high", "medium", "low"]),
    };
    const made = (task: Task) => {
      const differs = Object.entries(body).filter(
        ([key, value]) => JSON.stringify(task[key as keyof Task]) !== JSON.stringify(value),
      );
      if (differs.length > 0) this.#wrong(`task ${number} was made half`, JSON.stringify(task));
      if (this.#record.tasks.has(task.id)) return;
      const known: KnownTask = {
        id: task.id,
        number,
        assignee: body.assignee,
        revision: 0,
        version: task.version,
        comments: [],
        expected: null,
        moves: 0,
        lastMove: 0,
      };
      this.#record.tasks.set(task.id, known);
      this.#record.touched.add(task.id);
      member.tasks.push(known);
    };
    const operation: Operation = {
      method: "POST",
      path: "/api/tasks",
      body,
      headers: withKey ? { "idempotency-key": `make ${number}` } : {},
      answered: (answer) => {
        if (this.#expect(operation, answer, 201)) made(answer.body as Task);
      },
      ...(withKey
        ? {}
        : {
            settle: async (api: Client) => {
              const found = await api.send<Task>("GET", `/api/tasks/${id}`);
              if (found.status === 200) made(found.body);
            },
          }),
    };
    return operation;
  }

  #change(task: KnownTask): Operation {
    const before = { ...task };
    const body = contentOf({ number: task.number, revision: task.revision + 1 });
    const exact = task.assignee === HUMAN;
    const changed = (after: Task) => {
      const counts = exact ? after.version === before.version + 1 : after.version > before.version;
      if (!counts || after.title !== body.title || after.description !== body.description) {
        this.#wrong(`${task.id} was changed half`, JSON.stringify(after));
      }
      task.revision = before.revision + 1;
      task.version = after.version;
    };
    const operation: Operation = {
      method: "PATCH",
      path: `/api/tasks/${task.id}`,
      body,
      headers: exact ? { "if-match": `"${task.version}"` } : {},
      answered: (answer) => {
        if (this.#expect(operation, answer, 200)) changed(answer.body as Task);
      },
      settle: async (api) => {
        const found = await api.task(task.id);
        if (found.title === body.title) changed(found);
        else this.#record.compare(task, found);
      },
    };
    return operation;
  }

  #comment(random: Random, task: KnownTask): Operation {
    const content = `comment ${++this.#numbers}`;
    const withKey = random.chance(0.5);
    const made = () => {
      task.comments.push(content);
      this.#record.touched.add(task.id);
    };
    const operation: Operation = {
      method: "POST",
      path: `/api/tasks/${task.id}/comments`,
      body: { author: HUMAN, content },
      headers: withKey ? { "idempotency-key": content } : {},
      answered: (answer) => {
        if (this.#expect(operation, answer, 201)) made();
      },
      ...(withKey
        ? {}
        : {
            settle: async (api: Client) => {
              const { comments } = await api.task(task.id);
              if (comments.some((comment) => comment.content === content)) made();
            },
          }),
    };
    return operation;
  }

  #remove(member: Member, task: KnownTask): Operation {
    this.#mayCancelSessionsOf(task);
    task.moves++;
    task.expected = null;
    member.tasks.splice(member.tasks.indexOf(task), 1);
    const operation: Operation = {
      method: "DELETE",
      path: `/api/tasks/${task.id}`,
      answered: (answer, again) => {
        if (!this.#expect(operation, answer, 204, ...(again ? [404] : []))) return;
        this.#record.tasks.delete(task.id);
        this.#record.gone.add(task.id);
      },
    };
    return operation;
  }

  #move(random: Random, task: KnownTask): Operation {
    this.#mayCancelSessionsOf(task);
    task.moves++;
    task.expected = null;
    const status = random.of(["todo", "todo", "todo", "backlog", "done"] as const);
    const operation: Operation = {
      method: "PATCH",
      path: `/api/tasks/${task.id}`,
      body: random.chance(0.7) ? { status, hold: null } : { status },
      answered: (answer) => {
        task.moves++;
        task.lastMove = ++this.#moves;
        if (this.#expect(operation, answer, 200)) task.version = Math.max(task.version, (answer.body as Task).version);
      },
    };
    return operation;
  }

  #mayCancelSessionsOf(task: KnownTask): void {
    for (const session of this.#record.sessions.values()) if (session.taskId === task.id) session.mayBeCancelled = true;
  }

  #dispatch(random: Random): Operation {
    const withKey = random.chance(0.5);
    const afterMove = this.#moves;
    const operation: Operation = {
      method: "POST",
      path: "/api/orchestrate",
      ...(random.chance(0.2) ? {} : { body: { limit: 1 + random.below(4) } }),
      headers: withKey ? { "idempotency-key": `dispatch ${++this.#numbers}` } : {},
      answered: (answer) => {
        if (!this.#expect(operation, answer, 200)) return;
        for (const one of (answer.body as Dispatch).dispatched ?? []) {
          if (one.again) this.#wrong("handed out again before its time", JSON.stringify(one));
          const token = /Authorization: Bearer ([^']+)'/.exec(one.spawn?.args.task ?? "")?.[1];
          const told = token ?? (one.method === "sessions_spawn" ? null : "");
          this.#record.learn({ ...one, id: one.sessionId }, told, afterMove);
        }
      },
      ...(withKey
        ? {}
        : {
            settle: async () => {
              this.#record.strangersAllowed = true;
            },
          }),
    };
    return operation;
  }

  /** Handed out, and nobody has reported its end yet. */
  #open(): KnownSession[] {
    return [...this.#record.sessions.values()].filter(
      (session) => !session.isProgram && session.reported === null && !session.over && !session.busy,
    );
  }

  #report(random: Random): Operation | undefined {
    const session = random.of(this.#open());
    if (session === undefined) return undefined;
    if (!session.claimed && random.chance(0.7)) return this.#claim(session);
    return this.#reportEnd(session, random.chance(0.75) ? "completed" : "failed");
  }

  #claim(session: KnownSession): Operation {
    return this.#callback(session, { status: "running", progress: "at work" }, () => {
      session.claimed = true;
    });
  }

  #reportEnd(session: KnownSession, status: "completed" | "failed"): Operation {
    const text = `${status} by ${session.id}`;
    const task = this.#record.tasks.get(session.taskId);
    const moves = task?.moves ?? 0;
    return this.#callback(
      session,
      status === "completed" ? { status, result: text } : { status, error: text },
      (newStatus) => {
        session.reported = { status, text };
        this.#record.touched.add(session.taskId);
        // Where its owner did not move it meanwhile.
        if (
          task !== undefined &&
          moves % 2 === 0 &&
          task.moves === moves &&
          status === "completed" &&
          !session.mayBeCancelled
        ) {
          if (newStatus !== "done" && newStatus !== "review")
            this.#wrong(`${task.id} after its completion`, String(newStatus));
          task.expected = newStatus;
        }
      },
    );
  }

  #callback(session: KnownSession, report: object, done: (newStatus: string | null) => void): Operation {
    session.busy = true;
    const operation: Operation = {
      method: "PUT",
      path: "/api/orchestrate",
      body: { taskId: session.taskId, sessionId: session.id, sessionKey: `key of ${session.id}`, ...report },
      headers: session.token === null ? {} : { authorization: `Bearer ${session.token}` },
      answered: (answer, again) => {
        session.busy = false;
        const { duplicate, newStatus } = answer.body as { duplicate?: true; newStatus: string | null };
        if (!this.#expect(operation, answer, 200, ...(session.mayBeCancelled ? [409] : []))) return;
        if (answer.status === 409) session.over = true;
        else if (duplicate && !again && "status" in report && report.status !== "running")
          this.#wrong("a first report is a duplicate", answer.text);
        else done(newStatus);
      },
    };
    return operation;
  }

  #cancel(random: Random): Operation | undefined {
    const session = random.of([...this.#record.sessions.values()].slice(-20));
    if (session === undefined || session.reported !== null) return undefined;
    session.mayBeCancelled = true;
    const operation: Operation = {
      method: "POST",
      path: `/api/sessions/${session.id}/cancel`,
      answered: (answer) => void this.#expect(operation, answer, 202, 409),
    };
    return operation;
  }

  #lock(random: Random): Operation | undefined {
    const session = random.of(this.#open());
    if (session === undefined) return undefined;
    session.busy = true;
    const path = `extra/${++this.#numbers}`;
    const operation: Operation = {
      method: "POST",
      path: "/api/locks",
      body: { sessionId: session.id, paths: [path], mode: "exclusive" },
      headers: { "idempotency-key": path },
      answered: (answer) => {
        session.busy = false;
        if (this.#expect(operation, answer, 201, ...(session.mayBeCancelled ? [409] : [])) && answer.status === 201)
          session.locks.push(path);
      },
    };
    return operation;
  }

  #pauseOrResume(random: Random): Operation | undefined {
    // Seldom more than one at a time: the others have work to do.
    const agent = random.of([...this.#record.paused]) ?? random.of(this.#agents)?.name ?? "";
    if (this.#pausing.has(agent)) return undefined;
    this.#pausing.add(agent);
    const { paused } = this.#record;
    const isPaused = paused.has(agent);
    const operation: Operation = {
      method: "POST",
      path: `/api/agents/${agent}/${isPaused ? "resume" : "pause"}`,
      answered: (answer) => {
        this.#pausing.delete(agent);
        if (!this.#expect(operation, answer, 200)) return;
        if (isPaused) paused.delete(agent);
        else paused.add(agent);
      },
    };
    return operation;
  }

  /** What must be refused, and so must change nothing. */
  #refused(random: Random, task: KnownTask): Operation | undefined {
    const nothing = { title: "never", description: "never" };
    const path = `/api/tasks/${task.id}`;
    const refusals: readonly [Omit<Operation, "answered">, number][] = [
      [{ method: "PATCH", path, body: nothing, headers: { "if-match": `"${task.version + 1000}"` } }, 412],
      [{ method: "PATCH", path, body: { ...nothing, titel: "never" } }, 400],
      [{ method: "POST", path: "/api/tasks", body: { ...nothing, id: task.id } }, 409],
      [{ method: "POST", path: "/api/tasks/nobody/comments", body: { author: HUMAN, content: "never" } }, 404],
      [{ method: "DELETE", path: "/api/tasks/nobody" }, 404],
      [
        { method: "PUT", path: "/api/orchestrate", body: { taskId: "nobody", status: "completed", result: "never" } },
        404,
      ],
    ];
    const [operation, status] = random.of(refusals) as [Omit<Operation, "answered">, number];
    return { ...operation, answered: (answer) => void this.#expect(operation, answer, status) };
  }

  /** The same request under the same key: the same answer, and nothing happens. */
  #repeat(random: Random): Operation | undefined {
    const before = random.of(this.#keyed);
    if (before === undefined) return undefined;
    const { method, path, body, headers = {} } = before.operation;
    return {
      method,
      path,
      ...(body === undefined ? {} : { body }),
      headers,
      answered: (answer) => {
        if (answer.text !== before.text || answer.headers.get("idempotency-replayed") !== "true") {
          this.#wrong(`${method} ${path} under the same key again`, `${answer.text}, first ${before.text}`);
        }
      },
    };
  }

  /** A report on a session that is over: the same is a duplicate, another one refused. */
  #late(random: Random): Operation | undefined {
    const session = random.of([...this.#record.sessions.values()].filter(({ reported }) => reported !== null));
    if (session === undefined || session.reported === null) return undefined;
    const { taskId, id: sessionId, reported } = session;
    const same = random.chance(0.5);
    const status = same === (reported.status === "completed") ? "completed" : "failed";
    const operation: Operation = {
      method: "PUT",
      path: "/api/orchestrate",
      body: { taskId, sessionId, status, ...(status === "completed" ? { result: "late" } : { error: "late" }) },
      answered: (answer) => {
        const good = this.#expect(operation, answer, same ? 200 : 409);
        if (good && same && (answer.body as { duplicate?: true }).duplicate !== true)
          this.#wrong("a late report is no duplicate", answer.text);
      },
    };
    return operation;
  }
}
