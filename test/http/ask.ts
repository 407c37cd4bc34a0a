/** How the HTTP tests ask: every refusal that comes back is held to the shape that all refusals have. */
import type { Test } from "tap";
import { type TestServer, type TestServerOptions, testServer } from "../support/server.ts";

export const HOST = "127.0.0.1:3333";

export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | undefined>>;
  readonly text: string;
  /** The JSON body, whatever it is. */
  // biome-ignore lint/suspicious/noExplicitAny: a test reads what it expects to be there, and fails where it is not
  readonly body: any;
}

export interface Asking {
  /** A string or a buffer goes as it is, anything else as JSON. */
  readonly body?: unknown;
  /** `undefined` leaves a header out that would be there. */
  readonly headers?: Readonly<Record<string, string | readonly string[] | undefined>>;
  readonly from?: string;
}

export type Ask = (method: string, url: string, asking?: Asking) => Promise<Answer>;

/** A server of its own for the test, closed with it. */
export async function serverFor(t: Test, options: TestServerOptions = {}): Promise<TestServer & { readonly ask: Ask }> {
  const server = await testServer(options);
  t.teardown(async () => {
    server.journal.failing = false;
    await server.app.close();
    await server.dispatcher.close();
  });
  return { ...server, ask: askerOf(t, server) };
}

export function askerOf(t: Test, { app }: Pick<TestServer, "app">): Ask {
  return async (method, url, { body, headers = {}, from } = {}) => {
    const raw = typeof body === "string" || body instanceof Uint8Array;
    const all = {
      host: HOST,
      ...(body === undefined || raw ? {} : { "content-type": "application/json" }),
      ...headers,
    };
    const response = await app.inject({
      method: method as "GET",
      url,
      headers: Object.fromEntries(Object.entries(all).filter(([, value]) => value !== undefined)) as Record<
        string,
        string
      >,
      ...(body === undefined ? {} : { payload: raw ? Buffer.from(body as string) : JSON.stringify(body) }),
      ...(from === undefined ? {} : { remoteAddress: from }),
    });
    const answer: Answer = {
      status: response.statusCode,
      headers: response.headers as Answer["headers"],
      text: response.payload,
      body: parsed(response.payload),
    };
    if (answer.status >= 400 && method !== "HEAD") checkProblem(t, `${method} ${url.slice(0, 80)}`, answer);
    return answer;
  };
}

/** RFC 9457, with a stable code, and nothing of the inside. */
export function checkProblem(t: Test, what: string, { status, headers, text, body }: Answer): void {
  const fine =
    headers["content-type"] === "application/problem+json" &&
    body?.type === "about:blank" &&
    typeof body.title === "string" &&
    body.status === status &&
    typeof body.detail === "string" &&
    /^[A-Z][A-Z_]+$/.test(body.code) &&
    !/node_modules|\.ts:|\.js:|file:\/\/|\bat \w+ \(|\/home\/(?!owner)|\/var\/lib/.test(text) &&
    !text.includes(process.cwd());
  if (!fine) t.fail(`${what}: not a proper problem`, { status, headers, text: text.slice(0, 1000) });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Lets the event loop turn until something is so. */
export async function turnUntil(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setImmediate(resolve));
}

/** Puts a task on the board and answers its id. */
export async function addTask(ask: Ask, fields: object = {}): Promise<string> {
  const { status, body } = await ask("POST", "/api/tasks", {
    body: { title: "a task", assignee: "claude", ...fields },
  });
  if (status !== 201) throw new Error(`no task: ${JSON.stringify(body)}`);
  return body.id;
}

/** Puts a task on the board, dispatches it and answers the ids of both, and the prompt where the heartbeat takes it. */
export async function startTask(
  ask: Ask,
  fields: object = {},
): Promise<{ taskId: string; sessionId: string; prompt: string }> {
  const taskId = await addTask(ask, fields);
  const { body } = await ask("POST", "/api/orchestrate", { body: { taskIds: [taskId] } });
  const [started] = body.dispatched;
  if (started === undefined) throw new Error(`not dispatched: ${JSON.stringify(body)}`);
  return { taskId, sessionId: started.sessionId, prompt: started.spawn?.args.task ?? "" };
}
