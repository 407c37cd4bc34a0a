/** GitHub Copilot CLI's `--output-format json`: events, last a `result`. Its tokens stand in a file of their own. */
import { amountOf, detailOf, type Fields, fieldsOf, type Said, sumOf, textOf, usageOf } from "./said.ts";

export function understandCopilot(line: Fields): readonly Said[] {
  const data = fieldsOf(line["data"]);
  switch (line["type"]) {
    case "session.tools_updated":
      // The first that is certain to come; its session has no name before the last line.
      return [{ is: "session", id: "", model: textOf(data["model"]) || undefined }];
    case "assistant.message": {
      const text = textOf(data["content"]);
      return text === "" ? [] : [{ is: "text", text }];
    }
    case "tool.execution_start":
      return [{ is: "tool", name: textOf(data["toolName"]), detail: detailOf(data["arguments"]) }];
    case "tool.execution_complete":
      return toolResult(data);
    case "session.error":
      return [{ is: "error", message: textOf(data["message"]), status: amountOf(data["statusCode"]) }];
    case "assistant.idle":
      return data["aborted"] === true ? [{ is: "aborted" }] : [];
    case "result": {
      const id = textOf(line["sessionId"]);
      const session: Said[] = id === "" ? [] : [{ is: "session", id }];
      return line["exitCode"] === 0 ? [...session, { is: "end" }] : session;
    }
    default:
      return [];
  }
}

function toolResult(data: Fields): readonly Said[] {
  const error = fieldsOf(data["error"]);
  const text = textOf(fieldsOf(data["result"])["content"]) || textOf(error["message"]);
  const result: Said = { is: "tool result", ok: data["success"] === true, text };
  return error["code"] === "denied" ? [result, { is: "refused", tool: textOf(data["toolName"]) }] : [result];
}

/** No session has more. */
const MODELS_MAX = 100;

/** The file of `--usage-output-file`: of the whole session, what earlier attempts used among it. */
export function readCopilotUsage(file: Fields): readonly Said[] {
  const models = Object.entries(fieldsOf(file["modelMetrics"])).slice(0, MODELS_MAX);
  const counts = models.map(([, metrics]) => fieldsOf(fieldsOf(metrics)["usage"]));
  const all = (key: string) => sumOf(...counts.map((count) => count[key]));
  const usage = usageOf({
    inputTokens: all("inputTokens"),
    cacheReadTokens: all("cacheReadTokens"),
    cacheWriteTokens: all("cacheWriteTokens"),
    outputTokens: all("outputTokens"),
    model: models[0]?.[0],
  });
  return Object.keys(usage).length === 0 ? [] : [{ is: "totals", usage }];
}
