/** JSON text → value, with the line and column of what is wrong, and stricter than `JSON.parse` about doubled keys. */

export type JsonText =
  | { readonly ok: true; readonly value: unknown }
  | {
      readonly ok: false;
      readonly line: number;
      readonly column: number;
      readonly found: string;
      readonly wanted: string;
    };

/** Deeper nesting than any setting needs; keeps hostile text from exhausting the stack. */
const DEPTH_MAX = 64;

/**
 * Reads strict JSON; a byte order mark in front is let pass. Also refused, since `JSON.parse` would hide or abuse them:
 * a key that is given twice, and the key `__proto__`.
 */
export function parseJson(source: string): JsonText {
  const text = source.startsWith("\uFEFF") ? source.slice(1) : source;
  try {
    const reader = new Reader(text);
    reader.value(0);
    reader.end();
    return { ok: true, value: JSON.parse(text) };
  } catch (error) {
    if (!(error instanceof Unexpected)) throw error;
    const before = text.slice(0, error.offset).split("\n");
    const column = (before.at(-1) ?? "").length + 1;
    return { ok: false, line: before.length, column, found: error.found, wanted: error.wanted };
  }
}

class Unexpected extends Error {
  readonly offset: number;
  readonly found: string;
  readonly wanted: string;
  constructor(offset: number, found: string, wanted: string) {
    super(`${found}, wanted ${wanted}`);
    this.offset = offset;
    this.found = found;
    this.wanted = wanted;
  }
}

/** Walks over the text once; it builds nothing, for `JSON.parse` does that once the text is known to be good. */
class Reader {
  readonly #text: string;
  #offset = 0;

  constructor(text: string) {
    this.#text = text;
  }

  value(depth: number): void {
    this.#space();
    if (depth > DEPTH_MAX)
      throw new Unexpected(this.#offset, "a value nested too deeply", `at most ${DEPTH_MAX} levels`);
    const next = this.#text[this.#offset];
    if (next === "{") this.#object(depth);
    else if (next === "[") this.#list(depth);
    else if (next === '"') this.#string();
    else this.#scalar();
  }

  end(): void {
    this.#space();
    if (this.#offset < this.#text.length) this.#fail("nothing after the closing bracket");
  }

  #object(depth: number): void {
    const keys = new Set<string>();
    this.#offset++;
    if (this.#take("}")) return;
    for (;;) {
      this.#space();
      if (this.#text[this.#offset] !== '"') this.#fail("a key in double quotes");
      const start = this.#offset;
      const key: unknown = JSON.parse(this.#string());
      if (typeof key !== "string" || key === "__proto__") {
        throw new Unexpected(start, 'the key "__proto__"', "another name");
      }
      if (keys.has(key)) throw new Unexpected(start, `the key ${JSON.stringify(key)} a second time`, "each key once");
      keys.add(key);
      if (!this.#take(":")) this.#fail('":" after the key');
      this.value(depth + 1);
      if (this.#take("}")) return;
      if (!this.#take(",")) this.#fail('"," or "}"');
      this.#noTrailingComma("}", "another key");
    }
  }

  #list(depth: number): void {
    this.#offset++;
    if (this.#take("]")) return;
    for (;;) {
      this.value(depth + 1);
      if (this.#take("]")) return;
      if (!this.#take(",")) this.#fail('"," or "]"');
      this.#noTrailingComma("]", "another value");
    }
  }

  /** Returns the literal, quotes included. */
  #string(): string {
    const start = this.#offset;
    this.#offset++;
    for (;;) {
      const char = this.#text[this.#offset];
      if (char === undefined || char < " ") this.#fail("a closing double quote");
      if (
        char === "\\" &&
        !/^\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/.test(this.#text.slice(this.#offset, this.#offset + 6))
      ) {
        throw new Unexpected(
          this.#offset,
          "a backslash",
          '"\\\\" for a backslash, or one of \\" \\/ \\b \\f \\n \\r \\t \\u0000',
        );
      }
      this.#offset += char === "\\" ? 2 : 1;
      if (char === '"') return this.#text.slice(start, this.#offset);
    }
  }

  #scalar(): void {
    const scalar = /(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])/y;
    scalar.lastIndex = this.#offset;
    const match = scalar.exec(this.#text);
    if (match === null) this.#fail("a value");
    this.#offset += match[0].length;
  }

  #take(char: string): boolean {
    this.#space();
    if (this.#text[this.#offset] !== char) return false;
    this.#offset++;
    return true;
  }

  #space(): void {
    while (" \t\r\n".includes(this.#text[this.#offset] ?? "x")) this.#offset++;
  }

  #noTrailingComma(closing: string, wanted: string): void {
    this.#space();
    if (this.#text[this.#offset] === closing) {
      throw new Unexpected(
        this.#offset,
        `"${closing}" after a comma`,
        `${wanted} (JSON has no comma after the last one)`,
      );
    }
  }

  #fail(wanted: string): never {
    throw new Unexpected(this.#offset, this.#describe(), wanted);
  }

  #describe(): string {
    const rest = this.#text.slice(this.#offset, this.#offset + 20);
    if (rest === "") return "the end of the file";
    if (/^[\r\n]/.test(rest)) return "the end of the line";
    if (/^(?:\/\/|\/\*|#)/.test(rest)) return "a comment (JSON has none)";
    const word = /^[\w.+-]+/.exec(rest)?.[0] ?? String.fromCodePoint(rest.codePointAt(0) ?? 0);
    return /[\p{Cc}\p{Cf}]/u.test(word) ? "a control character" : JSON.stringify(word);
  }
}
