/** OpenAI's errors, the same for both of its wire formats. */
import type { Fault } from "./behaviour.ts";
import { type Failure, retryAfter } from "./wire-format.ts";

/** As platform.openai.com/docs/guides/error-codes lists them, with the texts that people report. */
export function openaiFailure(fault: Fault, overflow: string, param: string): Failure {
  const headers = { "x-request-id": "req_stub", ...retryAfter(fault) };
  const error = (message: string, type: string, code: string | null, param: string | null = null): Failure => ({
    headers,
    body: { error: { message, type, param, code } },
  });
  if (fault.reason === "overflow") return error(overflow, "invalid_request_error", "context_length_exceeded", param);
  if (fault.reason === "plan") {
    // A subscription's limit, which Codex knows by its type.
    const resets_in_seconds = fault.retryAfterSeconds ?? 3 * 3600;
    const resets_at = Math.floor(Date.now() / 1000) + resets_in_seconds;
    return {
      headers,
      body: {
        error: {
          type: "usage_limit_reached",
          message: "The usage limit has been reached",
          plan_type: "plus",
          resets_at,
          resets_in_seconds,
        },
      },
    };
  }
  if (fault.reason === "quota") {
    return error(
      "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.",
      "insufficient_quota",
      "insufficient_quota",
    );
  }
  switch (fault.status) {
    case 401:
      return error(
        "Incorrect API key provided: sk-dummy**0000. You can find your API key at https://platform.openai.com/account/api-keys.",
        "invalid_request_error",
        "invalid_api_key",
      );
    case 402:
      return error("Billing hard limit has been reached", "invalid_request_error", "billing_hard_limit_reached");
    case 403:
      return error("You do not have access to this model.", "invalid_request_error", "model_not_found");
    case 404:
      return error(
        "The model `no-such-model` does not exist or you do not have access to it.",
        "invalid_request_error",
        "model_not_found",
      );
    case 413:
      return error("Request too large.", "invalid_request_error", null);
    case 429: {
      const seconds = fault.retryAfterSeconds ?? 6;
      return error(
        `Rate limit reached for gpt-5.4 in organization org-stub on tokens per min (TPM): Limit 30000, Used 29000, Requested 4000. Please try again in ${seconds}s. Visit https://platform.openai.com/account/rate-limits to learn more.`,
        "tokens",
        "rate_limit_exceeded",
      );
    }
    case 503:
      return error(
        "The engine is currently overloaded, please try again later",
        "server_error",
        "server_is_overloaded",
      );
    default:
      return fault.status >= 500
        ? error("The server had an error while processing your request. Sorry about that!", "server_error", null)
        : error("Invalid request", "invalid_request_error", null);
  }
}
