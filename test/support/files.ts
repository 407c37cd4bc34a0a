/** Waiting for what other processes write. */
import { readFileSync, watch } from "node:fs";
import { basename, dirname } from "node:path";
import { LIMIT_MS, within } from "./daemon.ts";

/** The file's text, as soon as it matches. Its directory must be there. */
export async function fileSays(path: string, pattern: RegExp): Promise<string> {
  const watcher = watch(dirname(path));
  try {
    const found = new Promise<string>((resolve) => {
      const look = () => {
        const text = textOf(path);
        if (pattern.test(text)) resolve(text);
      };
      watcher.on("change", look);
      look();
    });
    return await within(LIMIT_MS, `${pattern} in ${basename(path)}, which says "${textOf(path)}"`, found);
  } finally {
    watcher.close();
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
