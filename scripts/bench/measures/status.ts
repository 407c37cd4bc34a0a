/** GET /api/orchestrate with 1,000 tasks and 100 sessions, at rest and while writes change them, against a hello-world. */
import { Connection, requestText } from "../connection.ts";
import { fire, type Request } from "../load.ts";
import { compared, type Measure, ROUNDS, takeTurns, warmUp } from "../measure.ts";
import { type StartedProgram, startBare, startDaemon } from "../programs.ts";
import { emptyDirectory, mixedTask, seedBoard } from "../seed.ts";
import { change, changes, taskId } from "../workload.ts";

const TASKS = 1000;
const SESSIONS = 100;
const WRITES_PER_SECOND = 500;

export const status: Measure = async ({ seconds, directory }) => {
  const data = directory("data");
  emptyDirectory(data);
  await seedBoard(data, { tasks: TASKS, sessions: SESSIONS, task: mixedTask });
  const bare = await startBare();
  const daemon = await startDaemon(data);

  const hello = () => fire({ server: bare, requests: get("/"), seconds });
  const atRest = () => fire({ server: daemon, requests: get("/api/orchestrate"), seconds });
  const heartbeat = () => fire({ server: daemon, requests: get("/api/orchestrate?format=heartbeat"), seconds });
  const whileChanged = async () => {
    const stop = write(daemon, WRITES_PER_SECOND);
    const round = await fire({ server: daemon, requests: get("/api/orchestrate"), seconds });
    const { perSecond } = await stop();
    if (perSecond < WRITES_PER_SECOND * 0.8)
      throw new Error(`${WRITES_PER_SECOND} changes a second were wanted, ${perSecond} were made`);
    return round;
  };
  const atFullLoad = async () => {
    const [round] = await Promise.all([
      fire({ server: daemon, requests: get("/api/orchestrate"), seconds }),
      fire({ server: daemon, requests: changes(TASKS), seconds }),
    ]);
    return round;
  };
  const bytes = await sizeOf(daemon);
  const sameBytes = () => fire({ server: bare, requests: get(`/bytes/${bytes}`), seconds });
  await warmUp({ hello, sameBytes, atRest, heartbeat, whileChanged });

  const rounds = await takeTurns(ROUNDS, {
    hello: { program: bare, turn: hello },
    sameBytes: { program: bare, turn: sameBytes },
    atRest: { program: daemon, turn: atRest },
    heartbeat: { program: daemon, turn: heartbeat },
    whileChanged: { program: daemon, turn: whileChanged },
    atFullLoad: { program: daemon, turn: atFullLoad },
  });
  await bare.kill();
  await daemon.stop();

  const against = { reference: rounds.hello, what: "hello-world" };
  const target = { of: "ratio", at: "least", value: 0.6 } as const;
  const what = `GET /api/orchestrate (${Math.round(bytes / 1024)} KiB)`;
  return [
    compared({ ...against, measure: what, rounds: rounds.atRest, target }),
    compared({
      reference: rounds.sameBytes,
      what: "a bare Fastify, as many bytes",
      measure: `${what}, beside what its size costs`,
      rounds: rounds.atRest,
      target: null,
    }),
    compared({
      ...against,
      measure: `${what}, ${WRITES_PER_SECOND} PATCH/s beside it`,
      rounds: rounds.whileChanged,
      target,
    }),
    compared({
      ...against,
      measure: `${what}, 50 connections of PATCH beside it`,
      rounds: rounds.atFullLoad,
      target: null,
    }),
    compared({ ...against, measure: "GET /api/orchestrate?format=heartbeat", rounds: rounds.heartbeat, target: null }),
  ];
};

function get(path: string): () => Request[] {
  return () => [{ method: "GET", path }];
}

async function sizeOf({ url }: StartedProgram): Promise<number> {
  const answer = await fetch(`${url}/api/orchestrate`);
  return Buffer.byteLength(await answer.text());
}

/** Enough for the pace though every one of them waits behind all who read. */
const WRITERS = 32;

/** Changes tasks at an even pace; the returned function ends that and says how many a second there were. */
function write(server: StartedProgram, perSecond: number): () => Promise<{ perSecond: number }> {
  const startedAt = performance.now();
  const seconds = () => (performance.now() - startedAt) / 1000;
  const free = Array.from({ length: WRITERS }, () => new Connection(server.url));
  const all = [...free];
  const underWay = new Set<Promise<void>>();
  let sent = 0;
  let failed: unknown;
  const timer = setInterval(() => {
    while (sent < seconds() * perSecond) {
      const connection = free.pop();
      if (connection === undefined) return;
      const n = sent++ % TASKS;
      const written = connection
        .send(requestText("PATCH", `/api/tasks/${taskId(n)}`, change(n, sent)))
        .then(({ status }) => {
          if (status !== 200) failed = new Error(`PATCH: ${status}`);
          free.push(connection);
        })
        .catch((error: unknown) => {
          failed = error;
        })
        .finally(() => underWay.delete(written));
      underWay.add(written);
    }
  }, 2);
  return async () => {
    clearInterval(timer);
    const lasted = seconds();
    await Promise.all(underWay);
    for (const connection of all) connection.close();
    if (failed !== undefined) throw failed;
    return { perSecond: sent / lasted };
  };
}
