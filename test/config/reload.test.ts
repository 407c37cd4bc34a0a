import { writeFileSync } from "node:fs";
import path from "node:path";
import t from "tap";
import { loadConfig } from "../../src/config/load.ts";
import { reloadConfig } from "../../src/config/reload.ts";
import type { Config } from "../../src/config/schema.ts";

/** A daemon's sources, and a way to write its file anew. */
function setUp(directory: string) {
  const sources = { flags: { data: directory }, env: {}, cwd: directory };
  return {
    sources,
    write: (file: unknown) => writeFileSync(path.join(directory, "config.json"), JSON.stringify(file)),
    load: (): Config => loadConfig(sources).config,
  };
}

t.test("says which keys changed; what cannot change while running stays and waits for a restart", async (t) => {
  const { sources, write, load } = setUp(t.testdir());
  const current = load();
  write({
    server: { port: 4000 },
    dispatch: { auto: true },
    agents: {
      claude: {
        adapter: "spawn",
        via: "heartbeat",
        model: "opus",
        costMultiplier: 3,
        maxConcurrent: 3,
        bestFor: ["x"],
      },
      copilot: { enabled: false },
    },
  });
  const reloaded = reloadConfig(current, sources);
  if ("error" in reloaded) throw reloaded.error;
  t.same([...reloaded.changed].sort(), [
    "agents.claude.bestFor",
    "agents.claude.model",
    "agents.copilot",
    "dispatch.auto",
  ]);
  t.same([...reloaded.restart].sort(), ["server.port", "server.publicUrl"]);
  t.match(reloaded.config, { server: { port: 3333, publicUrl: "http://127.0.0.1:3333" }, dispatch: { auto: true } });
  t.ok(Object.isFrozen(reloaded.config) && Object.isFrozen(reloaded.config.dispatch));

  const again = reloadConfig(reloaded.config, sources);
  t.match(again, { changed: [], restart: ["server.port", "server.publicUrl"] }, "until it is restarted");
});

t.test("a bad file changes nothing and says why", async (t) => {
  const { sources, write, load } = setUp(t.testdir());
  const current = load();
  write({ dispatch: { auto: "yes" } });
  t.match(reloadConfig(current, sources), { error: { message: 'dispatch.auto: found "yes", wanted true or false' } });
});

t.test("the token may change, but not go away where other machines can call", async (t) => {
  const directory = t.testdir({ token: "0123456789abcdef" });
  const sources = { flags: { data: directory, host: "0.0.0.0" }, env: {}, cwd: directory };
  const { config } = loadConfig(sources);
  writeFileSync(path.join(directory, "token"), "fedcba9876543210");
  t.match(reloadConfig(config, sources), { config: { token: "fedcba9876543210" }, changed: ["token"], restart: [] });
  const without = { ...sources, flags: { ...sources.flags, data: path.join(directory, "elsewhere") } };
  t.match(reloadConfig(config, without), { error: { problems: [{ path: "server.host" }] } });
});
