/** Where a program may work on this machine: under one of the configured roots, symlinks followed, and never in the daemon's own data. */
import { realpathSync, statSync } from "node:fs";
import { sep } from "node:path";
import { AgentProblem } from "../agent-problem.ts";
import { expandHome } from "../paths.ts";

/** The workspace's real path. Throws `WORKSPACE_NOT_FOUND`, and `BAD_WORKSPACE` where it is not allowed. */
export function resolveWorkspace(workspace: string, roots: readonly string[], dataDirectory: string): string {
  const path = resolveDirectory(workspace, "workspace");
  if (isWithin(path, realpathSync(dataDirectory))) {
    throw new AgentProblem(
      "BAD_WORKSPACE",
      `the workspace ${workspace} is in the data directory, where no agent may work`,
    );
  }
  const allowed = roots.flatMap(realPathIfThere);
  if (!allowed.some((root) => isWithin(path, root))) {
    const known = roots.length === 0 ? "there are none" : roots.join(", ");
    throw new AgentProblem(
      "BAD_WORKSPACE",
      `the workspace ${workspace}${path === workspace ? "" : ` (${path})`} is under none of the workspaceRoots of the config (${known})`,
    );
  }
  return path;
}

/** The real path of a directory that is there. `what` names it in the sentence. */
export function resolveDirectory(directory: string, what: "workspace" | "workdir"): string {
  let path: string;
  try {
    path = realpathSync(expandHome(directory));
  } catch (error) {
    throw new AgentProblem("WORKSPACE_NOT_FOUND", `the ${what} ${directory} cannot be reached on this machine`, {
      cause: error,
    });
  }
  if (!statSync(path).isDirectory())
    throw new AgentProblem("WORKSPACE_NOT_FOUND", `the ${what} ${directory} is no directory`);
  return path;
}

function realPathIfThere(root: string): string[] {
  try {
    return [realpathSync(expandHome(root))];
  } catch {
    return [];
  }
}

/** True for a path that is `root` or lies in it; both real. */
export function isWithin(path: string, root: string): boolean {
  return path === root || path.startsWith(root.endsWith(sep) ? root : root + sep);
}
