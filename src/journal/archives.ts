/** The two archives, of tasks and of sessions, as the daemon reads and writes them. */
import { fromRecord, toRecord } from "../api/records.ts";
import type { EndedSession } from "../core/session.ts";
import { type Task, withNewFields } from "../core/task.ts";
import type { Archive as ArchivePort } from "../dispatcher/ports.ts";
import { openArchive } from "./archive.ts";
import type { Log } from "./log.ts";

const SESSIONS_OF_TASK_MAX = 1000;

type Recorded = Readonly<Record<string, unknown>>;

export interface ArchivePageOf<R> {
  readonly records: readonly R[];
  readonly nextCursor: string | undefined;
}

export interface Archives extends ArchivePort {
  task(id: string): Promise<Task | null>;
  session(id: string): Promise<EndedSession | null>;
  /** Newest first; the cursor is opaque. */
  tasks(cursor: string | undefined, limit: number): Promise<ArchivePageOf<Task>>;
  sessions(cursor: string | undefined, limit: number): Promise<ArchivePageOf<EndedSession>>;
  /** Of a task, newest first, at most so many as anybody reads. */
  sessionsOf(taskId: string): Promise<readonly EndedSession[]>;
  removeTask(id: string): Promise<void>;
  close(): Promise<void>;
}

/** @throws DamagedData */
export async function openArchives(directory: string, log: Log): Promise<Archives> {
  const id = (record: Recorded) => String(record.id);
  const tasks = await openArchive<Recorded>({ directory, name: "tasks", id, log });
  const sessions = await openArchive<Recorded>({
    directory,
    name: "sessions",
    id,
    group: (record) => String(record.taskId),
    log,
  });
  const readBack = <R>(record: Recorded | undefined) => (record === undefined ? null : fromRecord<R>(record));
  return {
    appendTasks: (records) => tasks.append(records.map(toRecord)),
    appendSessions: (records) => sessions.append(records.map(toRecord)),
    hasTask: (taskId) => tasks.has(taskId),
    async task(taskId) {
      const task = readBack<Task>(await tasks.get(taskId));
      return task === null ? null : withNewFields(task);
    },
    session: async (sessionId) => readBack<EndedSession>(await sessions.get(sessionId)),
    async tasks(cursor, limit) {
      const { records, nextCursor } = await tasks.list(cursor, limit);
      return { records: records.map((record) => withNewFields(fromRecord<Task>(record))), nextCursor };
    },
    async sessions(cursor, limit) {
      const { records, nextCursor } = await sessions.list(cursor, limit);
      return { records: records.map((record) => fromRecord<EndedSession>(record)), nextCursor };
    },
    async sessionsOf(taskId) {
      return (await sessions.listGroup(taskId, SESSIONS_OF_TASK_MAX)).map((record) => fromRecord<EndedSession>(record));
    },
    removeTask: (taskId) => tasks.remove([taskId]),
    async close() {
      await Promise.all([tasks.close(), sessions.close()]);
    },
  };
}
