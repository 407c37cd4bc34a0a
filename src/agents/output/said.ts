/** What programs say in a line of their output, in one vocabulary: each format is read into this, and everything else works on it. */
import type { ErrorClass } from "../../core/policy/error-class.ts";
import type { Usage } from "../../core/session.ts";

export type Said =
  /** The program's own session (empty where it has no name yet), and the model that it works with. */
  | { readonly is: "session"; readonly id: string; readonly model?: string | undefined }
  /** The agent's words. `goesOn`: a piece of a message whose other pieces came before. */
  | { readonly is: "text"; readonly text: string; readonly goesOn?: boolean | undefined }
  | { readonly is: "tool"; readonly name: string; readonly detail: string }
  | { readonly is: "tool result"; readonly ok: boolean; readonly text: string }
  | { readonly is: "refused"; readonly tool: string }
  /** Used since the last time that it was told. */
  | { readonly is: "usage"; readonly usage: Usage }
  /** Used so far, through all attempts of the program's session. */
  | { readonly is: "totals"; readonly usage: Usage }
  /** Something that passes, such as a request that is tried again. */
  | { readonly is: "note"; readonly text: string }
  /** A limit of the provider is reached, until a time in ms since the epoch. */
  | { readonly is: "limit"; readonly resetAt: number }
  /** The attempt failed; the last one counts. */
  | ({ readonly is: "error" } & Trouble)
  | { readonly is: "aborted" }
  /** The program came to its end in order. `text`: the result, where it is told again. */
  | { readonly is: "end"; readonly text?: string | undefined };

/** What a program says of why it failed: as much as it says. */
export interface Trouble {
  readonly message: string;
  /** The provider's HTTP status. */
  readonly status?: number | undefined;
  /** Where it is plain from the format. */
  readonly class?: ErrorClass | undefined;
  /** When a limit ends, ms since the epoch, where the format has a field for it. */
  readonly resetAt?: number | undefined;
}

/** Reads one line, parsed as JSON. Whatever it does not know says nothing. Never throws. */
export type Understand = (line: Fields) => readonly Said[];

/** JSON from outside. */
export type Fields = Readonly<Record<string, unknown>>;

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** What is no object has no fields. */
export function fieldsOf(value: unknown): Fields {
  return isFields(value) ? value : {};
}

export function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

export function listOf(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.filter(isFields) : [];
}

/** No real count comes near it, and sums of such counts stay finite. */
const AMOUNT_MAX = 1_000_000_000_000;

/** A count or an amount: nothing that is no number, below 0 or absurdly large is one. */
export function amountOf(value: unknown): number | undefined {
  return typeof value === "number" && value >= 0 && value <= AMOUNT_MAX ? value : undefined;
}

/** Of counts that may be missing. */
export function sumOf(...values: readonly unknown[]): number | undefined {
  const amounts = values.map(amountOf).filter((amount) => amount !== undefined);
  return amounts.length === 0 ? undefined : amounts.reduce((sum, amount) => sum + amount, 0);
}

/** Without what is not known. */
export function usageOf(fields: { readonly [K in keyof Usage]: Usage[K] | undefined }): Usage {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Usage;
}

/** The one argument of a tool that says what it does: a command, a path, a pattern. */
export function detailOf(input: unknown): string {
  const fields = fieldsOf(input);
  for (const key of TELLING) {
    const value = fields[key];
    if (typeof value === "string" && value.trim() !== "") return value;
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value.join(" ");
  }
  return "";
}

const TELLING = [
  "command",
  "cmd",
  "file_path",
  "filePath",
  "absolute_path",
  "path",
  "pattern",
  "query",
  "url",
  "description",
  "prompt",
];
