/** The messages of a child's session, read from answers that nobody promised. */
import { get } from "./gateway.ts";

export interface Message {
  /** Counts from 1; parts of one message share it. */
  readonly seq: number;
  readonly role: string;
  /** Texts, calls of tools, and what came of them, in their order. */
  readonly parts: readonly Part[];
  /** The gateway cut it, since it was too long for its answer. */
  readonly isCut: boolean;
  /** The model failed, and the text says how. */
  readonly isError: boolean;
  readonly model: string | null;
  readonly inputTokens: number;
  readonly outputTokens: number;
  readonly costUsd: number;
}

export type Part =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "call"; readonly tool: string; readonly args: string };

export interface Page {
  /** Oldest first. */
  readonly messages: readonly Message[];
  /** Where older ones begin; `null`: there are none. */
  readonly cursor: string | null;
}

/** `null`: it is no history. */
export function parsePage(details: unknown): Page | null {
  const messages = get(details, "messages");
  if (!Array.isArray(messages)) return null;
  const cursor = get(details, "nextCursor");
  const hasMore = get(details, "hasMore") === true && typeof cursor === "string";
  return {
    messages: messages.map((message, index) => parseMessage(message, index)),
    cursor: hasMore ? cursor : null,
  };
}

function parseMessage(message: unknown, index: number): Message {
  const meta = get(message, "__openclaw");
  const seq = get(meta, "seq");
  const usage = get(message, "usage");
  const content = get(message, "content");
  return {
    seq: Number.isSafeInteger(seq) ? Number(seq) : index + 1,
    role: textOf(get(message, "role")),
    parts:
      typeof content === "string" ? [{ kind: "text", text: content }] : Array.isArray(content) ? parts(content) : [],
    isCut: get(meta, "truncated") === true,
    isError: get(message, "stopReason") === "error" || get(message, "customType") === "run-failed-before-reply",
    model: textOf(get(message, "model")) || null,
    // What a provider had in its cache went into the model all the same.
    inputTokens: amount(usage, "input") + amount(usage, "cacheRead") + amount(usage, "cacheWrite"),
    outputTokens: amount(usage, "output"),
    costUsd: amount(get(usage, "cost"), "total"),
  };
}

function parts(content: readonly unknown[]): readonly Part[] {
  return content.flatMap((part): Part[] => {
    const text = get(part, "text");
    if (get(part, "type") === "text" && typeof text === "string") return [{ kind: "text", text }];
    if (get(part, "type") !== "toolCall") return [];
    return [{ kind: "call", tool: textOf(get(part, "name")), args: JSON.stringify(get(part, "arguments") ?? null) }];
  });
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function amount(value: unknown, key: string): number {
  const found = get(value, key);
  return typeof found === "number" && Number.isFinite(found) && found > 0 ? found : 0;
}
