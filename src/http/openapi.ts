/** /openapi.json and /docs: the contract, made from the very schemas that check the requests. */
import { readFile } from "node:fs/promises";
import { Problem } from "../api/common.ts";
import { PACKAGE_FILE } from "../location.ts";
import { docsRoutes } from "./docs.ts";
import type { App } from "./server.ts";

const content = { "application/problem+json": { schema: Problem } };
const REFUSED = { description: "refused; the code says why", content };
const FAILED = { description: "not done, or unknown whether it was: ask again", content };

export async function openApi(app: App): Promise<void> {
  const { default: swagger } = await import("@fastify/swagger");
  const { version } = JSON.parse(await readFile(PACKAGE_FILE, "utf8")) as { version: string };
  await app.register(
    swagger as never,
    {
      openapi: {
        openapi: "3.1.0",
        info: {
          title: "Jarvis Orchestrator",
          version,
          description: "Dispatches the tasks of a board to agents and brings back what they did.",
        },
        components: { securitySchemes: { token: { type: "http", scheme: "bearer" } } },
        security: [{ token: [] }],
      },
      transform: ({ schema, url }: { schema: { response?: object }; url: string }) => ({
        schema: { ...schema, response: { ...schema.response, "4xx": REFUSED, "5xx": FAILED } },
        url,
      }),
    } as never,
  );
  app.get("/openapi.json", { schema: { tags: ["watching"], summary: "this document" } }, async () =>
    (app as unknown as { swagger(): object }).swagger(),
  );
  docsRoutes(app);
}
