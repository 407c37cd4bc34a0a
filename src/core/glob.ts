/**
 * Paths and globs of locks: whether some path can match two of them.
 *
 * A pattern is `/`-separated segments; in a segment `*` is any run of characters, `?` one, `[a-z]` or `[!a-z]` one of a
 * set, `{a,b}` either; a whole segment `**` is any number of segments, none included. Dot files match like others.
 *
 * A pattern matches exactly what it says, with one exception: one whose last segment has neither a wildcard nor a dot may
 * be a directory, and covers everything below it too: whoever locks `src` has locked `src/a.ts`. `README.md`, `src/*` and
 * `.env` cover nothing below; `my.dir/` says that it is a directory and is the same as `my.dir/**`. With braces, each
 * alternative is taken by itself.
 */

/** Refused patterns: `null` is fine, else the reason in words for the caller. */
export function patternProblem(pattern: string): string | null {
  if (pattern.length === 0) return "is empty";
  if (pattern.length > PATTERN_LENGTH_MAX) return `is longer than ${PATTERN_LENGTH_MAX} characters`;
  if (pattern.includes("\0")) return "contains a NUL character";
  if (pattern.includes("\\")) return "contains a backslash; paths are separated by / and nothing can be escaped";
  if (pattern.startsWith("!")) return "cannot be negated with a leading !";
  if (/[@!+*?]\(/.test(pattern)) return "contains an extended glob such as @(a|b); write {a,b}";
  if (/\{[^{},]*\.\.[^{},]*\}/.test(pattern)) return "contains a sequence such as {1..3}; write {1,2,3}";
  if (pattern.includes("[[:")) return "contains a character class such as [[:alpha:]]; write [a-zA-Z]";
  const alternatives = expandBraces(pattern);
  if (alternatives === null) {
    return `has unbalanced braces, more than ${ALTERNATIVES_MAX} alternatives, or more than ${EXPANDED_LENGTH_MAX} characters in all of them`;
  }
  if (alternatives.some((one) => /^[/~]/.test(one))) return "is not relative to the workspace";
  if (alternatives.some((one) => one.split("/").includes(".."))) return "leads out of the workspace (..)";
  if (alternatives.some((one) => parse(one) === null)) return "has an unclosed [ or an empty set";
  return null;
}

const PATTERN_LENGTH_MAX = 1024;
const ALTERNATIVES_MAX = 64;
const EXPANDED_LENGTH_MAX = 8192;
/** Past this many tokens in all, what was compiled is forgotten: memory has a limit. */
const CACHE_TOKENS_MAX = 2_000_000;
/** How long to compare two patterns: real ones take hundreds of steps, ones made to be slow would take billions. */
const STEPS_MAX = 50_000;

/**
 * How much comparing somebody may cause: every comparison takes its steps from here, and once none are left, whatever has
 * to be compared is taken to overlap. A lock too wide is safe.
 */
export interface Steps {
  left: number;
}

/** @param max steps; a million take about 20 ms */
export function stepsFor(max: number): Steps {
  return { left: max };
}

/** True for what is compared as text, at next to no cost. */
export function isPath(pattern: string): boolean {
  return isLiteral(pattern);
}

/** The one spelling of a pattern: without `./` or doubled slashes, and with `/**` for a slash at its end. */
export function normalisePattern(pattern: string): string {
  const segments = pattern.split("/").filter((segment) => segment !== "" && segment !== ".");
  if (segments.length === 0) return "**";
  if (/\/\.?$/.test(pattern) && segments.at(-1) !== "**") segments.push("**");
  return segments.join("/");
}

/** True when some path is matched by both patterns. */
export function overlaps(left: string, right: string, steps: Steps = stepsFor(STEPS_MAX)): boolean {
  if (left === right) return true;
  if (part(left, right)) return false;
  if (steps.left <= 0) return true;
  const lefts = compile(left);
  const rights = compile(right);
  const given = Math.min(steps.left, STEPS_MAX);
  const own = { left: given };
  const meet = lefts.some((a) => rights.some((b) => pathsMeet(a, b, own)));
  steps.left -= given - own.left;
  return meet;
}

/** Many patterns at once: found by how they begin instead of being compared one by one. */
export class PatternSet {
  readonly #plain = new Set<string>();
  readonly #wild: string[] = [];
  /** The directories that the patterns lie in. */
  readonly #above = new Set<string>();
  /** Patterns that match more than one path, by the directory that all of these are in or are. */
  readonly #reaching = new Map<string, string[]>();
  /** How long those directories' names are: others need not be looked up. */
  readonly #lengths = new Set<number>();

  add(pattern: string): void {
    const plain = isPlain(pattern);
    if (plain) this.#plain.add(pattern);
    else this.#wild.push(pattern);
    const root = plain ? pattern : rootOf(pattern);
    if (!plain) this.#above.add(root);
    for (const directory of directoriesOf(root)) this.#above.add(directory);
    if (plain && !mayBeDirectory(pattern)) return;
    const reaching = this.#reaching.get(root);
    if (reaching === undefined) this.#reaching.set(root, [pattern]);
    else reaching.push(pattern);
    this.#lengths.add(root.length);
  }

  /** True when the pattern overlaps with one of these. */
  overlaps(pattern: string, steps: Steps = stepsFor(STEPS_MAX)): boolean {
    const plain = isPlain(pattern);
    if (this.#plain.has(pattern)) return true;
    const root = plain ? pattern : rootOf(pattern);
    if (plain) {
      if (this.#above.has(pattern) && mayBeDirectory(pattern)) return true;
    } else if (root === "" || this.#above.has(root) || this.#plain.has(root)) {
      const meets = (other: string) => overlaps(other, pattern, steps);
      return this.#wild.some(meets) || [...this.#plain].some(meets);
    }
    for (let at = root.length; ; at = root.lastIndexOf("/", at - 1)) {
      const length = Math.max(at, 0);
      const reaching = this.#lengths.has(length) ? this.#reaching.get(root.slice(0, length)) : undefined;
      if (reaching?.some((other) => overlaps(other, pattern, steps))) return true;
      if (length === 0) return false;
    }
  }
}

/** A path in the spelling of `normalisePattern`: such are compared as text. */
function isPlain(pattern: string): boolean {
  return isLiteral(pattern) && !pattern.endsWith("/");
}

/** The directory that everything matched is in, or is: what comes before the first segment with a wildcard. */
function rootOf(pattern: string): string {
  const wild = pattern.search(/[*?[{}]/);
  return pattern.slice(0, Math.max(0, pattern.lastIndexOf("/", wild === -1 ? pattern.length : wild)));
}

/** `a/b/c` lies in `a/b` and `a`. */
function* directoriesOf(path: string): Iterable<string> {
  for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) yield path.slice(0, at);
}

/** Whether the last segment has neither a wildcard nor a dot: then it may be a directory. */
function mayBeDirectory(pattern: string): boolean {
  return !/[*?[{}.]/.test(pattern.slice(pattern.lastIndexOf("/") + 1));
}

/** True when two patterns differ before any wildcard, as most do: then no path begins like both. */
function part(left: string, right: string): boolean {
  const length = Math.min(left.length, right.length);
  for (let at = 0; at < length; at++) {
    const a = left.charCodeAt(at);
    const b = right.charCodeAt(at);
    if (isWild(a) || isWild(b)) return false;
    if (a !== b) return true;
  }
  const [short, long] = left.length > length ? [right, left] : [left, right];
  const next = long.charCodeAt(length);
  return next !== SLASH && !isWild(next) && short.charCodeAt(length - 1) !== SLASH;
}

const [STAR, SLASH, QUESTION, BRACKET, BRACE] = [0x2a, 0x2f, 0x3f, 0x5b, 0x7b] as const;

function isWild(code: number): boolean {
  return code === STAR || code === QUESTION || code === BRACKET || code === BRACE;
}

type Token =
  | { readonly kind: "one"; readonly negated: boolean; readonly ranges: readonly (readonly [number, number])[] }
  | { readonly kind: "star" };
const GLOBSTAR = Symbol("**");
/** A name without wildcards stays text: most segments are such, and they compare at once. */
type Segment = typeof GLOBSTAR | string | readonly Token[];
type Path = readonly Segment[];

const compiled = new Map<string, readonly Path[]>();
let compiledTokens = 0;

function compile(pattern: string): readonly Path[] {
  const known = compiled.get(pattern);
  if (known !== undefined) return known;
  // What cannot be read claims everything: a lock too wide is safe, one too narrow is not.
  const paths = (expandBraces(pattern) ?? ["**"]).map((one) => pathOf(normalisePattern(one)));
  const tokens = paths.reduce((sum, path) => path.reduce((inner, segment) => inner + sizeOf(segment), sum), 0);
  if (compiledTokens + tokens > CACHE_TOKENS_MAX) {
    compiled.clear();
    compiledTokens = 0;
  }
  compiledTokens += tokens;
  compiled.set(pattern, paths);
  return paths;
}

/** What an alternative stands for: where that may be a directory, also what is below. */
function pathOf(alternative: string): Path {
  const path = parse(alternative);
  if (path === null) return [GLOBSTAR];
  return mayBeDirectory(alternative) ? [...path, GLOBSTAR] : path;
}

function sizeOf(segment: Segment): number {
  return segment === GLOBSTAR ? 1 : segment.length;
}

function isLiteral(pattern: string): boolean {
  return !/[*?[{}]/.test(pattern);
}

/** All brace-free patterns that a pattern with braces stands for; `null` when unbalanced, too many or too long. */
function expandBraces(pattern: string): readonly string[] | null {
  if (isLiteral(pattern)) return pattern.includes("}") ? null : [pattern];
  return expand(pattern, { left: EXPANDED_LENGTH_MAX });
}

/** `characters`: what may still be read; each alternative is read once for every pair of braces in it. */
function expand(pattern: string, characters: { left: number }): readonly string[] | null {
  characters.left -= pattern.length;
  if (characters.left < 0) return null;
  const open = pattern.indexOf("{");
  if (open === -1) return pattern.includes("}") ? null : [pattern];
  let depth = 0;
  const cuts = [open];
  for (let index = open; index < pattern.length; index++) {
    const char = pattern[index];
    if (char === "{") depth++;
    else if (char === "," && depth === 1) cuts.push(index);
    else if (char === "}" && --depth === 0) {
      cuts.push(index);
      break;
    }
  }
  const close = cuts[cuts.length - 1] ?? open;
  if (depth !== 0) return null;
  const expanded: string[] = [];
  for (let part = 0; part + 1 < cuts.length; part++) {
    const option = pattern.slice((cuts[part] ?? 0) + 1, cuts[part + 1]);
    const rest = expand(pattern.slice(0, open) + option + pattern.slice(close + 1), characters);
    if (rest === null || expanded.length + rest.length > ALTERNATIVES_MAX) return null;
    expanded.push(...rest);
  }
  return expanded;
}

function parse(pattern: string): Path | null {
  const path: Segment[] = [];
  for (const text of pattern.split("/")) {
    const segment = text === "**" ? GLOBSTAR : isLiteral(text) ? text : parseSegment(text);
    if (segment === null) return null;
    path.push(segment);
  }
  return path;
}

function parseSegment(text: string): readonly Token[] | null {
  const tokens: Token[] = [];
  const chars = Array.from(text);
  for (let index = 0; index < chars.length; index++) {
    const char = chars[index] as string;
    if (char === "*") {
      if (tokens.at(-1)?.kind !== "star") tokens.push({ kind: "star" });
    } else if (char === "?") {
      tokens.push(ANY);
    } else if (char === "[") {
      const set = parseSet(chars, index);
      if (set === null) return null;
      tokens.push(set.token);
      index = set.end;
    } else {
      tokens.push(literal(char));
    }
  }
  return tokens;
}

const ANY: Token = { kind: "one", negated: true, ranges: [] };
const ASCII: readonly Token[] = Array.from({ length: 128 }, (_, code) => ({
  kind: "one",
  negated: false,
  ranges: [[code, code]],
}));

/** Most characters are ASCII: sharing their tokens makes a compiled path as small as its text. */
function literal(char: string): Token {
  const code = codeOf(char);
  return ASCII[code] ?? { kind: "one", negated: false, ranges: [[code, code]] };
}

function parseSet(chars: readonly string[], start: number): { token: Token; end: number } | null {
  let index = start + 1;
  const negated = chars[index] === "!" || chars[index] === "^";
  if (negated) index++;
  const ranges: [number, number][] = [];
  for (let first = true; index < chars.length; index++, first = false) {
    const char = chars[index] as string;
    if (char === "]" && !first) {
      return ranges.length === 0 ? null : { token: { kind: "one", negated, ranges }, end: index };
    }
    const last = chars[index + 2];
    if (chars[index + 1] === "-" && last !== undefined && last !== "]") {
      if (codeOf(last) < codeOf(char)) return null;
      ranges.push([codeOf(char), codeOf(last)]);
      index += 2;
    } else {
      ranges.push([codeOf(char), codeOf(char)]);
    }
  }
  return null;
}

function codeOf(char: string): number {
  return char.codePointAt(0) ?? 0;
}

/**
 * Walks both patterns side by side: (i, j) is reachable when some prefix of a path takes the left to its segment i and
 * the right to its segment j. Both patterns being used up is a meeting.
 */
function pathsMeet(a: Path, b: Path, steps: Steps): boolean {
  let start = 0;
  // Up to the first `**` there is only one way to go.
  for (; a[start] !== GLOBSTAR && b[start] !== GLOBSTAR; start++) {
    const left = a[start] as Exclude<Segment, typeof GLOBSTAR> | undefined;
    const right = b[start] as Exclude<Segment, typeof GLOBSTAR> | undefined;
    if (left === undefined || right === undefined) return left === right;
    if (!segmentsMeet(left, right, steps)) return false;
  }
  return walk(a.length, b.length, start, steps, (i, j, visit) => {
    const left = a[i];
    const right = b[j];
    if (left === undefined && right === undefined) return true;
    if (left === GLOBSTAR) visit(i + 1, j);
    if (right === GLOBSTAR) visit(i, j + 1);
    if (left === undefined || right === undefined) return false;
    if (left === GLOBSTAR || right === GLOBSTAR) {
      if (left !== GLOBSTAR) visit(i + 1, j);
      if (right !== GLOBSTAR) visit(i, j + 1);
    } else if (segmentsMeet(left, right, steps)) {
      visit(i + 1, j + 1);
    }
    return false;
  });
}

/** Whether some non-empty text is matched by both segments: the same walk over characters. */
function segmentsMeet(left: string | readonly Token[], right: string | readonly Token[], steps: Steps): boolean {
  if (typeof left === "string" && typeof right === "string") return left === right;
  const a = typeof left === "string" ? Array.from(left, literal) : left;
  const b = typeof right === "string" ? Array.from(right, literal) : right;
  return walk(a.length, b.length, 0, steps, (i, j, visit) => {
    const one = a[i];
    const other = b[j];
    if (one === undefined && other === undefined) return true;
    if (one?.kind === "star") visit(i + 1, j);
    if (other?.kind === "star") visit(i, j + 1);
    if (one === undefined || other === undefined) return false;
    if (one.kind === "star" && other.kind === "one") visit(i, j + 1);
    else if (one.kind === "one" && other.kind === "star") visit(i + 1, j);
    else if (one.kind === "one" && other.kind === "one" && setsMeet(one, other)) visit(i + 1, j + 1);
    return false;
  });
}

type Visit = (i: number, j: number) => void;

/** Looks at every pair that `arrive` leads to, from (start, start) on, once; true as soon as it says so. */
function walk(
  rows: number,
  columns: number,
  start: number,
  steps: Steps,
  arrive: (i: number, j: number, visit: Visit) => boolean,
): boolean {
  const width = columns + 1;
  steps.left -= ((rows + 1) * width) >> 5;
  if (steps.left < 0) return true;
  const seen = new Uint8Array((rows + 1) * width);
  const todo = [start * width + start];
  const visit = (i: number, j: number) => {
    const key = i * width + j;
    if (seen[key] === 1) return;
    seen[key] = 1;
    todo.push(key);
  };
  for (let key = todo.pop(); key !== undefined; key = todo.pop()) {
    if (--steps.left < 0) return true;
    if (arrive(Math.floor(key / width), key % width, visit)) return true;
  }
  return false;
}

type One = Extract<Token, { kind: "one" }>;

function setsMeet(a: One, b: One): boolean {
  // A negated set leaves out a few characters of a million: it meets another unless that one lies wholly in what it leaves out.
  if (a.negated && b.negated) return true;
  if (a.negated) return setsMeet(b, a);
  if (!b.negated) return a.ranges.some(([from, to]) => b.ranges.some(([low, high]) => from <= high && low <= to));
  const excluded = [...b.ranges].sort((x, y) => x[0] - y[0]);
  return a.ranges.some(([from, to]) => {
    let next = from;
    for (const [low, high] of excluded) if (low <= next && next <= high) next = high + 1;
    return next <= to;
  });
}
