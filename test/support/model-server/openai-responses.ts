/** OpenAI Responses: POST /v1/responses. */
import { type Conversation, pieces, type Reply, readTools, type Said, USAGE } from "./behaviour.ts";
import { contentText, type Fields, fields, list } from "./json.ts";
import { openaiFailure } from "./openai-failure.ts";
import { frame, type WireFormat } from "./wire-format.ts";

export const openaiResponses: WireFormat = {
  read,
  wantsStream: (_path, body) => fields(body)["stream"] === true,
  whole: (reply, model) => response(model, "completed", items(reply)),
  stream,
  failure: (fault) =>
    openaiFailure(
      fault,
      "Your input exceeds the context window of this model. Please adjust your input and try again.",
      "input",
    ),
};

function read(body: unknown): Conversation {
  const input = fields(body)["input"];
  const said: Said[] = typeof input === "string" ? [{ kind: "text", text: input }] : [];
  for (const item of list(input)) {
    if (item["role"] === "user") said.push({ kind: "text", text: contentText(item["content"]) });
    if (item["type"] === "function_call_output" || item["type"] === "custom_tool_call_output") {
      said.push({ kind: "tool-result", text: contentText(item["output"]) });
    }
  }
  return { said, tools: readTools(fields(body)["tools"], "parameters") };
}

function stream(reply: Reply, model: string, count: number): readonly string[] {
  const events: Fields[] = [{ type: "response.created", response: response(model, "in_progress", []) }];
  for (const [output_index, item] of items(reply).entries()) {
    events.push({ type: "response.output_item.added", output_index, item: { ...item, status: "in_progress" } });
    if (reply.kind === "text") {
      const at = { item_id: item["id"], output_index, content_index: 0 };
      for (const delta of pieces(reply.text, count)) events.push({ type: "response.output_text.delta", ...at, delta });
      events.push({ type: "response.output_text.done", ...at, text: reply.text });
    }
    events.push({ type: "response.output_item.done", output_index, item });
  }
  events.push({ type: "response.completed", response: response(model, "completed", items(reply)) });
  return events.map((event, sequence_number) => frame({ ...event, sequence_number }, String(event["type"])));
}

function items(reply: Reply): readonly Fields[] {
  if (reply.kind === "text") {
    if (reply.text === "") return [];
    const content = [{ type: "output_text", text: reply.text, annotations: [] }];
    return [{ id: "msg_stub", type: "message", status: "completed", role: "assistant", content }];
  }
  const { tool: name, args } = reply;
  const base = { id: "fc_stub", status: "completed", call_id: `call_stub${++made}`, name };
  if (reply.freeform) return [{ ...base, type: "custom_tool_call", input: Object.values(args).join("\n") }];
  return [{ ...base, type: "function_call", arguments: JSON.stringify(args) }];
}

function response(model: string, status: string, output: readonly Fields[]): Fields {
  const usage = {
    input_tokens: USAGE.input,
    input_tokens_details: { cached_tokens: USAGE.cached },
    output_tokens: USAGE.output,
    output_tokens_details: { reasoning_tokens: USAGE.reasoning },
    total_tokens: USAGE.input + USAGE.output,
  };
  return {
    id: "resp_stub",
    object: "response",
    created_at: Math.floor(Date.now() / 1000),
    status,
    model,
    output,
    usage: status === "completed" ? usage : null,
  };
}

let made = 0;
