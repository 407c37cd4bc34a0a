/**
 * An OpenClaw gateway as far as a daemon sees one. Its answers are those that a gateway 2026.9.6 gave to the same requests, but for ids
 * and times. What a test wants otherwise, it sets; a stop keeps the children, as the real one does.
 */
import { randomUUID } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export const GATEWAY_TOKEN = "stand-in-gateway-token";

export interface StandInChild {
  readonly args: Readonly<Record<string, unknown>>;
  readonly sessionKey: string;
  readonly taskId: string;
  readonly startedAt: number;
  status: "running" | "done" | "failed" | "timeout" | "killed";
  error: string | null;
  activeAt: number;
  readonly messages: object[];
}

export interface RawAnswer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

/** `start-and-cut`, `cut`: the connection ends without an answer, and there is a child, or none. */
export type OnSpawn = "accept" | "start-and-cut" | "cut" | RawAnswer;

export class StandInGateway {
  readonly children: StandInChild[] = [];
  /** The tools that were invoked (and `history`), oldest first. */
  readonly invoked: string[] = [];
  token = GATEWAY_TOKEN;
  /** What becomes of a spawn; asked for each. */
  onSpawn: (attempt: number) => OnSpawn = () => "accept";
  /** Says something else than the real one would, or nothing (`null`). */
  onRequest: (tool: string) => RawAnswer | "hang" | null = () => null;
  deniesSpawn = false;
  /** A list that knows no child, as that of another session. */
  forgets = false;
  #server: Server | null = null;
  #port = 0;
  #spawns = 0;
  readonly #waiting = new Set<() => void>();

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** On the same port as before. */
  async start(): Promise<void> {
    const server = createServer((request, response) => void this.#answer(request, response));
    this.#server = server;
    await new Promise<void>((resolve) => server.listen(this.#port, "127.0.0.1", resolve));
    this.#port = (server.address() as AddressInfo).port;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    await new Promise((resolve) => {
      server.close(resolve);
      server.closeAllConnections();
    });
  }

  /** Resolves at the latest with the next request after which it is so. */
  until(isSo: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = () => {
        if (!isSo()) return;
        this.#waiting.delete(look);
        resolve();
      };
      this.#waiting.add(look);
      look();
    });
  }

  /** Resolves once `tool` was invoked so many times more. */
  next(tool: string, times = 1): Promise<void> {
    const wanted = this.count(tool) + times;
    return this.until(() => this.count(tool) >= wanted);
  }

  count(tool: string): number {
    return this.invoked.filter((one) => one === tool).length;
  }

  child(): StandInChild {
    const [child] = this.children.slice(-1);
    if (child === undefined) throw new Error("no child was started");
    return child;
  }

  says(child: StandInChild, text: string, more: object = {}): void {
    const usage = { input: 100, output: 20, cacheRead: 0, cacheWrite: 0, cost: { total: 0.25 } };
    this.#message(child, { role: "assistant", content: [{ type: "text", text }], model: "stub-model", usage, ...more });
  }

  calls(child: StandInChild, command: string): void {
    this.#message(child, {
      role: "assistant",
      content: [{ type: "toolCall", id: "call_0", name: "exec", arguments: { command } }],
      stopReason: "toolUse",
    });
  }

  ends(child: StandInChild, status: StandInChild["status"], error: string | null = null): void {
    child.status = status;
    child.error = error;
    this.#wake();
  }

  #message(child: StandInChild, message: object): void {
    child.activeAt = Date.now() + child.messages.length;
    const seq = child.messages.length + 1;
    child.messages.push({ stopReason: "stop", ...message, __openclaw: { seq, id: randomUUID(), ...metaOf(message) } });
  }

  #wake(): void {
    for (const look of [...this.#waiting]) look();
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const reply = (status: number, body: unknown, headers: Readonly<Record<string, string>> = {}) => {
      response.writeHead(status, { "content-type": "application/json; charset=utf-8", ...headers });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    };
    const text = (await request.setEncoding("utf8").toArray()).join("");
    const url = new URL(request.url ?? "/", this.url);
    const isInvoke = url.pathname === "/tools/invoke" && request.method === "POST";
    const { tool, args = {} } = isInvoke ? JSON.parse(text) : { tool: "history" };
    this.invoked.push(tool);
    // What waits goes on after this answer.
    setImmediate(() => this.#wake());

    const special = this.onRequest(tool);
    if (special === "hang") return;
    if (special !== null) return reply(special.status ?? 200, special.body, special.headers);
    if (request.headers.authorization !== `Bearer ${this.token}`)
      return reply(401, { error: { message: "Unauthorized", type: "unauthorized" } });
    if (!isInvoke) return this.#history(url, reply);
    switch (tool) {
      case "sessions_spawn":
        return this.#spawn(args, request, reply);
      case "subagents":
        return args.action === "cancel" ? this.#cancel(args.taskId, reply) : ok(reply, this.#list());
      case "sessions_list":
        return ok(reply, { count: 0, sessions: this.#sessions(args.label), hasMore: false, limitApplied: args.limit });
      case "session_status":
        return ok(reply, { ok: true, sessionKey: "main", statusText: "🦞 OpenClaw 2026.9.6 (eb377ac)\nUptime: 1m" });
      default:
        return notAvailable(reply, tool);
    }
  }

  #spawn(args: StandInChild["args"], request: IncomingMessage, reply: Reply): void {
    if (this.deniesSpawn) return notAvailable(reply, "sessions_spawn");
    if (args["task"] === undefined)
      return reply(400, { ok: false, error: { type: "tool_error", message: "task required" } });
    this.#spawns += 1;
    const decision = this.onSpawn(this.#spawns);
    if (typeof decision === "object") return reply(decision.status ?? 200, decision.body, decision.headers);
    if (decision === "cut") return void request.socket.destroy();
    const child: StandInChild = {
      args,
      sessionKey: `agent:main:subagent:${randomUUID()}`,
      taskId: randomUUID(),
      startedAt: Date.now() + this.#spawns,
      status: "running",
      error: null,
      activeAt: 0,
      messages: [],
    };
    this.children.push(child);
    this.#message(child, { role: "user", content: `[Subagent Task]\n\n${args["task"]}` });
    if (decision === "start-and-cut") return void request.socket.destroy();
    ok(reply, { status: "accepted", childSessionKey: child.sessionKey, runId: randomUUID(), mode: "run" });
  }

  #cancel(taskId: string, reply: Reply): void {
    const child = this.children.find((one) => one.taskId === taskId);
    if (child === undefined) return ok(reply, { status: "forbidden", error: "Task outside session tree." });
    const found = { taskId, found: true };
    if (child.status !== "running")
      return ok(reply, { status: "error", ...found, cancelled: false, reason: "Task is already terminal." });
    this.ends(child, "killed", "Cancelled by operator.");
    ok(reply, { status: "cancelled", ...found, cancelled: true });
  }

  #list(): object {
    const known = this.forgets ? [] : this.children.toReversed();
    const row = (child: StandInChild) => ({
      sessionKey: child.sessionKey,
      label: child.args["label"],
      status: child.status,
      startedAt: child.startedAt,
    });
    return {
      status: "ok",
      action: "list",
      requesterSessionKey: "agent:main:main",
      tasks: known.map((child) => ({
        taskId: child.taskId,
        runtime: "subagent",
        execution: { state: child.status === "running" ? "running" : "finished", lastActivityAt: child.activeAt },
        status: TASK_STATUS[child.status],
        label: child.args["label"],
        ...(child.error === null ? {} : { error: child.error }),
      })),
      active: known.filter(({ status }) => status === "running").map(row),
      recent: known.filter(({ status }) => status !== "running").map(row),
    };
  }

  #sessions(label: unknown): object[] {
    return (this.forgets ? [] : this.children)
      .filter(({ args }) => args["label"] === label)
      .map(({ sessionKey, status }) => ({ key: sessionKey, label, status, kind: "other" }));
  }

  #history(url: URL, reply: Reply): void {
    const key = decodeURIComponent(url.pathname.split("/")[2] ?? "");
    const child = this.children.find(({ sessionKey }) => sessionKey === key);
    if (child === undefined)
      return reply(404, { ok: false, error: { type: "not_found", message: `Session not found: ${key}` } });
    const end = Number(url.searchParams.get("cursor") ?? child.messages.length + 1) - 1;
    const start = Math.max(0, end - Number(url.searchParams.get("limit")));
    const messages = child.messages.slice(start, end);
    const more = start > 0 ? { hasMore: true, nextCursor: String(start + 1) } : { hasMore: false };
    reply(200, { sessionKey: key, items: messages, messages, ...more });
  }
}

type Reply = (status: number, body: unknown, headers?: Readonly<Record<string, string>>) => void;

const TASK_STATUS = {
  running: "running",
  done: "completed",
  failed: "failed",
  timeout: "timed_out",
  killed: "cancelled",
} as const;

function ok(reply: Reply, details: object): void {
  reply(200, toolAnswer(details));
}

/** The body of an answer of a tool. */
export function toolAnswer(details: object): object {
  return { ok: true, result: { content: [{ type: "text", text: JSON.stringify(details, null, 2) }], details } };
}

function notAvailable(reply: Reply, tool: string): void {
  reply(404, { ok: false, error: { type: "not_found", message: `Tool not available: ${tool}` } });
}

function metaOf(message: object): object {
  return "isCut" in message ? { truncated: true, reason: "display-cap" } : {};
}
