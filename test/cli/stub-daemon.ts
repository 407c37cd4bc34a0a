/** A daemon's HTTP side with answers from a table, on a real socket. */
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Test } from "tap";

export interface SeenRequest {
  readonly method: string;
  /** With the query. */
  readonly path: string;
  readonly headers: IncomingMessage["headers"];
  readonly body: unknown;
}

export interface Answer {
  readonly status?: number;
  readonly json?: unknown;
  readonly text?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Called with each request that its key, `METHOD /path` without the query, names; may answer by itself. */
export type Handler = (request: SeenRequest, response: ServerResponse) => Answer | undefined;

export interface StubDaemon {
  readonly url: string;
  readonly requests: SeenRequest[];
  stop(): Promise<void>;
}

/** Listens until the test ends. A path that is not in the table answers as the daemon does: 404, a problem. */
export async function stubDaemon(t: Test, routes: Readonly<Record<string, Answer | Handler>>): Promise<StubDaemon> {
  const requests: SeenRequest[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const seen = await read(request);
      requests.push(seen);
      const route =
        routes[`${seen.method} ${seen.path.split("?")[0]}`] ?? problem(404, "NOT_FOUND", "there is no such thing");
      const answer = typeof route === "function" ? route(seen, response) : route;
      if (answer !== undefined) send(response, answer);
    })();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const stop = async () => {
    if (!server.listening) return;
    const closed = once(server, "close");
    server.close();
    server.closeAllConnections();
    await closed;
  };
  t.teardown(stop);
  return { url: `http://127.0.0.1:${port}`, requests, stop };
}

export function problem(status: number, code: string, detail: string, more: object = {}): Answer {
  return {
    status,
    json: { type: "about:blank", title: "Problem", status, code, detail, ...more },
    headers: { "content-type": "application/problem+json" },
  };
}

async function read(request: IncomingMessage): Promise<SeenRequest> {
  let text = "";
  for await (const part of request) text += String(part);
  return {
    method: request.method ?? "",
    path: request.url ?? "",
    headers: request.headers,
    body: text === "" ? undefined : JSON.parse(text),
  };
}

function send(response: ServerResponse, { status = 200, json, text, headers = {} }: Answer): void {
  const type = json === undefined ? "text/plain; charset=utf-8" : "application/json; charset=utf-8";
  response.writeHead(status, { "content-type": type, ...headers });
  response.end(json === undefined ? (text ?? "") : JSON.stringify(json));
}
