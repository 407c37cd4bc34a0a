/** Reads server-sent events as this project's daemon writes them: `id`, `event` and one line of `data` each. */

export interface ServerSentEvent {
  readonly id: string;
  readonly event: string;
  readonly data: string;
}

/** An event that does not end within so much is no event of ours. */
const PENDING_CHARACTERS_MAX = 16 * 1024 * 1024;

/** The events of a stream in order; comments and other fields are passed over, an event that is cut off is dropped. */
export async function* readEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerSentEvent> {
  const decoder = new TextDecoder();
  let pending = "";
  for await (const bytes of body) {
    pending += decoder.decode(bytes, { stream: true });
    if (pending.length > PENDING_CHARACTERS_MAX) throw new Error("an event is too long");
    const blocks = pending.split("\n\n");
    pending = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = parseBlock(block);
      if (event !== null) yield event;
    }
  }
}

function parseBlock(block: string): ServerSentEvent | null {
  const fields = new Map<string, string>();
  for (const line of block.split("\n")) {
    const colon = line.indexOf(":");
    if (colon > 0) fields.set(line.slice(0, colon), line.slice(colon + 1).replace(/^ /, ""));
  }
  const data = fields.get("data");
  return data === undefined ? null : { id: fields.get("id") ?? "", event: fields.get("event") ?? "message", data };
}
