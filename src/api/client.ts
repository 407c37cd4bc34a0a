/** A client of the HTTP API: what the command speaks to the daemon with. */
import { randomUUID } from "node:crypto";
import type { Static } from "@sinclair/typebox";
import type { Problem } from "./common.ts";
import type {
  Agent,
  AgentCheck,
  AgentList,
  DispatchAnswer,
  DispatchRequest,
  OrchestrateStatus,
} from "./orchestrate.ts";
import type { LockList, Session, SessionList, SessionQuery, TaskWithHistory } from "./session.ts";
import { readEvents } from "./sse-reader.ts";
import type { Comment, NewComment, NewTask, Task, TaskList, TaskPatch, TaskQuery } from "./task.ts";
import type { TaskDiff } from "./worktree.ts";

/** The words of the wire that a caller chooses from. */
export { ACTIVE_STATUSES, ENDED_STATUSES, type SessionStatus } from "../core/session.ts";
export { PRIORITIES, type Priority, TASK_STATUSES, type TaskStatus } from "../core/task.ts";

export interface ClientOptions {
  /** `http://host:port`, with the path under which a proxy serves the daemon, if any. */
  readonly url: string;
  /** The operator's token. */
  readonly token: string | null;
}

/** The daemon refused: what it said (RFC 9457). */
export class ApiError extends Error {
  readonly code: string;
  readonly status: number;
  readonly detail: string;
  readonly errors: readonly { readonly path: string; readonly message: string }[];
  /** Set where the daemon itself cannot tell whether the change was made. */
  readonly outcome: "unknown" | undefined;

  constructor(problem: Static<typeof Problem>) {
    super(problem.detail);
    this.name = "ApiError";
    this.code = problem.code;
    this.status = problem.status;
    this.detail = problem.detail;
    this.errors = problem.errors ?? [];
    this.outcome = problem.outcome;
  }
}

/** Nothing can have this id: in a URL it would name the list, or what lies above it. */
export class InvalidId extends Error {
  constructor(id: string) {
    super(`${JSON.stringify(id)} is not an id`);
    this.name = "InvalidId";
  }
}

/** No answer, or one that is not the daemon's. */
export class ConnectionError extends Error {
  /** `ECONNREFUSED` and its like, `TIMEOUT`, `NOT_JARVIS`. */
  readonly code: string;

  constructor(code: string, message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "ConnectionError";
    this.code = code;
  }
}

/** A part of a log: its bytes as they arrive, which may cut a character in two. */
export interface LogPart {
  readonly body: AsyncIterable<Uint8Array>;
  /** Behind all of it, in the log as the program wrote it. */
  readonly nextOffset: number;
}

/** A diff as text, whose bytes are those of the files. */
export interface TaskDiffText {
  readonly patch: Uint8Array;
  /** There is more than that. */
  readonly isTruncated: boolean;
}

export type LogFormat = "raw" | "readable";

export type LogStream = "stdout" | "stderr";

/** A piece of a log that is followed. */
export interface LogNews {
  readonly text: string;
  /** Behind this piece: where to go on when the connection breaks. */
  readonly nextOffset: number;
  /** The session ended, and nothing more comes. */
  readonly isLast: boolean;
}

export type Client = ReturnType<typeof createClient>;

