/** The output of a program that answers in plain text. */

/** A comment holds 1 MiB; the note needs some of it. */
const RESULT_BYTES_MAX = 1024 * 1024 - 1024;

/** How much of the log `textResult` wants to see. */
export const TEXT_BYTES_WANTED = RESULT_BYTES_MAX + 4096;

/**
 * A program's result: its output, trimmed. `head` is the beginning of the log and `size` the whole log's bytes; what is longer than a
 * comment can be is cut, with a note where the rest is.
 */
export function textResult(head: Buffer, size: number, sessionId: string): string {
  const text = decode(head.subarray(0, RESULT_BYTES_MAX)).trim();
  if (size > RESULT_BYTES_MAX) return `${text}${cutNote(`the output has ${size} bytes`, sessionId)}`;
  return text === "" ? "(no output)" : text;
}

/** A result that was read out of a program's output, cut where it is longer than a comment can be. */
export function cutResult(text: string, sessionId: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= RESULT_BYTES_MAX) return text;
  return `${decode(bytes.subarray(0, RESULT_BYTES_MAX))}${cutNote(`it has more than ${RESULT_BYTES_MAX} bytes`, sessionId)}`;
}

function cutNote(what: string, sessionId: string): string {
  return `\n\n[Cut: ${what}. All of it: GET /api/sessions/${sessionId}/log, or stdout.log in the run directory.]`;
}

/** UTF-8 with no half character at the end of what was cut. */
function decode(bytes: Buffer): string {
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes, { stream: true });
}
