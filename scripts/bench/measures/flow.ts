/** The whole flow at 50 connections: a task is put on the board, dispatched, handed out to a heartbeat, completed by its callback. */
import { Connection, call, requestText } from "../connection.ts";
import { CONNECTIONS, fire, type Round, roundOf } from "../load.ts";
import { compared, type Measure, ROUNDS, takeTurns, total, warmUp } from "../measure.ts";
import { type StartedProgram, startBare, startDaemon } from "../programs.ts";
import { emptyDirectory } from "../seed.ts";
import { watchShares } from "../shares.ts";
import { type HandedOut, NEW_TASK, newTasks, RESULT, WORKER } from "../workload.ts";

/** One of the connections dispatches, all others put tasks on the board and complete them. */
const WORKERS = CONNECTIONS - 1;
/** On their way at the same time. */
const UNDER_WAY_MAX = 1000;
/** Answers that the same flow costs a server that does nothing: one to put it on the board, one to complete it. */
const ANSWERS_PER_FLOW = 2;

export const flow: Measure = async ({ seconds, directory }) => {
  const data = directory("data");
  emptyDirectory(data);
  const bare = await startBare();
  const daemon = await startDaemon(data);
  const reference = async () => {
    const round = await fire({ server: bare, requests: newTasks, status: 201, seconds });
    return { ...round, rate: round.rate / ANSWERS_PER_FLOW, serverUs: round.serverUs * ANSWERS_PER_FLOW };
  };
  const warm = await warmUp({ flow: () => flows(daemon, seconds), reference });
  const rounds = await takeTurns(ROUNDS, {
    bare: { program: bare, turn: reference },
    flow: { program: daemon, turn: () => flows(daemon, seconds) },
  });
  const completed = await completedOf(daemon);
  const counted = total([...rounds.flow, ...warm.flow]);
  if (completed !== counted) throw new Error(`${counted} tasks were completed, the metrics say ${completed}`);
  await bare.kill();
  await daemon.stop();
  return [
    compared({
      measure: "whole flow: posted, dispatched, completed",
      rounds: rounds.flow,
      reference: rounds.bare,
      what: "2 bare POSTs",
      target: { of: "figure", at: "least", value: 3500 },
    }),
  ];
};

const POST = requestText("POST", "/api/tasks", { ...NEW_TASK, assignee: WORKER, requiresReview: false });
const DISPATCH = requestText("POST", "/api/orchestrate");

/** Flows that begin within the time; all of them are led to their end. */
export async function flows(server: StartedProgram, seconds: number): Promise<Round> {
  const connections = Array.from({ length: WORKERS }, () => new Connection(server.url));
  const dispatcher = new Connection(server.url);
  const handedOut: HandedOut[] = [];
  const news = new News();
  const shares = watchShares(server);
  const startedAt = performance.now();
  const until = startedAt + seconds * 1000;
  let posting = 0;
  let posted = 0;
  let dispatched = 0;
  let completed = 0;
  const isTime = () => performance.now() < until;
  const isOver = () => !isTime() && completed === posted + posting;

  const work = async (connection: Connection) => {
    while (!isOver()) {
      const session = handedOut.pop();
      if (session !== undefined) {
        await call(connection, completion(session), 200);
        completed++;
      } else if (isTime() && posted + posting - completed < UNDER_WAY_MAX) {
        posting++;
        await call(connection, POST, 201);
        posting--;
        posted++;
      } else {
        await news.next();
        continue;
      }
      news.tell();
    }
  };
  const dispatch = async () => {
    while (!isOver()) {
      if (posted <= dispatched) {
        await news.next();
        continue;
      }
      const answer = await call<{ dispatched: readonly HandedOut[] }>(dispatcher, DISPATCH, 200);
      dispatched += answer.dispatched.length;
      for (const { taskId, sessionId } of answer.dispatched) handedOut.push({ taskId, sessionId });
      news.tell();
    }
  };
  const timer = setTimeout(() => news.tell(), seconds * 1000);
  try {
    await Promise.all([dispatch(), ...connections.map(work)]);
  } finally {
    clearTimeout(timer);
    for (const connection of [dispatcher, ...connections]) connection.close();
  }
  return roundOf(completed, (performance.now() - startedAt) / 1000, shares());
}

/** Wakes those who wait for anything to change. */
class News {
  #waiting: (() => void)[] = [];

  next(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  tell(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}

function completion({ taskId, sessionId }: HandedOut): string {
  return requestText("PUT", "/api/orchestrate", { taskId, sessionId, status: "completed", result: RESULT });
}

async function completedOf({ url }: StartedProgram): Promise<number> {
  const answer = await fetch(`${url}/api/orchestrate`);
  const { metrics } = (await answer.json()) as { metrics: { byAgent: Record<string, { completed: number }> } };
  return metrics.byAgent[WORKER]?.completed ?? 0;
}
