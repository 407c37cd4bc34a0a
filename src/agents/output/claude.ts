/** Claude Code's `--output-format stream-json`: a line for each message, last a `result`. */
import type { ErrorClass } from "../../core/policy/error-class.ts";
import {
  amountOf,
  detailOf,
  type Fields,
  fieldsOf,
  isFields,
  listOf,
  type Said,
  sumOf,
  type Trouble,
  textOf,
  usageOf,
} from "./said.ts";

export function understandClaude(line: Fields): readonly Said[] {
  switch (line["type"]) {
    case "system":
      return systemLine(line);
    case "assistant":
      return listOf(fieldsOf(line["message"])["content"]).flatMap(assistantPart);
    case "user":
      return listOf(fieldsOf(line["message"])["content"]).flatMap(userPart);
    case "rate_limit_event":
      return limitLine(fieldsOf(line["rate_limit_info"]));
    case "result":
      return resultLine(line);
    default:
      return [];
  }
}

function systemLine(line: Fields): readonly Said[] {
  if (line["subtype"] === "init") {
    const id = textOf(line["session_id"]);
    return id === "" ? [] : [{ is: "session", id, model: textOf(line["model"]) || undefined }];
  }
  if (line["subtype"] !== "api_retry") return [];
  const status = amountOf(line["error_status"]);
  const delayMs = amountOf(line["retry_delay_ms"]) ?? 0;
  const why = status === undefined ? "the provider cannot be reached" : `the provider answers ${status}`;
  const times = `${amountOf(line["attempt"]) ?? "?"} of ${amountOf(line["max_retries"]) ?? "?"}`;
  return [{ is: "note", text: `${why}; tries again in ${Math.round(delayMs / 1000)} s (${times})` }];
}

/** Of a subscription: it is told with every answer, and counts where it was reached. */
function limitLine(info: Fields): readonly Said[] {
  const seconds = amountOf(info["resetsAt"]);
  return info["status"] === "rejected" && seconds !== undefined ? [{ is: "limit", resetAt: seconds * 1000 }] : [];
}

function assistantPart(part: Fields): readonly Said[] {
  if (part["type"] === "text") return [{ is: "text", text: textOf(part["text"]) }];
  if (part["type"] !== "tool_use") return [];
  return [{ is: "tool", name: textOf(part["name"]), detail: detailOf(part["input"]) }];
}

function userPart(part: Fields): readonly Said[] {
  if (part["type"] === "text" && textOf(part["text"]).startsWith("[Request interrupted")) return [{ is: "aborted" }];
  if (part["type"] !== "tool_result") return [];
  const content = part["content"];
  const text =
    typeof content === "string"
      ? content
      : listOf(content)
          .map((one) => textOf(one["text"]))
          .join("\n");
  return [{ is: "tool result", ok: part["is_error"] !== true, text }];
}

/** `is_error` decides, not `subtype`, which says "success" of a failed request too. */
function resultLine(line: Fields): readonly Said[] {
  const denials = listOf(line["permission_denials"]).map(
    (one): Said => ({ is: "refused", tool: textOf(one["tool_name"]) }),
  );
  const totals = totalsOf(line);
  const said: Said[] = [...denials, ...(totals === null ? [] : [totals])];
  if (line["is_error"] === true) return [...said, { is: "error", ...troubleOf(line) }];
  if (line["terminal_reason"] === "aborted") said.push({ is: "aborted" });
  return [...said, { is: "end", text: textOf(line["result"]) }];
}

const CLASS_OF_SUBTYPE: ReadonlyMap<string, ErrorClass> = new Map([
  ["error_max_turns", "max_turns"],
  ["error_max_budget_usd", "budget"],
]);

function troubleOf(line: Fields): Trouble {
  const errors = Array.isArray(line["errors"]) ? line["errors"].filter((one) => typeof one === "string") : [];
  const message = textOf(line["result"]) || errors.join("; ") || textOf(line["api_error"]);
  const known = CLASS_OF_SUBTYPE.get(textOf(line["subtype"]));
  const isOffline = line["api_error"] === "connection_failed";
  return { message, status: amountOf(line["api_error_status"]), class: known ?? (isOffline ? "network" : undefined) };
}

/** No session has more. */
const MODELS_MAX = 100;

/** Of all models together, and of the whole of its session: the line's own `usage` leaves out the last call of a run that failed. */
function totalsOf(line: Fields): Said | null {
  const models = Object.entries(fieldsOf(line["modelUsage"]))
    .slice(0, MODELS_MAX)
    .filter(([, usage]) => isFields(usage));
  const counts = models.map(([, usage]) => fieldsOf(usage));
  const all = (key: string) => sumOf(...counts.map((count) => count[key]));
  const [main] = models.toSorted(([, a], [, b]) => outputOf(b) - outputOf(a));
  const cacheReadTokens = all("cacheReadInputTokens");
  const cacheWriteTokens = all("cacheCreationInputTokens");
  const usage = usageOf({
    inputTokens: sumOf(all("inputTokens"), cacheReadTokens, cacheWriteTokens),
    cacheReadTokens,
    cacheWriteTokens,
    outputTokens: all("outputTokens"),
    costUsd: amountOf(line["total_cost_usd"]) || undefined,
    model: main?.[0],
  });
  return Object.keys(usage).length === 0 ? null : { is: "totals", usage };
}

function outputOf(usage: unknown): number {
  return amountOf(fieldsOf(usage)["outputTokens"]) ?? 0;
}
