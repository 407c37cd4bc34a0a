/** What a program said, for people: a readable transcript, and its last action in a few words. */
import type { Said } from "./said.ts";

const DETAIL_LENGTH = 300;
const RESULT_LINES = 12;
const RESULT_LENGTH = 1500;
const PROGRESS_LENGTH = 120;

/** A part of the transcript, with its line break; empty for what tells a reader nothing. */
export function render(said: Said): string {
  switch (said.is) {
    case "session":
      return begins(said.id, said.model);
    case "text":
      return said.goesOn === true ? said.text : said.text.trim() === "" ? "" : `${said.text.trimEnd()}\n`;
    case "tool":
      return `▸ ${oneLine(said.name, 80)}${said.detail === "" ? "" : `: ${oneLine(said.detail, DETAIL_LENGTH)}`}\n`;
    case "tool result":
      return `${indent(said.text)}${said.ok ? "" : "  ✗ it failed\n"}`;
    case "refused":
      return `  ✗ not allowed: ${oneLine(said.tool, 80)}\n`;
    case "note":
      return `… ${oneLine(said.text, DETAIL_LENGTH)}\n`;
    case "error":
      return `✗ ${oneLine(said.message, RESULT_LENGTH)}\n`;
    case "aborted":
      return "✗ aborted\n";
    case "end":
      return "— done\n";
    case "usage":
    case "totals":
    case "limit":
      return "";
  }
}

function begins(id: string, model: string | undefined): string {
  const parts = [id === "" ? "" : `session ${oneLine(id, 80)}`, model === undefined ? "" : oneLine(model, 80)];
  const told = parts.filter((part) => part !== "").join(", ");
  return told === "" ? "" : `— ${told}\n`;
}

/** What it does just now; `null` for what is no action. */
export function progressOf(said: Said): string | null {
  switch (said.is) {
    case "tool":
      return oneLine(said.detail === "" ? said.name : `${said.name}: ${said.detail}`, PROGRESS_LENGTH);
    case "text":
      return said.text.trim() === "" ? null : oneLine(said.text, PROGRESS_LENGTH);
    case "note":
      return oneLine(said.text, PROGRESS_LENGTH);
    default:
      return null;
  }
}

function indent(text: string): string {
  const cut = text
    .slice(0, RESULT_LENGTH)
    .replace(/[\uD800-\uDBFF]$/, "")
    .trimEnd();
  if (cut === "") return "";
  const lines = cut.split("\n");
  const shown = lines.slice(0, RESULT_LINES).map((line) => `  ${line}`);
  const isCut = lines.length > RESULT_LINES || text.trimEnd().length > cut.length;
  return `${shown.join("\n")}\n${isCut ? "  …\n" : ""}`;
}

function oneLine(text: string, lengthMax: number): string {
  const line = text
    .slice(0, 4 * lengthMax)
    .replace(/[\p{Cc}\p{Cf}\s]+/gu, " ")
    .trim();
  return line.length > lengthMax ? `${line.slice(0, lengthMax - 1).replace(/[\uD800-\uDBFF]$/, "")}…` : line;
}
