/** OpenAI chat completions: POST /v1/chat/completions. */
import { type Conversation, pieces, type Reply, readTools, type Said, USAGE } from "./behaviour.ts";
import { contentText, type Fields, fields, list } from "./json.ts";
import { openaiFailure } from "./openai-failure.ts";
import { frame, type WireFormat } from "./wire-format.ts";

export const openaiChat: WireFormat = {
  read,
  wantsStream: (_path, body) => fields(body)["stream"] === true,
  whole,
  stream,
  failure: (fault) =>
    openaiFailure(
      fault,
      "This model's maximum context length is 128000 tokens. However, your messages resulted in 208310 tokens. Please reduce the length of the messages.",
      "messages",
    ),
};

function read(body: unknown): Conversation {
  const said: Said[] = [];
  for (const message of list(fields(body)["messages"])) {
    if (message["role"] === "user") said.push({ kind: "text", text: contentText(message["content"]) });
    if (message["role"] === "tool") said.push({ kind: "tool-result", text: contentText(message["content"]) });
  }
  const functions = list(fields(body)["tools"]).map((tool) => tool["function"]);
  return { said, tools: readTools(functions, "parameters") };
}

const USED = {
  prompt_tokens: USAGE.input,
  completion_tokens: USAGE.output,
  total_tokens: USAGE.input + USAGE.output,
  prompt_tokens_details: { cached_tokens: USAGE.cached },
  completion_tokens_details: { reasoning_tokens: USAGE.reasoning },
};

function whole(reply: Reply, model: string): unknown {
  const message = reply.kind === "call" ? { content: null, tool_calls: [toolCall(reply)] } : { content: reply.text };
  const choice = { index: 0, message: { role: "assistant", ...message }, finish_reason: finishReason(reply) };
  return { ...envelope(model, "chat.completion"), choices: [choice], usage: USED };
}

function stream(reply: Reply, model: string, count: number): readonly string[] {
  const chunk = (delta: Fields, finish_reason: string | null = null) =>
    frame({ ...envelope(model, "chat.completion.chunk"), choices: [{ index: 0, delta, finish_reason }] });
  const deltas =
    reply.kind === "call"
      ? [{ tool_calls: [{ index: 0, ...toolCall(reply) }] }]
      : pieces(reply.text, count).map((piece) => ({ content: piece }));
  return [
    chunk({ role: "assistant", content: reply.kind === "call" ? null : "" }),
    ...deltas.map((delta) => chunk(delta)),
    chunk({}, finishReason(reply)),
    frame({ ...envelope(model, "chat.completion.chunk"), choices: [], usage: USED }),
    "data: [DONE]\n\n",
  ];
}

function envelope(model: string, object: string): Fields {
  return { id: "chatcmpl-stub", object, created: Math.floor(Date.now() / 1000), model };
}

function toolCall(reply: Reply & { kind: "call" }): Fields {
  return {
    id: `call_stub${++made}`,
    type: "function",
    function: { name: reply.tool, arguments: JSON.stringify(reply.args) },
  };
}

function finishReason(reply: Reply): string {
  return reply.kind === "call" ? "tool_calls" : "stop";
}

let made = 0;
