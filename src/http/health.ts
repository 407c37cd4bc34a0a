/** /healthz: the process answers. /readyz: it also takes changes. */
import type { App } from "./server.ts";
import type { Services } from "./services.ts";

export function healthRoutes(app: App, { dispatcher, draining }: Services): void {
  app.get("/healthz", { config: { open: true }, schema: { tags: ["watching"] } }, async () => ({ status: "ok" }));
  app.get("/readyz", { config: { open: true }, schema: { tags: ["watching"] } }, async (_request, reply) => {
    const status = draining() ? "draining" : dispatcher.healthy ? "ok" : "degraded";
    return reply.code(status === "ok" ? 200 : 503).send({ status });
  });
}
