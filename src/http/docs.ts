/** /docs: Swagger UI over /openapi.json. Its files are read when somebody looks, so that they cost an idle daemon nothing. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { Type } from "@sinclair/typebox";
import { closed } from "../api/common.ts";
import { ProblemError } from "./problems.ts";
import type { App } from "./server.ts";

const FILES: Readonly<Record<string, string>> = {
  "swagger-ui.css": "text/css; charset=utf-8",
  "swagger-ui-bundle.js": "text/javascript; charset=utf-8",
};

const PAGE = `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>Jarvis Orchestrator API</title><link rel="stylesheet" href="/docs/swagger-ui.css"></head>
<body><div id="ui"></div><script src="/docs/swagger-ui-bundle.js"></script><script src="/docs/start.js"></script></body>
</html>
`;
const START = `SwaggerUIBundle({ url: "/openapi.json", dom_id: "#ui", tryItOutEnabled: true, validatorUrl: null });\n`;

/** Swagger UI sets styles on its elements and draws with data: images; nothing else is let in. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";

export function docsRoutes(app: App): void {
  app.get("/docs", { schema: { hide: true } as never }, async (_request, reply) =>
    reply.header("content-type", "text/html; charset=utf-8").header("content-security-policy", POLICY).send(PAGE),
  );
  app.get("/docs/start.js", { schema: { hide: true } as never }, async (_request, reply) =>
    reply.header("content-type", "text/javascript; charset=utf-8").send(START),
  );
  const params = Type.Object({ file: Type.String({ maxLength: 100 }) }, closed);
  app.get("/docs/:file", { schema: { hide: true, params } as never }, async (request, reply) => {
    const { file } = request.params as { file: string };
    const type = Object.hasOwn(FILES, file) ? FILES[file] : undefined;
    if (type === undefined) throw new ProblemError(404, "NOT_FOUND", "there is nothing at this path");
    const folder = join(dirname(createRequire(import.meta.url).resolve("@fastify/swagger-ui")), "static");
    return reply
      .header("content-type", type)
      .header("cache-control", "private, max-age=86400")
      .send(await readFile(join(folder, file)));
  });
}
