/** Bodies are JSON in UTF-8, whatever is or is not said of them; an empty one is none. Another declared type is refused. */
import { isUtf8 } from "node:buffer";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { ProblemError } from "./problems.ts";

const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json$/i;

export function parseJsonBodies(app: FastifyInstance): void {
  app.removeAllContentTypeParsers();
  // The named one is found at once, the other is looked for anew with each request.
  for (const type of ["application/json", "*"]) {
    app.addContentTypeParser(type, { parseAs: "buffer" }, (request, body, done) => {
      try {
        done(null, parse(request, body as Buffer));
      } catch (error) {
        done(error as Error);
      }
    });
  }
}

function parse(request: FastifyRequest, body: Buffer): unknown {
  if (body.length === 0) return undefined;
  checkType(request);
  // Bytes that are not UTF-8 are refused rather than replaced.
  if (!isUtf8(body)) throw new ProblemError(400, "INVALID_JSON", "the body is not UTF-8");
  const text = body.toString("utf8", body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0);
  const value = parseText(text);
  // Only an escape can make half a character of valid UTF-8; what cannot be written as UTF-8 again breaks every strict reader.
  if (text.includes("\\u") && !isWellFormed(value))
    throw new ProblemError(400, "INVALID_JSON", "the body has half of a character (an unpaired \\ud800 to \\udfff)");
  return value;
}

function parseText(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    if (text.trim() === "") return undefined;
    throw new ProblemError(400, "INVALID_JSON", "the body is not JSON");
  }
}

function isWellFormed(value: unknown): boolean {
  if (typeof value === "string") return !/\p{Surrogate}/u.test(value);
  if (typeof value !== "object" || value === null) return true;
  return Object.entries(value).every(([key, item]) => isWellFormed(key) && isWellFormed(item));
}

function checkType({ headers }: FastifyRequest): void {
  const encoding = headers["content-encoding"];
  if (encoding !== undefined && encoding.toLowerCase() !== "identity") {
    throw new ProblemError(
      415,
      "UNSUPPORTED_MEDIA_TYPE",
      "send the body as it is, without Content-Encoding",
      {},
      { "accept-encoding": "identity" },
    );
  }
  const declared = headers["content-type"];
  if (declared === undefined || declared === "application/json") return;
  const [type = "", ...parameters] = declared.split(";").map((part) => part.trim());
  const charset = parameters
    .find((parameter) => /^charset=/i.test(parameter))
    ?.slice(8)
    .replaceAll('"', "");
  if (!JSON_TYPE.test(type) || (charset !== undefined && !/^utf-?8$/i.test(charset))) {
    throw new ProblemError(
      415,
      "UNSUPPORTED_MEDIA_TYPE",
      "send the body as application/json in UTF-8 (curl: -H 'content-type: application/json')",
    );
  }
}

/** For a route whose body may be left out: nothing is then the same as `{}`. */
export function optionalBody(request: FastifyRequest, _reply: unknown, done: () => void): void {
  if (request.body === undefined) request.body = {};
  done();
}
