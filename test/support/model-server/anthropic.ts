/** Anthropic Messages: POST /v1/messages. */
import { type Conversation, type Fault, pieces, type Reply, readTools, type Said, USAGE } from "./behaviour.ts";
import { contentText, fields, list, text } from "./json.ts";
import { type Failure, frame, retryAfter, type WireFormat } from "./wire-format.ts";

export const anthropic: WireFormat = { read, wantsStream, whole, stream, failure };

function read(body: unknown): Conversation {
  const said: Said[] = [];
  for (const message of list(fields(body)["messages"])) {
    if (message["role"] !== "user") continue;
    const content = message["content"];
    for (const part of typeof content === "string" ? [{ type: "text", text: content }] : list(content)) {
      if (part["type"] === "text") said.push({ kind: "text", text: text(part["text"]) });
      if (part["type"] === "tool_result") said.push({ kind: "tool-result", text: contentText(part["content"]) });
    }
  }
  return { said, tools: readTools(fields(body)["tools"], "input_schema") };
}

function wantsStream(_path: string, body: unknown): boolean {
  return fields(body)["stream"] === true;
}

const USED = {
  input_tokens: USAGE.input - USAGE.cached,
  cache_creation_input_tokens: 0,
  cache_read_input_tokens: USAGE.cached,
  output_tokens: USAGE.output,
};

function whole(reply: Reply, model: string): unknown {
  return {
    id: id("msg"),
    type: "message",
    role: "assistant",
    model,
    content: reply.kind === "call" ? [toolUse(reply)] : reply.text === "" ? [] : [{ type: "text", text: reply.text }],
    stop_reason: reply.kind === "call" ? "tool_use" : "end_turn",
    stop_sequence: null,
    usage: USED,
  };
}

function stream(reply: Reply, model: string, count: number): readonly string[] {
  const message = {
    ...fields(whole(reply, model)),
    content: [],
    stop_reason: null,
    usage: { ...USED, output_tokens: 1 },
  };
  const events: { type: string }[] = [{ type: "message_start", ...{ message } }];
  const block = (start: unknown, deltas: readonly unknown[]) => {
    events.push({ type: "content_block_start", ...{ index: 0, content_block: start } });
    for (const delta of deltas) events.push({ type: "content_block_delta", ...{ index: 0, delta } });
    events.push({ type: "content_block_stop", ...{ index: 0 } });
  };
  if (reply.kind === "call") {
    block({ ...toolUse(reply), input: {} }, [{ type: "input_json_delta", partial_json: JSON.stringify(reply.args) }]);
  } else if (reply.text !== "") {
    block(
      { type: "text", text: "" },
      pieces(reply.text, count).map((piece) => ({ type: "text_delta", text: piece })),
    );
  }
  const stop_reason = reply.kind === "call" ? "tool_use" : "end_turn";
  events.push({ type: "message_delta", ...{ delta: { stop_reason, stop_sequence: null }, usage: USED } });
  events.push({ type: "message_stop" });
  return events.map((event) => frame(event, event.type));
}

function toolUse(reply: Reply & { kind: "call" }) {
  return { type: "tool_use", id: id("toolu"), name: reply.tool, input: reply.args };
}

/** As docs.claude.com/en/api/errors lists them, with the texts that people report. */
function failure(fault: Fault): Failure {
  const [type, message] = reasonOf(fault);
  const headers: Record<string, string> = { "request-id": id("req"), ...retryAfter(fault) };
  if (fault.reason === "plan") {
    // What a subscription's limit looks like: the reset is in the headers only.
    const reset = String(Math.floor(Date.now() / 1000) + 3 * 3600);
    headers["anthropic-ratelimit-unified-status"] = "rejected";
    headers["anthropic-ratelimit-unified-reset"] = reset;
    headers["anthropic-ratelimit-unified-representative-claim"] = "five_hour";
    headers["anthropic-ratelimit-unified-5h-status"] = "rejected";
    headers["anthropic-ratelimit-unified-5h-reset"] = reset;
    headers["anthropic-ratelimit-unified-5h-utilization"] = "1.0";
  }
  return { headers, body: { type: "error", error: { type, message }, request_id: headers["request-id"] } };
}

function reasonOf({ status, reason }: Fault): readonly [string, string] {
  if (reason === "overflow") return ["invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum"];
  if (reason === "plan")
    return ["rate_limit_error", "This request would exceed your account's rate limit. Please try again later."];
  if (reason === "quota") {
    return [
      status === 429 ? "rate_limit_error" : "invalid_request_error",
      "You have reached your specified API usage limits. You will regain access on 2030-01-01 at 00:00 UTC.",
    ];
  }
  if (reason === "credit") {
    return [
      "invalid_request_error",
      "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.",
    ];
  }
  switch (status) {
    case 401:
      return ["authentication_error", "invalid x-api-key"];
    case 402:
      return ["billing_error", "There's an issue with your billing or payment information."];
    case 403:
      return ["permission_error", "Your API key does not have permission to use the specified resource."];
    case 404:
      return ["not_found_error", "model: no-such-model"];
    case 413:
      return ["request_too_large", "Request exceeds the maximum size"];
    case 429:
      return [
        "rate_limit_error",
        "This request would exceed your organization's rate limit of 50,000 input tokens per minute. For details, refer to: https://docs.claude.com/en/api/rate-limits. You can see the response headers for current usage. Please reduce the prompt length or the maximum tokens requested, or try again later.",
      ];
    case 529:
      return ["overloaded_error", "Overloaded"];
    default:
      return status >= 500 ? ["api_error", "Internal server error"] : ["invalid_request_error", "Invalid request"];
  }
}

let made = 0;

function id(prefix: string): string {
  return `${prefix}_stub${String(++made).padStart(6, "0")}`;
}
