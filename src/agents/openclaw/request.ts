/**
 * One HTTP request, bounded in time and size, that says how far it came. Not `fetch`: that follows redirects, may go through a proxy
 * that a variable names, and reuses connections, on which nobody can tell a request that was never read from one that was.
 */
import { request as plain } from "node:http";
import { request as encrypted } from "node:https";

export interface Request {
  readonly url: URL;
  readonly method: "GET" | "POST";
  readonly token: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  readonly timeoutMs: number;
  readonly bytesMax: number;
  readonly signal: AbortSignal;
}

export type Reply =
  | { readonly kind: "answered"; readonly status: number; readonly retryAfterMs: number | null; readonly text: string }
  /** There was no connection, so nobody has read it. */
  | { readonly kind: "unreached"; readonly why: string }
  /** It may have been read and done. */
  | { readonly kind: "cut"; readonly why: string; readonly isTooLong: boolean };

/** Never rejects. The token goes to this URL and nowhere else: redirects are answers like any other. */
export function send({ url, method, token, body, timeoutMs, bytesMax, signal }: Request): Promise<Reply> {
  const content = body === undefined ? null : Buffer.from(JSON.stringify(body));
  return new Promise((resolve) => {
    let connected = false;
    let isTooLong = false;
    const broken = (why: string) => resolve(connected ? { kind: "cut", why, isTooLong } : { kind: "unreached", why });
    const outgoing = (url.protocol === "https:" ? encrypted : plain)(url, {
      method,
      agent: false,
      signal,
      headers: {
        authorization: `Bearer ${token}`,
        accept: "application/json",
        ...(content === null ? {} : { "content-type": "application/json", "content-length": content.length }),
      },
    });
    const timer = setTimeout(() => outgoing.destroy(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    outgoing.once("close", () => clearTimeout(timer));
    outgoing.once("socket", (socket) => {
      socket.once(url.protocol === "https:" ? "secureConnect" : "connect", () => {
        connected = true;
      });
    });
    outgoing.on("error", (error) => broken(wordsOf(error)));
    outgoing.once("response", (incoming) => {
      const chunks: Buffer[] = [];
      let size = 0;
      incoming.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size <= bytesMax) return void chunks.push(chunk);
        isTooLong = true;
        outgoing.destroy(new Error(`the answer is longer than ${bytesMax} bytes`));
      });
      incoming.on("error", (error) => broken(wordsOf(error)));
      incoming.once("close", () => broken("the answer broke off"));
      incoming.once("end", () => {
        const retryAfterMs = secondsOf(incoming.headers["retry-after"]);
        const text = Buffer.concat(chunks).toString("utf8");
        resolve({ kind: "answered", status: incoming.statusCode ?? 0, retryAfterMs, text });
      });
    });
    outgoing.end(content ?? undefined);
  });
}

function wordsOf(error: Error): string {
  // A name with several addresses: each has its own error, and the whole no words.
  if (error instanceof AggregateError && error.errors[0] instanceof Error) return error.errors[0].message;
  return error.message;
}

const RETRY_AFTER_MAX_S = 300;

/** A date is of no use where clocks differ. */
function secondsOf(retryAfter: string | undefined): number | null {
  if (retryAfter === undefined || !/^[0-9]{1,9}$/.test(retryAfter)) return null;
  return Math.min(Number(retryAfter), RETRY_AFTER_MAX_S) * 1000;
}
