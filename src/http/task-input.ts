/** What a schema cannot say of a task's fields: paths that stay inside, dates that exist; and the one spelling of each. */
import { homedir } from "node:os";
import { posix, resolve } from "node:path";
import type { NewTask, TaskPatch } from "../api/task.ts";
import type { Config } from "../config/schema.ts";
import { isPath, normalisePattern, patternProblem } from "../core/glob.ts";
import type { Hold, TaskChanges } from "../core/task.ts";
import { invalid } from "./problems.ts";

/** The fields as the core takes them. @throws ProblemError 400 naming the field. */
export function taskFields(input: NewTask | TaskPatch, config: Config): TaskChanges {
  const { files, workspace, dueDate, hold, verify, ...rest } = input as TaskPatch & { id?: string };
  const { id: _, ...plain } = rest;
  return {
    ...plain,
    ...(files === undefined ? {} : { files: lockPaths(files, "/files") }),
    ...(verify === undefined ? {} : { verify: knownVerifiers(verify, config) }),
    ...(workspace === undefined ? {} : { workspace: workspace === null ? null : workspacePath(workspace, config) }),
    ...(dueDate === undefined ? {} : { dueDate: dueDate === null ? null : realDate(dueDate) }),
    ...(hold === undefined
      ? {}
      : { hold: hold === null ? null : ({ code: hold.code ?? "HELD", message: hold.message } satisfies Hold) }),
  };
}

/** Each costs a comparison with everything that is locked near it; a path without wildcards costs none. */
const GLOBS_MAX = 64;

/** Normalised paths or globs, each once. @throws ProblemError 400 naming the first that cannot be locked. */
export function lockPaths(paths: readonly string[], pointer: string): readonly string[] {
  const normal = paths.map((path, index) => {
    const problem = patternProblem(path);
    if (problem !== null) throw invalid(`${pointer}/${index}`, problem);
    return normalisePattern(path);
  });
  const globs = normal.filter((path) => !isPath(path));
  if (globs.length > GLOBS_MAX) throw invalid(pointer, `has more than ${GLOBS_MAX} paths with wildcards`);
  return [...new Set(normal)];
}

/** Each once. A task names what the config has, and never brings a command of its own. */
function knownVerifiers(names: readonly string[], { verifiers }: Config): readonly string[] {
  for (const [index, name] of names.entries()) {
    if (Object.hasOwn(verifiers, name)) continue;
    const known = Object.keys(verifiers);
    const which = known.length === 0 ? "the config has none" : `there are ${known.join(", ")}`;
    throw invalid(`/verify/${index}`, `is none of the config's "verifiers" (${which})`);
  }
  return [...new Set(names)];
}

/** The workspace as an absolute path or one that begins with ~, which an SSH host reads as its own home; under one of the roots and not in the data directory. Links are followed at the start of a run. */
export function workspacePath(workspace: string, config: Config): string {
  if (workspace.includes("\0")) throw invalid("/workspace", "contains a NUL character");
  const path = expand(workspace);
  if (path === null)
    throw invalid("/workspace", "must be an absolute path, or begin with ~/ (on an SSH host, that is the home there)");
  const roots = config.workspaceRoots.map((root) => expand(root) ?? resolve(root));
  if (!roots.some((root) => isUnder(path, root))) {
    throw invalid("/workspace", "lies under none of the config's workspaceRoots");
  }
  if (isUnder(path, config.dataDirectory) || isUnder(config.dataDirectory, path)) {
    throw invalid("/workspace", "must neither lie in the data directory nor contain it");
  }
  return workspace.startsWith("~") && isUnder(path, homedir()) ? `~${path.slice(homedir().length)}` : path;
}

function expand(path: string): string | null {
  if (path === "~") return homedir();
  if (path.startsWith("~/")) return trimmed(posix.join(homedir(), path.slice(2)));
  return path.startsWith("/") ? trimmed(posix.normalize(path)) : null;
}

function trimmed(path: string): string {
  return path.length > 1 && path.endsWith("/") ? path.slice(0, -1) : path;
}

function isUnder(path: string, root: string): boolean {
  return path === root || root === "/" || path.startsWith(`${root}/`);
}

function realDate(text: string): string {
  const time = Date.parse(text);
  const day = text.slice(0, 10);
  if (Number.isNaN(time) || new Date(time).toISOString().slice(0, 10) !== day)
    throw invalid("/dueDate", "is not a date of the calendar");
  return text.length === 10 ? text : new Date(time).toISOString();
}
