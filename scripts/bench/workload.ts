/** What the load consists of: new tasks, changes, sessions to report on. */
import { Connection, call, requestText } from "./connection.ts";
import { CONNECTIONS, type Request } from "./load.ts";
import type { StartedProgram } from "./programs.ts";

/** The agent that the bench's heartbeat spawns go to. */
export const WORKER = "worker";

const JSON_BODY = { "content-type": "application/json" };

/** A task as people and Jarvis write them. Nobody is dispatched for it: it stays where it is. */
export const NEW_TASK = {
  title: "Compare the three job queues and say which one we take",
  description:
    "Read their documentation and their tests. For each of them:\n\n- what it promises\n- what it costs to run\n- what others say of it",
  priority: "high",
  assignee: "jarvis",
  labels: ["research", "posted"],
  requiresReview: true,
};

export function newTasks(): Request[] {
  return [{ method: "POST", path: "/api/tasks", headers: JSON_BODY, body: JSON.stringify(NEW_TASK) }];
}

/** The id of the task that was put on the board as the nth. */
export function taskId(n: number): string {
  return `t-${String(n).padStart(6, "0")}`;
}

/** Every connection changes its share of the tasks, each in one field. */
export function changes(tasks: number): (connection: number) => Request[] {
  const share = tasks / CONNECTIONS;
  return (connection) =>
    Array.from({ length: share * VALUES }, (_, i) => {
      const n = connection * share + (i % share);
      return {
        method: "PATCH",
        path: `/api/tasks/${taskId(n)}`,
        headers: JSON_BODY,
        body: JSON.stringify(change(n, Math.floor(i / share))),
      };
    });
}

/** So many values each field takes in turn. */
const VALUES = 2;

export function change(n: number, value: number): object {
  switch (n % 4) {
    case 0:
      return { title: `Summarise the release notes, reading ${value}` };
    case 1:
      return { priority: value % 2 === 0 ? "high" : "low" };
    case 2:
      return { labels: ["summaries", `round-${value}`] };
    default:
      return { description: `The notes of all releases since the last summary.\n\nThis is text number ${value}.` };
  }
}

export interface HandedOut {
  readonly taskId: string;
  readonly sessionId: string;
}

/** Puts tasks on the board and dispatches them: sessions that wait for their callbacks. */
export async function handOut(server: StartedProgram, tasks: number): Promise<readonly HandedOut[]> {
  const connections = Array.from({ length: 32 }, () => new Connection(server.url));
  const post = requestText("POST", "/api/tasks", {
    ...NEW_TASK,
    assignee: WORKER,
    labels: ["research"],
    requiresReview: false,
  });
  const dispatch = requestText("POST", "/api/orchestrate", { limit: 500 });
  try {
    let posted = 0;
    await Promise.all(
      connections.map(async (connection) => {
        while (posted++ < tasks) await call(connection, post, 201);
      }),
    );
    const sessions: HandedOut[] = [];
    const [first] = connections;
    while (first !== undefined && sessions.length < tasks) {
      const { dispatched } = await call<{ dispatched: HandedOut[] }>(first, dispatch, 200);
      if (dispatched.length === 0)
        throw new Error(`${tasks} tasks were put on the board, ${sessions.length} were dispatched`);
      sessions.push(...dispatched.map((one) => ({ taskId: one.taskId, sessionId: one.sessionId })));
    }
    return sessions;
  } finally {
    for (const connection of connections) connection.close();
  }
}

/** Every connection reports on its share of the sessions: claimed, then completed. */
export function reports(sessions: readonly HandedOut[]): (connection: number) => Request[] {
  const share = sessions.length / CONNECTIONS;
  return (connection) =>
    sessions.slice(connection * share, (connection + 1) * share).flatMap(({ taskId, sessionId }) =>
      [
        { taskId, sessionId, status: "running", sessionKey: `agent:main:subagent:${sessionId}` },
        { taskId, sessionId, status: "completed", result: RESULT, usage: { inputTokens: 8000, outputTokens: 900 } },
      ].map((body) => ({
        method: "PUT" as const,
        path: "/api/orchestrate",
        headers: JSON_BODY,
        body: JSON.stringify(body),
      })),
    );
}

export const RESULT =
  "Compared. The first one keeps what it promises and costs nothing to run; the notes are in docs/queues.md.";
