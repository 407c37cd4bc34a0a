/**
 * Tries the real agent programs through the daemon, against a stub model server: `npm run test:agents -- [NAME...]`.
 *
 * Installs pinned versions into a cache folder outside of the tree (JARVIS_AGENTS_CACHE, else ~/.cache/jarvis-orchestrator/programs),
 * then runs test/real/NAME.ts where there is no network but loopback, so that nothing can reach a provider.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { installProgram, PROGRAMS, type ProgramName } from "../test/support/agent-programs.ts";
import { installOpenClaw } from "../test/support/openclaw-program.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const REAL = join(ROOT, "test", "real");
/** What a test needs that is not called after its program. */
const PROGRAM_OF: Readonly<Record<string, ProgramName>> = { ssh: "gemini", process: "codex" };

const known = readdirSync(REAL)
  .map((file) => basename(file, ".ts"))
  .filter((name) => name !== "driver");
const { values, positionals } = parseArgs({
  options: { help: { type: "boolean", short: "h" } },
  allowPositionals: true,
});
const unknown = positionals.filter((name) => !known.includes(name));
if (values.help || unknown.length > 0) {
  if (unknown.length > 0) console.error(`test:agents: there is no ${unknown.join(", ")}`);
  console.log(`usage: npm run test:agents -- [NAME...]\n\nnames: ${known.join(", ")} (default: all)`);
  process.exit(unknown.length > 0 ? 2 : 0);
}
const names = positionals.length > 0 ? positionals : known;

for (const name of names) {
  const startedAt = Date.now();
  const what = await install(name);
  console.log(`${what}: installed (${Math.round((Date.now() - startedAt) / 1000)} s)`);
}
process.exitCode = runIsolated(names.map((name) => join("test", "real", `${name}.ts`)));

/** Needs the network, the first time. */
async function install(name: string): Promise<string> {
  if (name === "openclaw") {
    await installOpenClaw();
    return "openclaw and a Node of its own";
  }
  const program = PROGRAM_OF[name] ?? (name as ProgramName);
  await installProgram(program);
  return `${program} ${PROGRAMS[program].version}`;
}

/** One after the other: each has a daemon, a model server and a program of hundreds of megabytes. */
function runIsolated(files: readonly string[]): number {
  const tap = ["node_modules/.bin/tap", "--jobs=1", "--timeout=900", "--disable-coverage", ...files];
  // A user of his own gets a namespace too, as its root.
  const namespace = process.getuid?.() === 0 ? ["-n"] : ["-rn"];
  if (!existsSync("/usr/bin/unshare"))
    console.error("test:agents: needs unshare (util-linux), which keeps them offline");
  const inside = ["sh", "-c", 'ip link set lo up && exec "$@"', "sh", ...tap];
  return spawnSync("unshare", [...namespace, ...inside], { cwd: ROOT, stdio: "inherit" }).status ?? 1;
}
