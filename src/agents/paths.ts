/** Paths as people write them. */
import { homedir } from "node:os";
import { join, resolve } from "node:path";

/** `~` and `~/...` lead to the user's home; a relative path starts where the daemon was started. */
export function expandHome(path: string, home = homedir()): string {
  if (path === "~") return home;
  return path.startsWith("~/") ? join(home, path.slice(2)) : resolve(path);
}
