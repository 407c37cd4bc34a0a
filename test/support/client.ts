/** A small HTTP client for tests: what was answered, whatever it was. */
import type { Static } from "@sinclair/typebox";
import type { DispatchAnswer, OrchestrateStatus } from "../../src/api/orchestrate.ts";
import type { Session, TaskWithHistory } from "../../src/api/session.ts";
import { readEvents } from "../../src/api/sse-reader.ts";
import type { Task } from "../../src/api/task.ts";

export interface Answer<T> {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** Of an answer without a body: `null`. */
  readonly body: T;
}

export interface Problem {
  readonly code: string;
  readonly detail: string;
}

export type Dispatch = Static<typeof DispatchAnswer>;

export class Client {
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  /** Rejects only where there is no whole answer. */
  async send<T = unknown>(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer<T>> {
    const response = await fetch(this.url + path, {
      method,
      headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
      body: body === undefined ? null : JSON.stringify(body),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "");
    return { status: response.status, headers: response.headers, text, body: (isJson ? JSON.parse(text) : null) as T };
  }

  /** The body of a 2xx; rejects for everything else. */
  async get<T>(path: string): Promise<T> {
    return this.#good(await this.send<T>("GET", path));
  }

  async post<T = Task>(path: string, body?: unknown, headers?: Record<string, string>): Promise<T> {
    return this.#good(await this.send<T>("POST", path, body, headers));
  }

  status(): Promise<OrchestrateStatus> {
    return this.get("/api/orchestrate");
  }

  task(id: string): Promise<TaskWithHistory> {
    return this.get(`/api/tasks/${id}`);
  }

  session(id: string): Promise<Session> {
    return this.get(`/api/sessions/${id}`);
  }

  dispatch(body?: object): Promise<Dispatch> {
    return this.post("/api/orchestrate", body);
  }

  /** All pages of a list. */
  async all<T>(kind: "tasks" | "sessions" | "locks", query = ""): Promise<T[]> {
    const found: T[] = [];
    for (let cursor: string | undefined = ""; cursor !== undefined; ) {
      const page: { nextCursor?: string } & Record<string, T[]> = await this.get(
        `/api/${kind}?limit=500${query}${cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`}`,
      );
      found.push(...(page[kind] ?? []));
      cursor = page.nextCursor;
    }
    return found;
  }

  /** What `look` finds, as soon as something that happened lets it find it; looked at again with every event. */
  async until<T>(what: string, look: () => Promise<T | undefined | false>, limitMs = 30_000): Promise<T> {
    const aborter = new AbortController();
    const timer = setTimeout(() => aborter.abort(), limitMs);
    let last: unknown;
    try {
      const response = await fetch(`${this.url}/api/events`, { signal: aborter.signal });
      for await (const _event of readEvents(response.body as AsyncIterable<Uint8Array>)) {
        last = await look();
        if (last !== undefined && last !== false) return last as T;
      }
    } catch (error) {
      if (!aborter.signal.aborted) throw error;
    } finally {
      clearTimeout(timer);
      aborter.abort();
    }
    throw new Error(`waited in vain for ${what}`);
  }

  /** What `look` finds, looked at again and again: for what no event tells of. */
  async soon<T>(what: string, look: () => Promise<T | undefined>, limitMs = 30_000): Promise<T> {
    for (const deadline = performance.now() + limitMs; performance.now() < deadline; ) {
      const found = await look();
      if (found !== undefined) return found;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`waited in vain for ${what}`);
  }

  /** The session's own end, of whatever kind. */
  ended(sessionId: string): Promise<Session> {
    return this.until(`the end of ${sessionId}`, async () => {
      const session = await this.session(sessionId);
      return session.completedAt === undefined ? undefined : session;
    });
  }

  #good<T>(answer: Answer<T>): T {
    if (answer.status >= 300) throw new Error(`${answer.status}: ${answer.text}`);
    return answer.body;
  }
}