/** Every call rejects with `ApiError` or `ConnectionError`, or throws `InvalidId`. Nothing is open between calls. */
export function createClient(options: ClientOptions) {
  const call = <T>(method: Method, path: string, more: CallOptions = {}) => callJson<T>(options, method, path, more);
  const of = (kind: string, id: string, rest = "") => {
    if (/^\.{0,2}$/.test(id)) throw new InvalidId(id);
    return `/api/${kind}/${encodeURIComponent(id)}${rest}`;
  };
  return {
    url: options.url,
    status: () => call<OrchestrateStatus>("GET", "/api/orchestrate"),
    dispatch: (body: DispatchRequest) => call<Static<typeof DispatchAnswer>>("POST", "/api/orchestrate", { body }),

    tasks: (query: TaskQuery) => call<Static<typeof TaskList>>("GET", "/api/tasks", { query }),
    task: (id: string) => call<TaskWithHistory>("GET", of("tasks", id)),
    addTask: (body: NewTask) => call<Task>("POST", "/api/tasks", { body }),
    changeTask: (id: string, body: TaskPatch) => call<Task>("PATCH", of("tasks", id), { body }),
    removeTask: (id: string) => call<void>("DELETE", of("tasks", id)),
    comment: (id: string, body: NewComment) => call<Comment>("POST", of("tasks", id, "/comments"), { body }),

    taskDiff: (id: string) => call<TaskDiff>("GET", of("tasks", id, "/diff")),
    /** The same as the text that `git apply` takes. */
    taskPatch: (id: string): Promise<TaskDiffText> => callPatch(options, of("tasks", id, "/diff")),
    removeWorktree: (id: string, query: { readonly force: boolean }) =>
      call<void>("DELETE", of("tasks", id, "/worktree"), { query }),

    sessions: (query: SessionQuery) => call<Static<typeof SessionList>>("GET", "/api/sessions", { query }),
    session: (id: string) => call<Session>("GET", of("sessions", id)),
    cancel: (id: string) => call<unknown>("POST", of("sessions", id, "/cancel")),
    log: (id: string, stream: LogStream, offset: number, format: LogFormat = "raw"): Promise<LogPart> =>
      callLog(options, of("sessions", id, "/log"), { stream, offset, format }),
    /** Lasts until the session ends, or throws `ConnectionError` before. */
    followLog: (id: string, stream: LogStream, offset: number, format: LogFormat = "raw"): AsyncGenerator<LogNews> =>
      followLog(options, of("sessions", id, "/log"), { stream, offset, follow: true, format }),

    locks: (query: PageQuery) => call<Static<typeof LockList>>("GET", "/api/locks", { query }),
    agents: (query: PageQuery) => call<Static<typeof AgentList>>("GET", "/api/agents", { query }),
    pause: (name: string, reason?: string) =>
      call<Agent>("POST", of("agents", name, "/pause"), reason === undefined ? {} : { body: { reason } }),
    resume: (name: string) => call<Agent>("POST", of("agents", name, "/resume")),
    check: (name: string) => call<Static<typeof AgentCheck>>("POST", of("agents", name, "/check")),
  };
}

export type PageQuery = {
  readonly limit?: number;
  readonly cursor?: string;
};

/** All pages of a list as one: `fetchPage` gets the cursor of the page that it shall fetch. */
export async function allPages<T>(
  fetchPage: (cursor: PageQuery) => Promise<{ readonly items: readonly T[]; readonly nextCursor?: string | undefined }>,
): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | undefined;
  do {
    const page = await fetchPage({ limit: 500, ...(cursor === undefined ? {} : { cursor }) });
    items.push(...page.items);
    cursor = page.nextCursor;
  } while (cursor !== undefined);
  return items;
}

type Method = "GET" | "POST" | "PATCH" | "DELETE";

type Query = Readonly<Record<string, string | number | boolean | undefined>>;

interface CallOptions {
  readonly query?: Query;
  readonly body?: unknown;
}

/** Long enough for a check of an agent on a slow host. */
const ANSWER_TIMEOUT_MS = 60_000;

