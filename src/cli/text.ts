/** Text of tasks and agents on a terminal: shown, never obeyed. */
import { stripVTControlCharacters } from "node:util";

/** On one line: no control or formatting characters, no line breaks, no runs of blanks. */
export function oneLine(text: string): string {
  return clean(text.replace(/[\s\u2028\u2029]+/gu, " ")).trim();
}

/** With its line breaks and blanks, but no other control or formatting characters. */
export function manyLines(text: string): string {
  return text
    .replace(/\r\n?|[\u2028\u2029]/g, "\n")
    .split("\n")
    .map((line) => clean(line.replaceAll("\t", "    ")))
    .join("\n");
}

/**
 * Takes out escape sequences whole, then every control (Cc: C0, DEL, C1), formatting (Cf: bidirectional overrides and
 * their like; but not the joiner that emoji are built with) and half-surrogate character.
 */
function clean(text: string): string {
  return stripVTControlCharacters(text).replace(/(?!\u200D)[\p{Cc}\p{Cf}\p{Cs}]/gu, "");
}

/** JSON for a pipe or a screen: the same value, with what a terminal could act on written as escapes. */
export function jsonText(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(/[\u007F-\u009F\p{Cf}\u2028\u2029]/gu, (char) =>
    Array.from(
      { length: char.length },
      (_, index) => `\\u${char.charCodeAt(index).toString(16).padStart(4, "0")}`,
    ).join(""),
  );
}

/** How many columns a clean line takes. */
export function widthOf(line: string): number {
  if (/^[\x20-\x7e]*$/.test(line)) return line.length;
  let width = 0;
  for (const { segment } of graphemes().segment(line)) width += graphemeWidth(segment);
  return width;
}

/** The line cut to a width, with an ellipsis where something is missing. */
export function cutTo(line: string, width: number): string {
  if (widthOf(line) <= width) return line;
  let kept = "";
  let used = 0;
  for (const { segment } of graphemes().segment(line)) {
    used += graphemeWidth(segment);
    if (used > width - 1) break;
    kept += segment;
  }
  return `${kept.trimEnd()}…`;
}

let segmenter: Intl.Segmenter | undefined;

/** Made when it is first needed: it costs megabytes, and the daemon needs none. */
function graphemes(): Intl.Segmenter {
  segmenter ??= new Intl.Segmenter("en", { granularity: "grapheme" });
  return segmenter;
}

/** Two for emoji and for the wide scripts of East Asia (the main ranges of Unicode's UAX #11), none for bare marks. */
function graphemeWidth(grapheme: string): number {
  if (/^[\p{Mark}\u200D]+$/u.test(grapheme)) return 0;
  const wide =
    /^(?:\p{Emoji_Presentation}|.\uFE0F|[\u1100-\u115F\u2E80-\u303E\u3041-\uA4CF\uA960-\uA97F\uAC00-\uD7A3\uF900-\uFAFF\uFE30-\uFE6F\uFF00-\uFF60\uFFE0-\uFFE6\u{1F300}-\u{1F64F}\u{1F900}-\u{1F9FF}\u{20000}-\u{3FFFD}])/u;
  return wide.test(grapheme) ? 2 : 1;
}
