/** What a running program does just now, from the end of what it has printed so far. */
import { closeSync, constants, openSync, readSync } from "node:fs";
import { logFile, PLAIN_FILE } from "../run-directory.ts";
import { lineFormat, type OutputFormat } from "./formats.ts";
import { readLine } from "./json-lines.ts";
import { progressOf } from "./transcript.ts";

/** Of what came since the last look only so much is read: the last action stands at the end. */
const READ_BYTES_MAX = 64 * 1024;

/** Its last action in a few words, from what stands between two offsets of its output; `undefined` where nothing there tells of one. Never throws. */
export function lastAction(directory: string, format: OutputFormat, from: number, to: number): string | undefined {
  const understand = lineFormat(format)?.understand;
  if (understand === undefined || to <= from) return undefined;
  const start = Math.max(from, to - READ_BYTES_MAX);
  let text: string;
  try {
    text = readText(logFile(directory, "stdout"), start, to);
  } catch {
    // What cannot be read just now says nothing: progress is not worth more.
    return undefined;
  }
  const lines = text.split("\n").slice(0, -1);
  for (const line of lines.toReversed()) {
    const action = readLine(line, understand)
      .map(progressOf)
      .findLast((one) => one !== null);
    if (action !== undefined && action !== null) return action;
  }
  return undefined;
}

function readText(path: string, from: number, to: number): string {
  const file = openSync(path, constants.O_RDONLY | PLAIN_FILE);
  try {
    const buffer = Buffer.alloc(to - from);
    return buffer.toString("utf8", 0, readSync(file, buffer, 0, buffer.length, from));
  } finally {
    closeSync(file);
  }
}
