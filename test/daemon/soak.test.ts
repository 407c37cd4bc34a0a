import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import t from "tap";
import { within } from "../support/daemon.ts";

const SOAK = fileURLToPath(new URL("../../scripts/soak.ts", import.meta.url));

t.setTimeout(180_000);

t.test("a short soak ends by itself, with a table, and finds everything that was acknowledged", async (t) => {
  const soak = spawn(
    "/usr/bin/env",
    ["-u", "NODE_OPTIONS", process.execPath, "--import", "tsx", SOAK, "--minutes", "0.25"],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const ended = new Promise((resolve) => soak.once("close", (code, signal) => resolve({ code, signal })));
  t.teardown(() => soak.kill("SIGTERM"));
  const text = (await soak.stdout.setEncoding("utf8").toArray()).join("");
  t.same(await within(150_000, "the end of the soak", ended), { code: 0, signal: null });
  if (!t.passing()) t.comment(text);
  t.match(text, /^median of +first third +last third/m, "the table");
  t.match(text, /^runs\/ entries \(kept for historyDays\) .* known$/m, "what is known to grow");
});
