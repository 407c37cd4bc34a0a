/** A reader of server-sent events over a real socket, that waits for what comes instead of for time. */
import { type ClientRequest, type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import type { Test } from "tap";

export interface StreamEvent {
  readonly id: string;
  readonly event: string;
  // biome-ignore lint/suspicious/noExplicitAny: a test reads what it expects to be there, and fails where it is not
  readonly data: any;
}

export interface StreamReader {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  /** All that came, in order. */
  readonly events: readonly StreamEvent[];
  readonly comments: readonly string[];
  /** Resolves once what came is enough; rejects when the stream ends before. */
  until(enough: () => boolean): Promise<void>;
  readonly ended: Promise<void>;
  pause(): void;
  resume(): void;
  close(): void;
}

export async function readStream(t: Test, url: string, headers: Record<string, string> = {}): Promise<StreamReader> {
  const { call, response } = await get(url, headers);
  t.teardown(() => call.destroy());
  const events: StreamEvent[] = [];
  const comments: string[] = [];
  const waiting = new Set<{ enough: () => boolean; resolve: () => void; reject: (error: Error) => void }>();
  let rest = "";
  let over = false;
  const look = () => {
    for (const one of waiting) {
      if (!one.enough() && !over) continue;
      waiting.delete(one);
      if (one.enough()) one.resolve();
      else one.reject(new Error(`the stream ended after ${events.length} events`));
    }
  };
  response.setEncoding("utf8");
  response.on("data", (text: string) => {
    const blocks = (rest + text).split("\n\n");
    rest = blocks.pop() ?? "";
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split("\n").map((line) => line.split(/: ?(.*)/s, 2)));
      if ("" in fields) comments.push(fields[""] ?? "");
      if (fields.event !== undefined)
        events.push({ id: fields.id ?? "", event: fields.event, data: JSON.parse(fields.data ?? "null") });
    }
    look();
  });
  const ended = new Promise<void>((resolve) => {
    response.on("close", () => {
      over = true;
      look();
      resolve();
    });
  });
  response.on("error", () => undefined);
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    events,
    comments,
    until: (enough) =>
      new Promise((resolve, reject) => {
        waiting.add({ enough, resolve, reject });
        look();
      }),
    ended,
    pause: () => void response.pause(),
    resume: () => void response.resume(),
    close: () => void call.destroy(),
  };
}

function get(
  url: string,
  headers: Record<string, string>,
): Promise<{ call: ClientRequest; response: IncomingMessage }> {
  return new Promise((resolve, reject) => {
    const call = request(url, { headers, agent: false });
    call.on("response", (response) => resolve({ call, response }));
    call.on("error", reject);
    call.end();
  });
}
