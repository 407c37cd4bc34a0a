/** Gemini CLI's `-o stream-json`: an `init`, messages in pieces, tools, last a `result`. */
import { parse } from "./json-lines.ts";
import { amountOf, detailOf, type Fields, fieldsOf, type Said, type Trouble, textOf, usageOf } from "./said.ts";

export function understandGemini(line: Fields): readonly Said[] {
  switch (line["type"]) {
    case "init":
      return [{ is: "session", id: textOf(line["session_id"]), model: textOf(line["model"]) || undefined }];
    case "message":
      if (line["role"] !== "assistant") return [];
      return [{ is: "text", text: textOf(line["content"]), goesOn: line["delta"] === true }];
    case "tool_use":
      return [{ is: "tool", name: textOf(line["tool_name"]), detail: detailOf(line["parameters"]) }];
    case "tool_result":
      return toolResult(line);
    case "error":
      return [{ is: "note", text: textOf(line["message"]) }];
    case "result":
      return resultLine(line);
    default:
      return [];
  }
}

function toolResult(line: Fields): readonly Said[] {
  const error = fieldsOf(line["error"]);
  const text = textOf(line["output"]) || textOf(error["message"]);
  return [{ is: "tool result", ok: line["status"] === "success", text }];
}

function resultLine(line: Fields): readonly Said[] {
  const stats = fieldsOf(line["stats"]);
  const usage = usageOf({
    inputTokens: amountOf(stats["input_tokens"]),
    cacheReadTokens: amountOf(stats["cached"]),
    outputTokens: outputOf(stats),
  });
  const said: Said[] = Object.keys(usage).length === 0 ? [] : [{ is: "usage", usage }];
  if (line["status"] === "success") return [...said, { is: "end" }];
  const error = fieldsOf(line["error"]);
  return [...said, { is: "error", ...troubleOf(textOf(error["message"]) || textOf(error["type"])) }];
}

/** What it thought is paid for like what it said, and stands in the total only. */
function outputOf(stats: Fields): number | undefined {
  const [total, input, said] = [stats["total_tokens"], stats["input_tokens"], stats["output_tokens"]].map(amountOf);
  return total === undefined || input === undefined || total < input ? said : total - input;
}

/** Its words are often "[API Error: {...}]", with the provider's whole answer inside. */
function troubleOf(message: string): Trouble {
  const inner = fieldsOf(parse(message.slice(message.indexOf("{"), message.lastIndexOf("}") + 1))?.["error"]);
  const words = textOf(inner["message"]);
  return words === "" ? { message } : { message: words, status: amountOf(inner["code"]) };
}
