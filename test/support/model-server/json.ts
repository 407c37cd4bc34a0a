/** Looking into JSON that a program sent: whatever is not there, or is something else, reads as empty. */

export type Fields = Readonly<Record<string, unknown>>;

export function fields(value: unknown): Fields {
  return typeof value === "object" && value !== null ? (value as Fields) : {};
}

export function list(value: unknown): readonly Fields[] {
  return Array.isArray(value) ? value.map(fields) : [];
}

export function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

/** All text of a message's content, be it a string or a list of parts. */
export function contentText(content: unknown): string {
  return typeof content === "string"
    ? content
    : list(content)
        .map((part) => text(part["text"]))
        .join("\n");
}
