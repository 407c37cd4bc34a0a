/** Codex's `exec --json`: a thread, turns, and the items in them. */
import { amountOf, type Fields, fieldsOf, type Said, textOf, usageOf } from "./said.ts";

export function understandCodex(line: Fields): readonly Said[] {
  switch (line["type"]) {
    case "thread.started":
      return [{ is: "session", id: textOf(line["thread_id"]) }];
    case "item.started":
      return startedItem(fieldsOf(line["item"]));
    case "item.completed":
      return completedItem(fieldsOf(line["item"]));
    case "turn.completed":
      return [{ is: "totals", usage: totalsOf(fieldsOf(line["usage"])) }, { is: "end" }];
    case "turn.failed":
      return [{ is: "error", message: textOf(fieldsOf(line["error"])["message"]) }];
    case "error":
      // It comes before every failed turn, and also of a connection that is tried again.
      return [{ is: "note", text: textOf(line["message"]) }];
    default:
      return [];
  }
}

function startedItem(item: Fields): readonly Said[] {
  if (item["type"] === "command_execution") return [{ is: "tool", name: "shell", detail: textOf(item["command"]) }];
  if (item["type"] === "mcp_tool_call") return [{ is: "tool", name: textOf(item["tool"]), detail: "" }];
  if (item["type"] === "web_search") return [{ is: "tool", name: "web search", detail: textOf(item["query"]) }];
  return [];
}

function completedItem(item: Fields): readonly Said[] {
  switch (item["type"]) {
    case "agent_message":
      return [{ is: "text", text: textOf(item["text"]) }];
    case "command_execution": {
      const ok = item["status"] === "completed" && item["exit_code"] === 0;
      const result: Said = { is: "tool result", ok, text: textOf(item["aggregated_output"]) };
      return item["status"] === "declined" ? [result, { is: "refused", tool: "shell" }] : [result];
    }
    case "file_change":
      return [
        { is: "tool", name: "edit", detail: changedPaths(item) },
        { is: "tool result", ok: item["status"] === "completed", text: "" },
      ];
    default:
      // An "error" among the items is none of the turn: that it does not know a model's data, for example.
      return [];
  }
}

function changedPaths(item: Fields): string {
  const changes = Array.isArray(item["changes"]) ? item["changes"] : [];
  return changes.map((change) => textOf(fieldsOf(change)["path"])).join(" ");
}

/** Of the whole thread, what earlier attempts used among it. */
function totalsOf(usage: Fields) {
  return usageOf({
    inputTokens: amountOf(usage["input_tokens"]),
    cacheReadTokens: amountOf(usage["cached_input_tokens"]),
    outputTokens: amountOf(usage["output_tokens"]),
  });
}
