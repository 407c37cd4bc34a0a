/** Streams of server-sent events: headers, a comment line as a sign of life, and an end that either side may choose. */
import type { FastifyReply, FastifyRequest } from "fastify";

export const SIGN_OF_LIFE_MS = 15_000;
/** A reader that lets so much pile up is cut off; it comes back with Last-Event-ID. */
const BUFFERED_MAX = 8 * 1024 * 1024;
/** After which a reader that was cut off comes back. */
const RETRY_MS = 1000;
/** The one that came first goes when there is one too many. */
const STREAMS_MAX = 200;

export interface EventStream {
  readonly closed: boolean;
  /** Sends ready text; resolves when there is room for more, or when the stream is over. */
  send(text: string): Promise<void>;
  /** Sends ready text at once, or cuts off a reader that is too slow. */
  push(text: string): void;
  /** Waits, but not past the end of the stream. */
  pause(ms: number): Promise<void>;
  onClose(listener: () => void): void;
  end(): void;
}

/** All streams that are open, so that the daemon's end can end them. */
export class Streams {
  readonly #open = new Set<EventStream>();
  #ended = false;

  /** Takes the reply over from Fastify. */
  open(request: FastifyRequest, reply: FastifyReply): EventStream {
    const stream = eventStream(reply);
    if (this.#open.size >= STREAMS_MAX) this.#open.values().next().value?.end();
    this.#open.add(stream);
    stream.onClose(() => this.#open.delete(stream));
    if (this.#ended || request.method === "HEAD") stream.end();
    stream.push(`retry: ${RETRY_MS}\n\n`);
    return stream;
  }

  /** Ends every stream, also those that come later. */
  end(): void {
    this.#ended = true;
    for (const stream of [...this.#open]) stream.end();
  }
}

function eventStream(reply: FastifyReply): EventStream {
  reply.hijack();
  const { raw } = reply;
  const listeners = new Set<() => void>();
  let closed = raw.destroyed;
  const timer = setInterval(() => raw.write(": \n\n"), SIGN_OF_LIFE_MS);
  const close = () => {
    clearInterval(timer);
    if (closed) return;
    closed = true;
    for (const listener of [...listeners]) listener();
  };
  // Whoever went away before it began is not told about again.
  if (closed) clearInterval(timer);
  raw.on("close", close);
  raw.on("error", close);
  raw.writeHead(200, {
    "content-type": "text/event-stream; charset=utf-8",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-accel-buffering": "no",
  });

  /** Resolves when `arm` calls back or the stream closes; `disarm` undoes what is then left of it. */
  const orClosed = (arm: (done: () => void) => () => void) =>
    new Promise<void>((resolve) => {
      if (closed) return resolve();
      const done = () => {
        listeners.delete(done);
        disarm();
        resolve();
      };
      const disarm = arm(done);
      listeners.add(done);
    });

  return {
    get closed() {
      return closed;
    },
    async send(text) {
      if (closed || raw.write(text)) return;
      await orClosed((done) => {
        raw.once("drain", done);
        return () => raw.off("drain", done);
      });
    },
    push(text) {
      if (closed) return;
      raw.write(text);
      if (raw.writableLength > BUFFERED_MAX) raw.destroy();
    },
    pause(ms) {
      return orClosed((done) => {
        const timeout = setTimeout(done, ms);
        return () => clearTimeout(timeout);
      });
    },
    onClose(listener) {
      if (closed) listener();
      else listeners.add(listener);
    },
    end() {
      close();
      raw.end();
    },
  };
}

/** One event; `data` holds no line break (it is JSON). */
export function sseText(event: string, data: string, id: string): string {
  return `id: ${id}\nevent: ${event}\ndata: ${data}\n\n`;
}
