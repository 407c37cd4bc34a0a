/** One provider's way of speaking HTTP. */
import type { Conversation, Fault, Reply } from "./behaviour.ts";

export interface WireFormat {
  read(body: unknown): Conversation;
  /** Asked for in the address by some, in the body by others. */
  wantsStream(path: string, body: unknown): boolean;
  whole(reply: Reply, model: string): unknown;
  /** The frames of a stream, text cut into `count` pieces. */
  stream(reply: Reply, model: string, count: number): readonly string[];
  failure(fault: Fault): Failure;
}

export interface Failure {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: unknown;
}

export function frame(data: unknown, event?: string): string {
  return `${event === undefined ? "" : `event: ${event}\n`}data: ${JSON.stringify(data)}\n\n`;
}

export function retryAfter({ retryAfterSeconds }: Fault): Record<string, string> {
  return retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) };
}
