/**
 * A model that costs nothing: it speaks the wire formats of the providers on a port of this machine, and does what a marker in the
 * conversation says (behaviour.ts lists them). So the real agents can be tried without a network and without a key.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { anthropic } from "./model-server/anthropic.ts";
import { behaviour, USAGE } from "./model-server/behaviour.ts";
import { gemini } from "./model-server/gemini.ts";
import { fields, text } from "./model-server/json.ts";
import { openaiChat } from "./model-server/openai-chat.ts";
import { openaiResponses } from "./model-server/openai-responses.ts";
import type { WireFormat } from "./model-server/wire-format.ts";

export interface ModelRequest {
  readonly method: string;
  readonly path: string;
  /** Parsed, or undefined where there was none. */
  readonly body: unknown;
}

export interface ModelServer {
  /** Without a slash at its end. */
  readonly url: string;
  /** The newest ones, oldest first. */
  readonly requests: readonly ModelRequest[];
  close(): Promise<void>;
}

const REQUESTS_MAX = 200;
const BODY_BYTES_MAX = 32 * 1024 * 1024;

export async function startModelServer(): Promise<ModelServer> {
  const requests: ModelRequest[] = [];
  const failures = new Map<string, number>();
  const stopped = new AbortController();
  const server = createServer((request, response) => {
    answer(request, response, requests, failures, stopped.signal).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    close: async () => {
      stopped.abort();
      await new Promise((resolve) => {
        server.close(resolve);
        server.closeAllConnections();
      });
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  requests: ModelRequest[],
  failures: Map<string, number>,
  signal: AbortSignal,
): Promise<void> {
  const method = request.method ?? "GET";
  const path = request.url ?? "/";
  const body = await readBody(request);
  requests.push({ method, path, body });
  if (requests.length > REQUESTS_MAX) requests.shift();

  const json = (status: number, value: unknown, headers: Readonly<Record<string, string>> = {}) =>
    response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(value));
  if (path.includes("/count_tokens")) return void json(200, { input_tokens: USAGE.input });
  if (path.includes(":countTokens")) return void json(200, { totalTokens: USAGE.input });
  if (method === "GET" && path.endsWith("/models")) {
    return void json(200, { object: "list", data: [{ id: "stub-model", object: "model", owned_by: "stub" }] });
  }
  const format = method === "POST" ? formatOf(path) : undefined;
  if (format === undefined) return void json(404, { error: { message: `Nothing here: ${method} ${path}` } });

  const does = behaviour(format.read(body), failures);
  if (does.kind === "hang") return;
  if (does.kind === "fail") {
    const failure = format.failure(does.fault);
    return void json(does.fault.status, failure.body, failure.headers);
  }
  const model = text(fields(body)["model"]) || (/models\/([^:]+):/.exec(path)?.[1] ?? "stub-model");
  if (!format.wantsStream(path, body)) {
    await sleep(does.overMs, undefined, { signal });
    if (does.cut) return void response.destroy();
    return void json(200, format.whole(does.reply, model));
  }
  const frames = format.stream(does.reply, model, does.overMs > 0 ? 20 : 4);
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-cache" });
  for (const part of does.cut ? frames.slice(0, Math.ceil(frames.length / 2)) : frames) {
    await new Promise((written) => response.write(part, written));
    if (does.overMs > 0) await sleep(does.overMs / frames.length, undefined, { signal });
  }
  if (does.cut) response.destroy();
  else response.end();
}

function formatOf(path: string): WireFormat | undefined {
  const [name = ""] = path.split("?");
  if (name.endsWith("/messages")) return anthropic;
  if (/\/models\/[^/]+:(stream)?[gG]enerateContent$/.test(name)) return gemini;
  if (name.endsWith("/chat/completions")) return openaiChat;
  return name.endsWith("/responses") ? openaiResponses : undefined;
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > BODY_BYTES_MAX) throw new Error("too large");
    chunks.push(chunk);
  }
  const sent = Buffer.concat(chunks).toString("utf8");
  try {
    return sent === "" ? undefined : JSON.parse(sent);
  } catch {
    return sent;
  }
}
