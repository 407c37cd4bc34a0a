// Makes dist/ from src/: cli.js, bundled with the libraries it uses, and everything that is no TypeScript beside it (run.sh).
// Bundled, because finding and reading some thousand modules took most of a start: 1.2 s became 0.5 s, for each command too.
// Plain JavaScript, because it runs before there is anything that could compile it. It does not check types: `npm run check` does.
//
//   node scripts/build.mjs               always
//   node scripts/build.mjs --if-needed   only where dist/ is missing or was made from other sources

import { createHash } from "node:crypto";
import { chmodSync, cpSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const source = join(root, "src");
const target = join(root, "dist");
const stamp = ".sources";

const ifNeeded = process.argv.includes("--if-needed");

if (!existsSync(source)) requireBuilt("the sources are not part of this package");
else if (!ifNeeded || readStamp() !== fingerprint()) await build();

async function build() {
  const esbuild = await import("esbuild").catch(() => undefined);
  if (esbuild === undefined) return requireBuilt("esbuild is not installed; run `npm ci`");

  const fresh = join(root, `dist.${process.pid}.new`);
  const old = join(root, `dist.${process.pid}.old`);
  try {
    const sources = fingerprint();
    await bundle(esbuild, fresh);
    copyAssets(fresh);
    chmodSync(join(fresh, "cli.js"), 0o755);
    writeFileSync(join(fresh, stamp), sources);

    // Swapped in whole, so that a build that is cut short, or a second one beside it, never leaves half a dist/.
    if (existsSync(target)) renameSync(target, old);
    renameSync(fresh, target);
  } catch (error) {
    fail(error.message);
  } finally {
    rmSync(fresh, { recursive: true, force: true });
    rmSync(old, { recursive: true, force: true });
  }
}

/** What one command does not need is a file of its own, read when it is needed. */
function bundle(esbuild, outdir) {
  return esbuild.build({
    absWorkingDir: root,
    entryPoints: ["src/cli.ts"],
    outdir,
    bundle: true,
    splitting: true,
    platform: "node",
    target: "node20.19",
    format: "esm",
    sourcemap: true,
    sourcesContent: false,
    // ssh2 has optional native parts; the pages of /docs are files of their package.
    external: ["ssh2", "@fastify/swagger", "@fastify/swagger-ui"],
    // What libraries that are CommonJS find in their modules.
    banner: {
      js: [
        'import { createRequire as requireOf } from "node:module";',
        "const require = requireOf(import.meta.url);",
        "const { dirname: __dirname, filename: __filename } = import.meta;",
      ].join("\n"),
    },
    logLevel: "error",
  });
}

/** Without the means to build, an existing dist/ is good enough; none at all is not. */
function requireBuilt(reason) {
  if (!existsSync(join(target, "cli.js"))) fail(`there is no dist/, and ${reason}`);
  if (existsSync(source))
    console.error(`build: dist/ is not of these sources, and ${reason}; going on with what is there`);
}

function copyAssets(fresh) {
  for (const path of sourceFiles()) {
    if (!path.endsWith(".ts")) cpSync(join(source, path), join(fresh, path));
  }
}

/** What dist/ is made from, as one hash: file times say little after a checkout. */
function fingerprint() {
  const hash = createHash("sha256");
  const others = ["package-lock.json", "tsconfig.json", "scripts/build.mjs"];
  for (const path of [...sourceFiles().map((file) => join("src", file)), ...others]) {
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
