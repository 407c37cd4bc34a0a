// Makes dist/ from src/: TypeScript to JavaScript, everything else copied beside it (run.sh, assets).
// Plain JavaScript, because it runs before there is anything that could compile it. It does not check types: `npm run check` does.
//
//   node scripts/build.mjs               always
//   node scripts/build.mjs --if-needed   only where dist/ is missing or was made from other sources

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(root, "src");
const target = join(root, "dist");
const stamp = ".sources";

const ifNeeded = process.argv.includes("--if-needed");

if (!existsSync(source)) requireBuilt("the sources are not part of this package");
else if (!ifNeeded || readStamp() !== fingerprint()) build();

function build() {
  const compiler = findCompiler();
  if (compiler === undefined) return requireBuilt("TypeScript is not installed; run `npm ci`");

  const fresh = join(root, `dist.${process.pid}.new`);
  const old = join(root, `dist.${process.pid}.old`);
  try {
    const sources = fingerprint();
    const { status } = spawnSync(
      process.execPath,
      [compiler, "--project", join(source, "tsconfig.json"), "--outDir", fresh, "--noCheck"],
      { cwd: root, stdio: ["ignore", 2, 2] },
    );
    if (status !== 0) fail("the TypeScript compiler failed");
    copyAssets(fresh);
    if (existsSync(join(fresh, "cli.js"))) chmodSync(join(fresh, "cli.js"), 0o755);
    writeFileSync(join(fresh, stamp), sources);

    // Swapped in whole, so that a build that is cut short, or a second one beside it, never leaves half a dist/.
    if (existsSync(target)) renameSync(target, old);
    renameSync(fresh, target);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
    rmSync(old, { recursive: true, force: true });
  }
}

/** Without the means to build, an existing dist/ is good enough; none at all is not. */
function requireBuilt(reason) {
  if (!existsSync(join(target, "cli.js"))) fail(`there is no dist/, and ${reason}`);
  if (existsSync(source))
    console.error(`build: dist/ is not of these sources, and ${reason}; going on with what is there`);
}

function findCompiler() {
  try {
    return createRequire(import.meta.url).resolve("typescript/bin/tsc");
  } catch {
    return undefined;
  }
}

function copyAssets(fresh) {
  for (const path of sourceFiles()) {
    if (!path.endsWith(".ts") && !path.endsWith("tsconfig.json")) cpSync(join(source, path), join(fresh, path));
  }
}

/** What dist/ is made from, as one hash: file times say little after a checkout. */
function fingerprint() {
  const hash = createHash("sha256");
  for (const path of [...sourceFiles().map((file) => join("src", file)), "tsconfig.json", "scripts/build.mjs"]) {
    hash
      .update(`${path}\0`)
      .update(readFileSync(join(root, path)))
      .update("\0");
  }
  return hash.digest("hex");
}

function readStamp() {
  const path = join(target, stamp);
  return existsSync(path) ? readFileSync(path, "utf8") : undefined;
}

function sourceFiles() {
  return readdirSync(source, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name).slice(source.length + 1))
    .filter((path) => !path.startsWith("ui/"))
    .sort();
}

function fail(message) {
  console.error(`build: ${message}`);
  process.exit(1);
}
