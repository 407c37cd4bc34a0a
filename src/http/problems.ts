/** Errors as RFC 9457 problems: one table of codes and statuses, one place that turns whatever went wrong into an answer. */
import { STATUS_CODES } from "node:http";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import type { Refusal, RefusalCode } from "../core/decision.ts";
import { StorageUnavailable } from "../dispatcher/ports.ts";

const REFUSAL_STATUS: Readonly<Record<RefusalCode, number>> = {
  TASK_NOT_FOUND: 404,
  TASK_EXISTS: 409,
  STALE_VERSION: 412,
  DEPENDENCY_CYCLE: 409,
  STATUS_NOT_ALLOWED: 409,
  SESSION_NOT_FOUND: 404,
  SESSION_NOT_ACTIVE: 409,
  TOO_MANY_LOCKS: 409,
  TOO_MANY_COMMENTS: 409,
  NOT_DISPATCHABLE: 409,
  SESSION_CLAIMED: 409,
  NOT_VERIFIED: 409,
  NOT_YOUR_SESSION: 403,
  LOCK_NOT_FOUND: 404,
  LOCKED: 409,
  LOCK_OF_RUN: 409,
  AGENT_NOT_FOUND: 404,
  IDEMPOTENCY_KEY_REUSED: 422,
  DRAINING: 503,
};

/** Thrown by a route to answer with a problem. */
export class ProblemError extends Error {
  readonly status: number;
  readonly code: string;
  readonly facts: Readonly<Record<string, unknown>>;
  readonly headers: Readonly<Record<string, string>>;

  constructor(
    status: number,
    code: string,
    detail: string,
    facts: Readonly<Record<string, unknown>> = {},
    headers: Readonly<Record<string, string>> = {},
  ) {
    super(detail);
    this.name = "ProblemError";
    this.status = status;
    this.code = code;
    this.facts = facts;
    this.headers = headers;
  }
}

export function problemOf(refusal: Refusal): ProblemError {
  return new ProblemError(REFUSAL_STATUS[refusal.code], refusal.code, refusal.message, refusal.facts);
}

export interface FieldProblem {
  /** JSON pointer. */
  readonly path: string;
  readonly message: string;
}

/** A bad body or query, found by a rule that the schema cannot state. `path` is a JSON pointer. */
export function invalid(path: string, message: string): ProblemError {
  return invalidFields([{ path, message }]);
}

/** What is wrong in a body or query; the first is what the sentence says. */
export function invalidFields(errors: readonly FieldProblem[], where = ""): ProblemError {
  const first = errors[0];
  const detail = first === undefined ? "the request is not valid" : `${where}${first.path} ${first.message}`;
  return new ProblemError(400, "INVALID_REQUEST", detail, { errors });
}

export function sendProblem(reply: FastifyReply, problem: ProblemError): FastifyReply {
  return (
    reply
      .code(problem.status)
      .headers(problem.headers)
      .header("content-type", "application/problem+json")
      // As bytes: to text Fastify would add a charset, which JSON has none of.
      .send(Buffer.from(JSON.stringify(problemBody(problem))))
  );
}

/** The whole answer as text, for where there is no reply to send it with; the connection ends after it. */
export function problemText(problem: ProblemError): string {
  const body = JSON.stringify(problemBody(problem));
  const head = [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status]}`,
    "content-type: application/problem+json",
    `content-length: ${Buffer.byteLength(body)}`,
    "connection: close",
  ];
  return `${head.join("\r\n")}\r\n\r\n${body}`;
}

function problemBody({ status, message, code, facts }: ProblemError) {
  return { type: "about:blank", title: STATUS_CODES[status] ?? "Error", status, detail: message, code, ...facts };
}

/** Turns anything thrown on the way into a problem. What nobody expected is logged whole and answered without a detail. */
export function onError(error: FastifyError | Error, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  if (error instanceof ProblemError) return sendProblem(reply, error);
  if (error instanceof StorageUnavailable) {
    const detail =
      "the disk does not take the change just now; whether it was kept is unknown, so repeat it with the same Idempotency-Key";
    return sendProblem(
      reply,
      new ProblemError(503, error.code, detail, { outcome: "unknown" }, { "retry-after": "1" }),
    );
  }
  const fastifyError = error as FastifyError;
  if (fastifyError.validation !== undefined) {
    const where = WHERE[fastifyError.validationContext ?? ""] ?? "";
    return sendProblem(reply, invalidFields(fastifyError.validation as unknown as readonly FieldProblem[], where));
  }
  const known = CLIENT_ERRORS[fastifyError.code];
  if (known !== undefined) return sendProblem(reply, new ProblemError(...known));
  if (isCutOff(error)) return sendProblem(reply, new ProblemError(400, "BAD_REQUEST", "the request ended early"));
  request.log.error({ err: error, method: request.method, url: request.url }, "a request failed");
  return sendProblem(reply, new ProblemError(500, "INTERNAL", "something went wrong here; the daemon's log says what"));
}

const WHERE: Readonly<Record<string, string>> = { querystring: "query ", params: "path " };

/** What Fastify itself refuses, in our words; whatever else it throws is a fault of ours. */
const CLIENT_ERRORS: Readonly<Record<string, readonly [status: number, code: string, detail: string]>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: [413, "BODY_TOO_LARGE", "the body is over 1 MiB"],
  FST_ERR_CTP_INVALID_MEDIA_TYPE: [415, "UNSUPPORTED_MEDIA_TYPE", "send the body as application/json"],
  FST_ERR_CTP_INVALID_CONTENT_LENGTH: [400, "INVALID_CONTENT_LENGTH", "the body is not as long as Content-Length says"],
  FST_ERR_ROUTE_MISSING_CONTENT_TYPE: [400, "BAD_REQUEST", "send the body as application/json"],
  FST_ERR_BAD_URL: [
    400,
    "BAD_URL",
    "the URL is not well formed: % must be followed by two hexadecimal digits of UTF-8",
  ],
  FST_ERR_MAX_PARAM_LENGTH: [414, "URI_TOO_LONG", "a part of the path is too long"],
};

/** The client went away while it sent its body. */
function isCutOff(error: Error): boolean {
  return "code" in error && error.code === "ECONNRESET" && error.message === "aborted";
}
