/** The HTTP server: what holds for every request, and the rooms of the API. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { TypeBoxTypeProvider } from "@fastify/type-provider-typebox";
import { Type } from "@sinclair/typebox";
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController, type RawServerDefault } from "fastify";
import { closed } from "../api/common.ts";
import { agentRoutes } from "./agents.ts";
import { Answers } from "./answers.ts";
import { parseJsonBodies } from "./body.ts";
import { eventRoutes } from "./events.ts";
import { guard } from "./guard.ts";
import { healthRoutes } from "./health.ts";
import { lockRoutes } from "./locks.ts";
import { metricsRoutes } from "./metrics.ts";
import { openApi } from "./openapi.ts";
import { orchestrateRoutes } from "./orchestrate.ts";
import { pageRoutes } from "./page.ts";
import { onError, ProblemError, problemText } from "./problems.ts";
import type { Services } from "./services.ts";
import { sessionRoutes } from "./sessions.ts";
import { SignIns, signInRoutes } from "./sign-in.ts";
import { Streams } from "./sse.ts";
import { taskRoutes } from "./tasks.ts";
import { compileValidator, refuseBody } from "./validation.ts";
import { worktreeRoutes } from "./worktrees.ts";

export type App = FastifyInstance<
  RawServerDefault,
  IncomingMessage,
  ServerResponse,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>;

const BODY_BYTES_MAX = 1024 * 1024;
/** A request has to be here whole within this time. */
const REQUEST_TIMEOUT_MS = 60_000;
const HEADERS_TIMEOUT_MS = 10_000;
const CONNECTIONS_MAX = 1000;

/** Builds the server; `listen` is the caller's. */
export async function buildServer(services: Services): Promise<App> {
  const app: App = fastify({
    loggerInstance: services.log as unknown as FastifyBaseLogger,
    // Requests log next to nothing: a logger for each of them costs more than it tells.
    childLoggerFactory: (log) => log,
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: BODY_BYTES_MAX,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // What is under way is answered; streams are ended by `preClose`.
    forceCloseConnections: "idle",
    return503OnClosing: false,
    // Longer than any URL may be: a parameter that is too long is refused by its schema, like any other that is wrong.
    routerOptions: { maxParamLength: 65_536, ignoreTrailingSlash: true },
    // The guard answers a request without a Host like one with a wrong one.
    http: { requireHostHeader: false },
    frameworkErrors: (error, request, reply) => void onError(error, request, reply),
    clientErrorHandler: (error, socket) => refuseUnreadable(error, socket),
  }).withTypeProvider<TypeBoxTypeProvider>();

  // Whoever opens connections and says nothing must not use up what runs and files need.
  app.server.maxConnections = CONNECTIONS_MAX;
  app.server.headersTimeout = HEADERS_TIMEOUT_MS;

  app.setValidatorCompiler(compileValidator);
  // Answers are built from typed views; their schemas are for the reader of the OpenAPI document.
  app.setSerializerCompiler(() => JSON.stringify);
  app.setErrorHandler(onError);
  parseJsonBodies(app as unknown as FastifyInstance);
  const streams = new Streams();
  closeConnectionsAtEnd(app, streams);
  const signIns = new SignIns();
  guard(app as unknown as FastifyInstance, services, signIns);
  refuseUnknownPaths(app);
  refuseUndeclared(app);
  logRequests(app, services);
  await openApi(app);

  const answers = new Answers(services);
  orchestrateRoutes(app, services, answers);
  taskRoutes(app, services, answers);
  worktreeRoutes(app, services);
  sessionRoutes(app, services, answers, streams);
  lockRoutes(app, services, answers);
  agentRoutes(app, services, answers);
  metricsRoutes(app, services);
  healthRoutes(app, services);
  signInRoutes(app, services, signIns);
  pageRoutes(app, services);
  eventRoutes(app, services, streams);
  return app;
}

/** Answers what is no route before its body is read: 404, or 405 with what the path does take. */
function refuseUnknownPaths(app: App): void {
  const routes: { readonly pattern: RegExp; readonly methods: readonly string[] }[] = [];
  app.addHook("onRoute", (route) => {
    const source = route.url
      .replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
      .replace(/:[A-Za-z]+/g, "[^/]+")
      .replace(/\\\*/g, ".*");
    routes.push({ pattern: new RegExp(`^${source}/?$`), methods: [route.method].flat() });
  });
  app.addHook("onRequest", (request, _reply, done) => {
    if (!request.is404) return done();
    const path = request.url.split("?", 1)[0] ?? "/";
    const allowed = new Set(routes.filter(({ pattern }) => pattern.test(path)).flatMap(({ methods }) => methods));
    if (allowed.size === 0 || allowed.has(request.method)) {
      return done(
        new ProblemError(404, "NOT_FOUND", "there is nothing at this path; GET /openapi.json lists what there is"),
      );
    }
    const allow = [...allowed].sort().join(", ");
    done(new ProblemError(405, "METHOD_NOT_ALLOWED", `this path takes ${allow}`, {}, { allow }));
  });
}

/** What a route does not declare it does not take: a parameter that nobody reads is refused, not dropped. */
function refuseUndeclared(app: App): void {
  const Nothing = Type.Object({}, closed);
  app.addHook("onRoute", (route) => {
    const { schema = {} } = route;
    if (route.config?.page !== true && route.config?.open !== true) schema.querystring ??= Nothing;
    const writes = [route.method].flat().some((method) => method !== "GET" && method !== "HEAD");
    if (writes && schema.body === undefined) {
      route.preHandler = [
        ...[route.preHandler ?? []].flat(),
        (request, _reply, done) => {
          refuseBody(request);
          done();
        },
      ];
    }
    route.schema = schema;
  });
}

function logRequests(app: App, { log }: Services): void {
  // With the answer, not after it: a hook on its end makes listeners for every one.
  app.addHook("onSend", (request, reply, _payload, done) => {
    if (log.isLevelEnabled("debug")) {
      const facts = {
        method: request.method,
        url: request.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      };
      log.debug(facts, "request");
    }
    done();
  });
}

/** At the end, streams end, and a connection closes with the answer that was under way on it. */
function closeConnectionsAtEnd(app: App, streams: Streams): void {
  let closing = false;
  // Browsers open connections ahead of need. Node closes those that wait for a next request, not those that had none yet.
  const silent = new Set<Socket>();
  app.server.on("connection", (socket: Socket) => {
    silent.add(socket);
    socket.once("close", () => silent.delete(socket));
  });
  app.addHook("onRequest", (request, _reply, done) => {
    silent.delete(request.raw.socket);
    done();
  });
  app.addHook("preClose", async () => {
    closing = true;
    streams.end();
    for (const socket of silent) socket.destroy();
  });
  app.addHook("onSend", (_request, reply, _payload, done) => {
    if (closing) reply.header("connection", "close");
    done();
  });
}

/** Answers what is not HTTP, or came too slowly or with too many headers, before there is a request. */
function refuseUnreadable(error: NodeJS.ErrnoException, socket: Socket): void {
  if (!socket.writable) return void socket.destroy();
  let problem = new ProblemError(400, "BAD_REQUEST", "the request is not HTTP/1.1");
  if (error.code === "HPE_HEADER_OVERFLOW")
    problem = new ProblemError(431, "HEADERS_TOO_LARGE", "the headers are too long");
  if (error.code === "ERR_HTTP_REQUEST_TIMEOUT")
    problem = new ProblemError(408, "REQUEST_TIMEOUT", "the request did not arrive in time");
  socket.end(problemText(problem));
}
