/** Gemini: POST /v1beta/models/M:generateContent and :streamGenerateContent?alt=sse. */
import { type Conversation, type Fault, pieces, type Reply, type Said, USAGE } from "./behaviour.ts";
import { type Fields, fields, list, text } from "./json.ts";
import { type Failure, frame, retryAfter, type WireFormat } from "./wire-format.ts";

export const gemini: WireFormat = { read, wantsStream, whole, stream, failure };

function read(body: unknown): Conversation {
  const said: Said[] = [];
  for (const content of list(fields(body)["contents"])) {
    if (content["role"] !== "user" && content["role"] !== "function") continue;
    for (const part of list(content["parts"])) {
      if (typeof part["text"] === "string") said.push({ kind: "text", text: part["text"] });
      const response = fields(fields(part["functionResponse"])["response"]);
      if (part["functionResponse"] !== undefined) {
        said.push({ kind: "tool-result", text: text(response["output"]) || JSON.stringify(response) });
      }
    }
  }
  const declarations = list(fields(body)["tools"]).flatMap((tool) => list(tool["functionDeclarations"]));
  const tools = declarations.map((tool) => ({
    name: text(tool["name"]),
    freeform: false,
    schema: fields(tool["parametersJsonSchema"] ?? tool["parameters"]),
  }));
  return { said, tools };
}

function wantsStream(path: string): boolean {
  return path.includes(":streamGenerateContent");
}

function whole(reply: Reply, model: string): unknown {
  return response(model, [reply.kind === "call" ? functionCall(reply) : { text: reply.text }], true);
}

function stream(reply: Reply, model: string, count: number): readonly string[] {
  const parts =
    reply.kind === "call" ? [functionCall(reply)] : pieces(reply.text, count).map((piece) => ({ text: piece }));
  const frames = parts.map((part) => frame(response(model, [part], false)));
  return [...frames, frame(response(model, [{ text: "" }], true))];
}

function functionCall(reply: Reply & { kind: "call" }): Fields {
  return { functionCall: { name: reply.tool, args: reply.args } };
}

function response(modelVersion: string, parts: readonly Fields[], last: boolean): unknown {
  return {
    candidates: [{ index: 0, content: { role: "model", parts }, ...(last ? { finishReason: "STOP" } : {}) }],
    usageMetadata: {
      promptTokenCount: USAGE.input,
      cachedContentTokenCount: USAGE.cached,
      candidatesTokenCount: USAGE.output - USAGE.reasoning,
      thoughtsTokenCount: USAGE.reasoning,
      totalTokenCount: USAGE.input + USAGE.output,
    },
    modelVersion,
  };
}

/** As ai.google.dev/gemini-api/docs/troubleshooting lists them, with the texts that people report. */
function failure(fault: Fault): Failure {
  const [code, message, details = []] = reasonOf(fault);
  // This provider says in the body when to come back.
  const retryDelay =
    fault.retryAfterSeconds === undefined ? [] : [typed("RetryInfo", { retryDelay: `${fault.retryAfterSeconds}s` })];
  return {
    headers: retryAfter(fault),
    body: { error: { code: fault.status, message, status: code, details: [...details, ...retryDelay] } },
  };
}

function typed(type: string, values: Fields): Fields {
  return { "@type": `type.googleapis.com/google.rpc.${type}`, ...values };
}

const LIMITS = "For more information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.";

function reasonOf({ status, reason }: Fault): readonly [string, string, (readonly Fields[])?] {
  if (reason === "overflow") {
    return [
      "INVALID_ARGUMENT",
      "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
    ];
  }
  if (reason === "key") {
    const info = {
      reason: "API_KEY_INVALID",
      domain: "googleapis.com",
      metadata: { service: "generativelanguage.googleapis.com" },
    };
    return ["INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [typed("ErrorInfo", info)]];
  }
  switch (status) {
    case 401:
      return [
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential. See https://developers.google.com/identity/sign-in/web/devconsole-project.",
      ];
    case 402:
      return ["FAILED_PRECONDITION", "Billing is not enabled for this project."];
    case 403:
      return ["PERMISSION_DENIED", "Your API key doesn't have the required permissions."];
    case 404:
      return ["NOT_FOUND", "models/no-such-model is not found for API version v1beta."];
    case 413:
      return ["INVALID_ARGUMENT", "Request payload size exceeds the limit: 20971520 bytes."];
    case 429: {
      const quotaId =
        reason === "quota"
          ? "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
          : "GenerateRequestsPerMinutePerProjectPerModel";
      const quotaMetric = "generativelanguage.googleapis.com/generate_content_free_tier_requests";
      const violation = {
        quotaMetric,
        quotaId,
        quotaDimensions: { location: "global", model: "gemini-2.5-pro" },
        quotaValue: "50",
      };
      return [
        "RESOURCE_EXHAUSTED",
        `You exceeded your current quota, please check your plan and billing details. ${LIMITS}\n* Quota exceeded for metric: ${quotaMetric}, limit: 50`,
        [typed("QuotaFailure", { violations: [violation] })],
      ];
    }
    case 503:
      return ["UNAVAILABLE", "The model is overloaded. Please try again later."];
    default:
      return status >= 500
        ? [
            "INTERNAL",
            "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
          ]
        : ["INVALID_ARGUMENT", "Request contains an invalid argument."];
  }
}
