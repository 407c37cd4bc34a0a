/** /healthz: the process answers. /readyz: it also takes changes. */
import { ProblemError } from "./problems.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";

export function healthRoutes(app: App, { dispatcher, draining }: Services): void {
  app.get(
    "/healthz",
    { config: { open: true }, schema: { tags: ["watching"], summary: "the process answers" } },
    async () => ({
      status: "ok",
    }),
  );
  app.get(
    "/readyz",
    { config: { open: true }, schema: { tags: ["watching"], summary: "it takes changes" } },
    async () => {
      if (draining()) throw new ProblemError(503, "DRAINING", "the daemon is stopping");
      if (!dispatcher.healthy)
        throw new ProblemError(503, "STORAGE_UNAVAILABLE", "the disk does not take changes just now");
      return { status: "ok" };
    },
  );
}