/** One call and its answer, the type of which the daemon's schema vouches for. */
async function callJson<T>(options: ClientOptions, method: Method, path: string, more: CallOptions): Promise<T> {
  const request: RequestInit = {
    method,
    headers: {
      ...headersOf(options),
      ...(more.body === undefined ? {} : { "content-type": "application/json" }),
      ...(method === "POST" ? { "idempotency-key": randomUUID() } : {}),
    },
    ...(more.body === undefined ? {} : { body: JSON.stringify(more.body) }),
  };
  const url = urlOf(options, path, more.query);
  const { response, text } = await repeatOnce(method, options, async () => {
    const response = await fetch(url, {
      ...request,
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    return { response, text: await response.text() };
  });
  if (!response.ok) throw refusal(options, response, text);
  if (response.status === 204) return undefined as T;
  return parseAnswer(options, response, text) as T;
}

/** A log's bytes, not gathered in memory. */
async function callLog(options: ClientOptions, path: string, query: Query): Promise<LogPart> {
  const response = await repeatOnce("GET", options, () =>
    fetch(urlOf(options, path, query), { headers: headersOf(options), redirect: "manual" }),
  );
  if (!response.ok) throw refusal(options, response, await response.text());
  return { body: bytesOf(options, response), nextOffset: Number(response.headers.get("x-next-offset") ?? 0) };
}

async function callPatch(options: ClientOptions, path: string): Promise<TaskDiffText> {
  const { response, bytes } = await repeatOnce("GET", options, async () => {
    const response = await fetch(urlOf(options, path, { format: "patch" }), {
      headers: headersOf(options),
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    return { response, bytes: new Uint8Array(await response.arrayBuffer()) };
  });
  if (!response.ok) throw refusal(options, response, new TextDecoder().decode(bytes));
  return { patch: bytes, isTruncated: response.headers.get("x-truncated") === "true" };
}

async function* followLog(options: ClientOptions, path: string, query: Query): AsyncGenerator<LogNews> {
  const { body } = await callLog(options, path, query);
  for await (const { id, event, data } of readEvents(body)) {
    const nextOffset = Number(id);
    if (event === "end") return yield { text: "", nextOffset, isLast: true };
    if (event === "log") yield { text: String(JSON.parse(data)), nextOffset, isLast: false };
  }
  throw new ConnectionError("ENDED", `the connection to ${options.url} ended before the log did`);
}

async function* bytesOf(options: ClientOptions, response: Response): AsyncGenerator<Uint8Array> {
  if (response.body === null) return;
  try {
    yield* response.body;
  } catch (error) {
    throw asConnectionError(options, error);
  }
}

/**
 * A connection that broke may have broken before or after the daemon did its work. A GET may always be asked again, a
 * POST with the same `Idempotency-Key` as well; the others are the caller's to decide.
 */
async function repeatOnce<T>(method: Method, options: ClientOptions, attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    const failure = asConnectionError(options, error);
    if (!BROKEN.has(failure.code) || (method !== "GET" && method !== "POST")) throw failure;
  }
  try {
    return await attempt();
  } catch (error) {
    const failure = asConnectionError(options, error);
    if (method === "GET") throw failure;
    throw new ConnectionError(
      failure.code,
      `the connection to ${options.url} broke twice: whether it was done is unknown, so look before you repeat it`,
      { cause: error },
    );
  }
}

const BROKEN = new Set(["ECONNRESET", "EPIPE", "UND_ERR_SOCKET"]);

function asConnectionError(options: ClientOptions, error: unknown): ConnectionError {
  if (error instanceof ConnectionError) return error;
  if (!(error instanceof Error)) return new ConnectionError("UNKNOWN", String(error));
  if (error.name === "TimeoutError") {
    return new ConnectionError("TIMEOUT", `${options.url} did not answer within ${ANSWER_TIMEOUT_MS / 1000} s`);
  }
  const cause = error.cause instanceof Error ? error.cause : error;
  const code = "code" in cause ? String(cause.code) : "UNKNOWN";
  return new ConnectionError(code, sentence(options.url, code, cause.message), { cause: error });
}

function sentence(url: string, code: string, message: string): string {
  switch (code) {
    case "ECONNREFUSED":
      return `nothing listens at ${url}: start the daemon with \`jarvis-orchestrator serve\`, or name another with --url`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `the host of ${url} is not known`;
    case "ECONNRESET":
    case "EPIPE":
    case "UND_ERR_SOCKET":
      return `the connection to ${url} broke`;
    default:
      return `${url} cannot be reached: ${message}`;
  }
}

function refusal(options: ClientOptions, response: Response, text: string): ApiError | ConnectionError {
  if (!response.headers.get("content-type")?.startsWith("application/problem+json")) return stranger(options, response);
  return new ApiError(parseAnswer(options, response, text) as Static<typeof Problem>);
}

function parseAnswer(options: ClientOptions, response: Response, text: string): unknown {
  if (!/^application\/(?:problem\+)?json\b/.test(response.headers.get("content-type") ?? "")) {
    throw stranger(options, response);
  }
  try {
    return JSON.parse(text);
  } catch {
    throw stranger(options, response);
  }
}

function stranger(options: ClientOptions, response: Response): ConnectionError {
  const answer = `HTTP ${response.status}, ${response.headers.get("content-type") ?? "no content type"}`;
  return new ConnectionError(
    "NOT_JARVIS",
    `${options.url} answers, but not as this program's daemon would (${answer})`,
  );
}

function headersOf(options: ClientOptions): Record<string, string> {
  return {
    accept: "application/json",
    ...(options.token === null ? {} : { authorization: `Bearer ${options.token}` }),
  };
}

function urlOf(options: ClientOptions, path: string, query: Query = {}): string {
  const url = new URL(options.url.replace(/\/+$/, "") + path);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) url.searchParams.set(name, String(value));
  }
  return url.href;
}
