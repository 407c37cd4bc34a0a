/** Load: as many requests as a server answers, over so many connections, for so long. Anything but the wanted status is an error. */
import autocannon from "autocannon";
import type { StartedProgram } from "./programs.ts";
import { type Shares, watchShares } from "./shares.ts";

export const CONNECTIONS = 50;

export type Request = autocannon.Request;

export interface Load {
  readonly server: StartedProgram;
  /** Each connection sends its own, over and over. */
  readonly requests: (connection: number) => Request[];
  /** Wanted of every answer. Default 200. */
  readonly status?: number;
  readonly connections?: number;
  /** Ends after this time, or after `amount` requests in all. */
  readonly seconds?: number;
  readonly amount?: number;
}

export interface Round {
  /** Answers of the wanted status per second. */
  readonly rate: number;
  readonly answers: number;
  /** Processor time of the server's main thread for each of them, in µs: what noise changes least. */
  readonly serverUs: number;
  readonly shares: Shares;
}

/** How often autocannon looks whether its time is over. */
const LOOK_EVERY_MS = 50;

export async function fire({
  server,
  requests,
  status = 200,
  connections = CONNECTIONS,
  seconds,
  amount,
}: Load): Promise<Round> {
  let connection = 0;
  const options: autocannon.Options = {
    url: server.url,
    connections,
    ...(amount === undefined ? { duration: seconds ?? 2 } : { amount }),
    sampleInt: LOOK_EVERY_MS,
    setupClient: (client) => client.setRequests(requests(connection++)),
  };
  const shares = watchShares(server);
  const statuses = new Map<number, number>();
  let errors = 0;
  let startedAt = 0;
  let lastAt = 0;
  await new Promise<void>((resolve, reject) => {
    const cannon = autocannon(options, (error) => (error ? reject(error) : resolve()));
    cannon.on("start", () => {
      startedAt = performance.now();
    });
    cannon.on("response", (_client, answered) => {
      lastAt = performance.now();
      statuses.set(answered, (statuses.get(answered) ?? 0) + 1);
    });
    cannon.on("reqError", () => {
      errors++;
    });
  });
  const answers = statuses.get(status) ?? 0;
  statuses.delete(status);
  if (errors > 0 || statuses.size > 0 || answers === 0) {
    const others = JSON.stringify(Object.fromEntries(statuses));
    throw new Error(`of all answers ${answers} were ${status}; others: ${others}; failed requests: ${errors}`);
  }
  return roundOf(answers, (lastAt - startedAt) / 1000, shares());
}

export function roundOf(answers: number, seconds: number, shares: Shares): Round {
  return { rate: answers / seconds, answers, serverUs: (shares.server * shares.seconds * 1e6) / answers, shares };
}
