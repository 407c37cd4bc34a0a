/** The gateway's HTTP interface, with what each answer means for whoever asked. */
import { setMaxListeners } from "node:events";
import type { OpenClawSettings } from "../../config/schema.ts";
import type { SessionError } from "../../core/session.ts";
import { hostWords, toSessionError } from "../agent-problem.ts";
import { type Reply, send } from "./request.ts";
import { readGatewayToken, targetName } from "./target.ts";

export type Answer =
  /** The tool ran; what it says of itself may still be a refusal. */
  | { readonly kind: "ok"; readonly details: unknown }
  /** Nothing was done, and asking again is of no use. `status` 404: there is no such tool, or nothing of that name. */
  | { readonly kind: "refused"; readonly status: number; readonly words: string; readonly problem: SessionError }
  /** Nothing was done; it can be asked again. */
  | { readonly kind: "away"; readonly retryAfterMs: number | null; readonly problem: SessionError }
  /** Whether it was done is not known. */
  | { readonly kind: "unknown"; readonly isTooLong: boolean; readonly problem: SessionError };

export interface Gateway {
  readonly name: string;
  /** `POST /tools/invoke`. Never rejects. */
  invoke(tool: string, args: Readonly<Record<string, unknown>>): Promise<Answer>;
  /** `GET /sessions/:key/history`, newest last, before `cursor`. Never rejects. */
  history(sessionKey: string, limit: number, cursor: string | null): Promise<Answer>;
}

/** A list of all children and a page of messages, each twice in its answer, fit well; much more would hold up everything else. */
const BYTES_MAX = 4 * 1024 * 1024;

export function createGateway(target: OpenClawSettings, environment: NodeJS.ProcessEnv, signal: AbortSignal): Gateway {
  const name = targetName(target);
  // One for each request that is under way.
  setMaxListeners(0, signal);
  const base = target.url.replace(/\/+$/, "");

  async function ask(method: "GET" | "POST", path: string, what: string, body?: unknown): Promise<Answer> {
    let token: string;
    try {
      token = readGatewayToken(target, environment);
    } catch (error) {
      return { kind: "refused", status: 0, words: "", problem: toSessionError(error) };
    }
    const url = new URL(`${base}${path}`);
    const { requestTimeoutMs: timeoutMs } = target;
    const reply = await send({ url, method, token, body, timeoutMs, bytesMax: BYTES_MAX, signal });
    return meaning(reply, name, what);
  }

  return {
    name,
    invoke: (tool, args) => ask("POST", "/tools/invoke", tool, { tool, args, sessionKey: target.sessionKey }),
    async history(sessionKey, limit, cursor) {
      const query = cursor === null ? "" : `&cursor=${encodeURIComponent(cursor)}`;
      const path = `/sessions/${encodeURIComponent(sessionKey)}/history?limit=${limit}${query}`;
      return ask("GET", path, "the history of a session");
    },
  };
}

/** `what` was asked of the gateway `name`. */
function meaning(reply: Reply, name: string, what: string): Answer {
  if (reply.kind === "unreached") {
    const message = `the OpenClaw gateway ${name} cannot be reached (${hostWords(reply.why)}): is it running, and is openclaw.url right?`;
    return { kind: "away", retryAfterMs: null, problem: { code: "HOST_UNREACHABLE", message } };
  }
  if (reply.kind === "cut") {
    const { why, isTooLong } = reply;
    return unknown(`the OpenClaw gateway ${name} gave no answer that can be read: ${hostWords(why)}`, isTooLong);
  }

  const { status, retryAfterMs, text } = reply;
  const body = parse(text);
  if (status === 200) {
    const details = get(get(body, "result"), "details");
    if (get(body, "ok") === true && details !== undefined) return { kind: "ok", details };
    // The history has no envelope.
    if (get(body, "messages") !== undefined) return { kind: "ok", details: body };
    return unknown(`the OpenClaw gateway ${name} answered something that is none of its answers: ${hostWords(text)}`);
  }
  const said = get(get(body, "error"), "message");
  const words = hostWords(typeof said === "string" ? said : text);
  if (status === 429) {
    const message = `the OpenClaw gateway ${name} lets nobody in for a while, after too many wrong tokens (429): ${words}`;
    return { kind: "away", retryAfterMs, problem: { code: "HOST_UNREACHABLE", message } };
  }
  if (status === 503 && get(get(body, "error"), "code") === "gateway_unavailable") {
    const message = `the OpenClaw gateway ${name} is about to restart (503): ${words}`;
    return { kind: "away", retryAfterMs, problem: { code: "HOST_UNREACHABLE", message } };
  }
  if (status >= 500 || status === 408) return unknown(`the OpenClaw gateway ${name} failed (${status}): ${words}`);
  return { kind: "refused", status, words, problem: refusal(status, words, name, what) };
}

function unknown(message: string, isTooLong = false): Answer {
  return { kind: "unknown", isTooLong, problem: { code: "GATEWAY_FAILED", message } };
}

/** In words that say what to change, and where. */
function refusal(status: number, words: string, name: string, what: string): SessionError {
  if (status === 401) {
    const message = `the OpenClaw gateway ${name} does not take our token: it must be that of gateway.auth.token in openclaw.json; set it in openclaw.tokenFile, or in the variable that openclaw.tokenEnv names (OPENCLAW_GATEWAY_TOKEN)`;
    return { code: "AUTHENTICATION_FAILED", message };
  }
  if (status === 404 && what === "sessions_spawn") {
    const message = `the OpenClaw gateway ${name} has sessions_spawn on its deny list for HTTP: set "gateway": {"tools": {"allow": ["sessions_spawn", "exec"]}} in openclaw.json (exec, so that children can run the curl that reports), and see that neither gateway.tools.deny nor tools.deny has it`;
    return { code: "BAD_CONFIG", message };
  }
  if (status === 404) {
    const message = `the OpenClaw gateway ${name} does not offer ${what}, without which a child cannot be followed: take it out of gateway.tools.deny, or add it to tools.alsoAllow in openclaw.json (404: ${words})`;
    return { code: "BAD_CONFIG", message };
  }
  if (status >= 300 && status < 400) {
    const message = `the OpenClaw gateway ${name} wants to send us elsewhere (${status}), where our token does not go: set openclaw.url to the gateway's own address`;
    return { code: "BAD_CONFIG", message };
  }
  return { code: "SPAWN_REFUSED", message: `the OpenClaw gateway ${name} refused ${what} (${status}): ${words}` };
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** A property of something that a stranger wrote; `undefined` where there is none. */
export function get(value: unknown, key: string): unknown {
  if (typeof value !== "object" || value === null || !Object.hasOwn(value, key)) return undefined;
  return (value as Readonly<Record<string, unknown>>)[key];
}
