/** opencode's `run --format json`: the parts of its messages; there is no line for the end of it all. */
import { amountOf, detailOf, type Fields, fieldsOf, type Said, sumOf, textOf, usageOf } from "./said.ts";

export function understandOpencode(line: Fields): readonly Said[] {
  const id = textOf(line["sessionID"]);
  // It stands in every line; a transcript need not say so with each.
  const isTold = id !== "" && (line["type"] === "step_start" || line["type"] === "error");
  const session: readonly Said[] = isTold ? [{ is: "session", id }] : [];
  return [...session, ...partOf(line)];
}

function partOf(line: Fields): readonly Said[] {
  const part = fieldsOf(line["part"]);
  switch (line["type"]) {
    case "text":
      return [{ is: "text", text: textOf(part["text"]) }];
    case "tool_use":
      return toolUse(part);
    case "step_finish":
      return stepFinish(part);
    case "error":
      return [errorLine(fieldsOf(line["error"]))];
    default:
      return [];
  }
}

function toolUse(part: Fields): readonly Said[] {
  const tool = textOf(part["tool"]);
  const state = fieldsOf(part["state"]);
  const error = textOf(state["error"]);
  const said: Said[] = [
    { is: "tool", name: tool, detail: detailOf(state["input"]) },
    { is: "tool result", ok: state["status"] === "completed", text: textOf(state["output"]) || error },
  ];
  // Its words: "The user rejected permission to use this specific tool call.", "... has specified a rule which prevents ...".
  if (state["status"] === "error" && /permission|rejected|rule which prevents/i.test(error))
    said.push({ is: "refused", tool });
  return said;
}

function stepFinish(part: Fields): readonly Said[] {
  const tokens = fieldsOf(part["tokens"]);
  const cache = fieldsOf(tokens["cache"]);
  const usage = usageOf({
    inputTokens: sumOf(tokens["input"], cache["read"], cache["write"]),
    cacheReadTokens: amountOf(cache["read"]),
    cacheWriteTokens: amountOf(cache["write"]),
    outputTokens: sumOf(tokens["output"], tokens["reasoning"]),
    // 0 is what it says of a model whose price it does not know.
    costUsd: amountOf(part["cost"]) || undefined,
  });
  const said: Said[] = [{ is: "usage", usage }];
  switch (part["reason"]) {
    case "stop":
      return [...said, { is: "end" }];
    case "tool-calls":
      return said;
    default:
      // It ran into a limit of the model, or was cut off by its provider.
      return [...said, { is: "error", message: `the model ended its answer early (${textOf(part["reason"])})` }];
  }
}

function errorLine(error: Fields): Said {
  const data = fieldsOf(error["data"]);
  const message = textOf(data["message"]) || textOf(error["name"]);
  return { is: "error", message, status: amountOf(data["statusCode"]) };
}
