/**
 * Who may call. "Start a task" means "run a program", so a browser on a foreign page, a name that was rebound to this
 * machine and a peer that is not the operator are all turned away before anything is read.
 */
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Config } from "../config/schema.ts";
import { sessionOfToken } from "./callback-token.ts";
import { ProblemError } from "./problems.ts";
import { sameText } from "./same-text.ts";
import type { Services } from "./services.ts";
import { cookieOf, type SignIns } from "./sign-in.ts";

export type Caller = { readonly kind: "operator" } | { readonly kind: "agent"; readonly sessionId: string };

declare module "fastify" {
  interface FastifyRequest {
    caller: Caller;
    /** False only on a page's route that is shown to those who have yet to sign in. */
    signedIn: boolean;
  }
  interface FastifyContextConfig {
    /** A callback token is good for this route; the handler checks that it concerns its own session. */
    agents?: boolean;
    /** Open to anyone who passes the checks of host and origin: health. */
    open?: boolean;
    /** For signing in and out: open to those who could be the operator. */
    signIn?: boolean;
    /** Shown to all; what it shows depends on `signedIn`. */
    page?: boolean;
  }
}

const OPERATOR: Caller = { kind: "operator" };
const FORWARDING = [
  "forwarded",
  "via",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-forwarded-proto",
  "x-forwarded-server",
  "x-real-ip",
  "x-client-ip",
  "true-client-ip",
  "cf-connecting-ip",
] as const;

export function guard(app: FastifyInstance, services: Services, signIns: SignIns): void {
  let names = namesOf(services.config());
  const namesNow = (): Names => {
    const config = services.config();
    if (names.config !== config) names = namesOf(config);
    return names;
  };
  let known: { readonly host: string; readonly names: Names } | null = null;
  app.decorateRequest("caller");
  app.decorateRequest("signedIn", true);
  app.addHook("onRequest", (request, reply, done) => {
    try {
      reply.header("x-content-type-options", "nosniff");
      // A client says the same with every request.
      const { host } = request.headers;
      const now = namesNow();
      if (known?.host !== host || known?.names !== now || !request.url.startsWith("/")) checkHost(request, now);
      known = host === undefined ? null : { host, names: now };
      checkOrigin(request, namesNow());
      request.caller = identify(request, services, signIns);
      done();
    } catch (error) {
      done(error as Error);
    }
  });
}

/** The session that the caller is bound to; `undefined` for the operator. */
export function callerSession(request: FastifyRequest): string | undefined {
  return request.caller.kind === "agent" ? request.caller.sessionId : undefined;
}

/** Refuses an agent that reaches for another's session. */
export function requireOwn(request: FastifyRequest, sessionId: string | undefined): void {
  const own = callerSession(request);
  if (own !== undefined && own !== sessionId) {
    throw new ProblemError(403, "NOT_YOUR_SESSION", "a callback token is good for its own session only");
  }
}

/** The names that the daemon answers to, made anew when the config changes. */
interface Names {
  readonly config: Config;
  /** Host names without port; the loopback ones are known by rule. */
  readonly hosts: ReadonlySet<string>;
  /** Where browsers reach it by way of a proxy. */
  readonly public: { readonly origin: string; readonly host: string } | null;
}

function namesOf(config: Config): Names {
  const { host, publicUrl } = config.server;
  const url = publicUrl === undefined ? null : new URL(publicUrl);
  const hosts = new Set([(host.includes(":") ? `[${host}]` : host).toLowerCase()]);
  hosts.delete("0.0.0.0");
  hosts.delete("[::]");
  if (url !== null) hosts.add(url.hostname);
  return { config, hosts, public: url === null ? null : { origin: url.origin, host: url.host } };
}

