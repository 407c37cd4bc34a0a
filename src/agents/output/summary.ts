/** What a run's output comes to: one fold over all that was said. */
import { addUsage } from "../../core/policy/usage.ts";
import type { Usage } from "../../core/session.ts";
import { toSentence } from "../agent-problem.ts";
import type { Said, Trouble } from "./said.ts";

export interface Summary {
  readonly agentSession: string | null;
  /** Nothing was said at all. */
  readonly isEmpty: boolean;
  readonly model: string | null;
  /** The last words after the last tool; what was said before that, where nothing came after. */
  readonly text: string;
  /** The program came to its end in order, and said so. */
  readonly hasEnded: boolean;
  readonly wasAborted: boolean;
  readonly trouble: Trouble | null;
  /** The last thing that passed, such as a request that was tried again: why it failed, where nothing else says so. */
  readonly lastNote: string;
  readonly toolCalls: number;
  /** Names of the tools that it was not allowed to use, each once. */
  readonly refused: readonly string[];
  /** Added up. */
  readonly usage: Usage | undefined;
  readonly totals: Usage | undefined;
}

const REFUSED_MAX = 20;
/** Of names, which go into records and command lines. */
const NAME_LENGTH_MAX = 200;
const NOTE_LENGTH_MAX = 2000;
/** Of words that come in pieces: more than a comment holds is cut anyway. The last piece may go beyond. */
const TEXT_LENGTH_WANTED = 2 * 1024 * 1024;
/** A session's name is an argument of the program that is to go on with it: nothing that could be taken for a flag is one. */
const SESSION_NAME = /^[\p{L}\p{N}][\p{L}\p{N}._:/-]*$/u;

export class Summarizer {
  #agentSession: string | null = null;
  #model: string | null = null;
  #isEmpty = true;
  #text = "";
  #before = "";
  #hasEnded = false;
  #wasAborted = false;
  #trouble: Trouble | null = null;
  #lastNote = "";
  #resetAt: number | undefined;
  #toolCalls = 0;
  readonly #refused = new Set<string>();
  #usage: Usage | undefined;
  #totals: Usage | undefined;

  add(said: Said): void {
    this.#isEmpty = false;
    switch (said.is) {
      case "session":
        if (said.id.length <= NAME_LENGTH_MAX && SESSION_NAME.test(said.id)) this.#agentSession = said.id;
        this.#model = said.model ?? this.#model;
        return;
      case "text":
        // A message of its own takes the place of the one before: the last is the result.
        if (said.goesOn !== true) {
          if (said.text.trim() !== "") this.#text = said.text;
        } else if (this.#text.length < TEXT_LENGTH_WANTED) this.#text += said.text;
        if (said.text.trim() !== "") this.#trouble = null;
        // Whoever goes on talking has not come to the end.
        this.#hasEnded = false;
        return;
      case "tool":
        this.#toolCalls += 1;
        if (this.#text.trim() !== "") this.#before = this.#text;
        this.#text = "";
        this.#hasEnded = false;
        return;
      case "refused":
        if (this.#refused.size < REFUSED_MAX) this.#refused.add(toSentence(said.tool, NAME_LENGTH_MAX) || "a tool");
        return;
      case "usage":
        this.#usage = addUsage(this.#usage, said.usage);
        return;
      case "totals":
        this.#totals = { ...this.#totals, ...said.usage };
        return;
      case "note":
        this.#lastNote = toSentence(said.text, NOTE_LENGTH_MAX);
        return;
      case "limit":
        this.#resetAt = said.resetAt;
        return;
      case "error":
        this.#trouble = said;
        return;
      case "aborted":
        this.#wasAborted = true;
        return;
      case "end":
        this.#hasEnded = true;
        if (said.text === undefined) return;
        // Where the result is told, it is that, also when it is nothing: what was said on the way is none.
        this.#text = said.text;
        this.#before = "";
        return;
      case "tool result":
        return;
    }
  }

  /** With what was said of it before. */
  #whole(trouble: Trouble | null): Trouble | null {
    if (trouble === null) return null;
    return { ...trouble, message: trouble.message || this.#lastNote, resetAt: trouble.resetAt ?? this.#resetAt };
  }

  get summary(): Summary {
    const own = (usage: Usage | undefined) => {
      const model = toSentence(usage?.model ?? this.#model ?? "", NAME_LENGTH_MAX);
      return usage === undefined ? undefined : { ...usage, ...(model === "" ? {} : { model }) };
    };
    return {
      agentSession: this.#agentSession,
      isEmpty: this.#isEmpty,
      model: this.#model,
      text: (this.#text.trim() === "" ? this.#before : this.#text).trim(),
      hasEnded: this.#hasEnded,
      wasAborted: this.#wasAborted,
      trouble: this.#whole(this.#trouble),
      lastNote: this.#lastNote,
      toolCalls: this.#toolCalls,
      refused: [...this.#refused],
      usage: own(this.#usage),
      totals: own(this.#totals),
    };
  }
}
