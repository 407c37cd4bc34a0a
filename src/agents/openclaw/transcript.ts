/**
 * What a child said and did, as a text that grows: the run's `stdout.log`. The same messages always give the same text, so that a daemon
 * that comes back writes on where the last one stopped.
 */
import { appendFileSync, closeSync, constants, openSync } from "node:fs";
import type { Usage } from "../../core/session.ts";
import { logFile, logSize, PLAIN_FILE } from "../run-directory.ts";
import type { Message, Part } from "./messages.ts";

export class Transcript {
  readonly #file: string;
  readonly #secret: string | undefined;
  /** Bytes that are in the file already. */
  #known: number;
  #size = 0;
  #seq = 0;
  /** Entries of the message `#seq` that were added. */
  #entries = 0;
  #inputTokens = 0;
  #outputTokens = 0;
  #costUsd = 0;
  #model: string | null = null;
  #lastText: string | null = null;
  #isLastCut = false;
  #lastError: string | null = null;

  /** `secret`: the session's callback token, which stands in the prompt and in what the child runs, but in no log. */
  constructor(directory: string, secret: string | undefined) {
    this.#file = logFile(directory, "stdout");
    this.#secret = secret;
    this.#known = logSize(directory, "stdout");
  }

  /** Of the newest message that is in it; 0 = none. */
  get seq(): number {
    return this.#seq;
  }

  /** In bytes. */
  get size(): number {
    return Math.max(this.#size, this.#known);
  }

  /** The last that the child said. `isCut`: there was more of it. */
  get lastText(): { readonly text: string; readonly isCut: boolean } | null {
    return this.#lastText === null ? null : { text: this.#lastText, isCut: this.#isLastCut };
  }

  /** What the gateway wrote of a model that failed. */
  get lastError(): string | null {
    return this.#lastError;
  }

  /** `undefined` where the gateway told nothing of it. */
  get usage(): Usage | undefined {
    if (this.#inputTokens + this.#outputTokens === 0) return undefined;
    return {
      inputTokens: this.#inputTokens,
      outputTokens: this.#outputTokens,
      // Nothing at all is what a gateway says that knows no price.
      ...(this.#costUsd > 0 ? { costUsd: this.#costUsd } : {}),
      ...(this.#model === null ? {} : { model: this.#model }),
    };
  }

  /** Adds what is new of these messages, oldest first; true when there was something. */
  add(messages: readonly Message[]): boolean {
    const [first] = messages;
    // Of a long history the beginning is out of reach, so nothing tells where the last daemon stopped.
    if (this.#seq === 0 && this.#known > 0 && first !== undefined && first.seq > 1) {
      this.#size = this.#known;
      this.#known = 0;
      this.#write("[Some of the transcript may be missing or doubled here.]\n\n");
    }
    let added = false;
    let entry = 0;
    let seq = 0;
    for (const message of messages) {
      entry = message.seq === seq ? entry + 1 : 1;
      seq = message.seq;
      if (seq < this.#seq || (seq === this.#seq && entry <= this.#entries)) continue;
      // The first is the prompt, which stands in a file of its own. What the disk does not take is fetched again.
      if (message.role !== "user" || seq > 1)
        this.#write(message.parts.map((part) => this.#render(message, part)).join(""));
      this.#seq = seq;
      this.#entries = entry;
      this.#note(message);
      added = true;
    }
    return added;
  }

  #note(message: Message): void {
    this.#inputTokens += message.inputTokens;
    this.#outputTokens += message.outputTokens;
    this.#costUsd += message.costUsd;
    const text = message.parts.flatMap((part) => (part.kind === "text" ? [part.text] : [])).join("\n");
    if (message.isError) this.#lastError = this.#clean(text);
    if (message.role !== "assistant") return;
    this.#model = message.model ?? this.#model;
    if (message.isError || text.trim() === "") return;
    this.#lastText = this.#clean(text);
    this.#isLastCut = message.isCut;
  }

  #render({ role }: Message, part: Part): string {
    if (part.kind === "call") return `[${part.tool}] ${this.#clean(part.args)}\n\n`;
    const text = this.#clean(part.text).trim();
    if (text === "") return "";
    return role === "assistant" ? `${text}\n\n` : `[${role}]\n${text}\n\n`;
  }

  #write(text: string): void {
    const bytes = Buffer.from(text);
    const fresh = bytes.subarray(Math.min(Math.max(this.#known - this.#size, 0), bytes.length));
    if (fresh.length > 0) append(this.#file, fresh);
    this.#size += bytes.length;
  }

  #clean(text: string): string {
    return this.#secret === undefined || this.#secret === "" ? text : text.replaceAll(this.#secret, "<callback token>");
  }
}

function append(path: string, bytes: Uint8Array): void {
  const { O_WRONLY, O_CREAT, O_APPEND } = constants;
  const file = openSync(path, O_WRONLY | O_CREAT | O_APPEND | PLAIN_FILE, 0o600);
  try {
    appendFileSync(file, bytes);
  } finally {
    closeSync(file);
  }
}