/** Against DNS rebinding: the page of a foreign name cannot reach a daemon that does not answer to that name. */
function checkHost({ url, headers }: FastifyRequest, { hosts }: Names): void {
  // Where the request line names a host as well, both have to be ours.
  const named = url.startsWith("/") ? [headers.host] : [headers.host, /^https?:\/\/([^/?#]*)/i.exec(url)?.[1]];
  for (const host of named) {
    const [, name] = /^(\[[0-9a-f:.]+\]|[^:@/[\]]+)(?::\d*)?$/i.exec(host ?? "") ?? [];
    if (name !== undefined && (isLoopback(name) || hosts.has(name.toLowerCase()))) continue;
    throw new ProblemError(
      421,
      "UNKNOWN_HOST",
      "this daemon does not answer to that name; set server.publicUrl to the name it is reached by",
    );
  }
}

function isLoopback(name: string): boolean {
  return /^(?:localhost|\[::1\]|127(?:\.\d{1,3}){3})$/i.test(name);
}

/**
 * Browsers say where a request comes from, and no page can make them lie: a request of another origin or site is
 * refused, whatever its method and content type. That leaves programs, which say nothing, and our own page.
 */
function checkOrigin(request: FastifyRequest, names: Names): void {
  const { origin, host } = request.headers;
  if (origin !== undefined && origin !== ownOrigin(host ?? "", names)) {
    throw new ProblemError(403, "FOREIGN_ORIGIN", "a page of another origin may not call this daemon");
  }
  const site = request.headers["sec-fetch-site"];
  if (site !== undefined && site !== "same-origin" && site !== "none" && !opensPage(request)) {
    throw new ProblemError(403, "FOREIGN_ORIGIN", "a page of another site may not call this daemon");
  }
}

/** The daemon itself speaks plain HTTP; what scheme a proxy in front of it speaks is in the public URL. */
function ownOrigin(host: string, names: Names): string {
  return names.public !== null && host.toLowerCase() === names.public.host
    ? names.public.origin
    : `http://${host.toLowerCase()}`;
}

/** A link from elsewhere to the page, opened by a person; not a frame, image or script that happens to name it. */
function opensPage({ method, url, headers }: FastifyRequest): boolean {
  if ((method !== "GET" && method !== "HEAD") || url.split("?", 1)[0] !== "/") return false;
  return (
    (headers["sec-fetch-mode"] ?? "navigate") === "navigate" && (headers["sec-fetch-dest"] ?? "document") === "document"
  );
}

function identify(request: FastifyRequest, services: Services, signIns: SignIns): Caller {
  const { token } = services.config();
  const route = request.routeOptions.config;
  if (route.open === true) return OPERATOR;
  if (token === null) checkLocal(request);
  const given = bearer(request);
  const session = given === undefined ? undefined : sessionOfToken(services.secret, given);
  if (typeof session === "string") {
    if (route.agents === true) return { kind: "agent", sessionId: session };
    throw new ProblemError(
      403,
      "AGENT_TOKEN",
      "a callback token is good for its own session's callback, comments, locks and heartbeat only",
    );
  }
  if (route.signIn === true) return OPERATOR;
  if (route.page === true) {
    request.signedIn =
      token === null ||
      (given !== undefined && sameText(given, token)) ||
      signIns.has(cookieOf(request), token, services.now());
    return OPERATOR;
  }
  if (token === null) {
    if (session === null) throw unauthorised("the callback token is not valid");
    return OPERATOR;
  }
  if (given !== undefined) {
    if (sameText(given, token)) return OPERATOR;
    throw unauthorised("the token is wrong");
  }
  if (signIns.has(cookieOf(request), token, services.now())) return OPERATOR;
  throw unauthorised("send the operator's token as Authorization: Bearer <token>");
}

/** Without a token whoever reaches the port is the operator, so nobody but local programs may: no proxy in between either. */
function checkLocal(request: FastifyRequest): void {
  const address = request.socket.remoteAddress ?? "";
  const local = address === "::1" || address.startsWith("127.") || address.startsWith("::ffff:127.");
  if (!local)
    throw new ProblemError(
      403,
      "NOT_LOCAL",
      "without a token only this machine may call; set JARVIS_TOKEN to open it to others",
    );
  if (FORWARDING.some((name) => request.headers[name] !== undefined)) {
    throw new ProblemError(403, "FORWARDED", "without a token no proxy may stand in front; set JARVIS_TOKEN");
  }
}

function bearer(request: FastifyRequest): string | undefined {
  const header = request.headers.authorization;
  if (header === undefined) return undefined;
  return /^bearer /i.test(header) ? header.slice(7).trim() : "";
}

function unauthorised(detail: string): ProblemError {
  return new ProblemError(
    401,
    "UNAUTHORIZED",
    detail,
    {},
    { "www-authenticate": 'Bearer realm="jarvis-orchestrator"' },
  );
}
