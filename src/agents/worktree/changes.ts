/** What a task's worktree holds that its beginning did not: commits, what is not committed, and files that git does not know yet. */
import { accessSync, constants, copyFileSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ChangedFile, TaskDiff } from "../../dispatcher/ports.ts";
import { filtersOf, type GitPlace, git, gitText } from "./git.ts";
import { inWorktree } from "./make.ts";
import { look, whatIsAt } from "./place.ts";
import type { WorktreeRecord } from "./record.ts";

/** Files that are named one by one; of more, `truncated` is true. */
const FILES_MAX = 3000;
/** Untracked files that are read. */
const UNTRACKED_MAX = 2000;
/** A larger one that git does not know yet is named, not read. */
const UNTRACKED_BYTES_MAX = 16 * 1024 * 1024;
/** Copies of them are made for the while. */
const UNTRACKED_BYTES_IN_ALL = 256 * 1024 * 1024;

/** `bytesMax`: of the diff's text. Only reads: what it needs of an index and of objects is its own, and gone afterwards. */
export async function changesOf(record: WorktreeRecord, place: GitPlace, bytesMax: number): Promise<TaskDiff> {
  const { taskId, branch, base, path } = record;
  if (whatIsAt(record) !== "worktree") {
    // It was removed by hand, or never made whole: the commits are all there is.
    const repository = { ...place, cwd: record.repository, env: { GIT_DIR: record.repository } };
    const config = await filtersOf(repository);
    const tip = await git(repository, ["rev-parse", "--verify", "--quiet", `refs/heads/${branch}^{commit}`]);
    const head = tip.status === 0 ? tip.stdout.toString("utf8").trim() : base;
    return { taskId, branch, base, head, ...(await compare({ ...repository, config }, [base, head], [], bytesMax)) };
  }
  return withCopies(record, place, async (own, skipped) => {
    const head = await gitText(own, ["rev-parse", "--verify", "--quiet", "HEAD^{commit}"]);
    return { taskId, branch, base, head, path, ...(await compare(own, [base], skipped, bytesMax)) };
  });
}

/** Whether something in the worktree is in no commit. */
export async function hasUncommitted(record: WorktreeRecord, place: GitPlace): Promise<boolean> {
  if (whatIsAt(record) !== "worktree") return false;
  return withCopies(record, place, async (own, skipped) => {
    const { status } = await git(own, ["diff", ...PLAIN, "--quiet", "HEAD", "--"]);
    return status !== 0 || skipped.length > 0;
  });
}

/**
 * Calls `use` with an index that also holds the files that git does not know yet, and with those that are too large or too many for that.
 * The index starts as the worktree's, so that of what did not change nothing is read.
 */
async function withCopies<T>(
  record: WorktreeRecord,
  place: GitPlace,
  use: (place: GitPlace, skipped: readonly string[]) => Promise<T>,
): Promise<T> {
  const { repository, path } = record;
  const gitDirectory = record.gitDirectory ?? "";
  const folder = mkdtempSync(join(tmpdir(), "jarvis-diff-"));
  try {
    const index = join(folder, "index");
    const objects = join(folder, "objects");
    mkdirSync(objects);
    const bare = inWorktree(place, gitDirectory, path);
    const own: GitPlace = {
      ...bare,
      env: {
        ...bare.env,
        GIT_INDEX_FILE: index,
        GIT_OBJECT_DIRECTORY: objects,
        GIT_ALTERNATE_OBJECT_DIRECTORIES: quoted(join(repository, "objects")),
      },
      config: [...(await filtersOf(bare)), ["core.bigFileThreshold", "4m"], ["core.splitIndex", "false"]],
    };
    const found = look(join(gitDirectory, "index"));
    if (found?.isFile() === true) copyFileSync(join(gitDirectory, "index"), index);
    else await gitText(own, ["read-tree", "HEAD"]);
    const skipped = await addUntracked(own, path);
    return await use(own, skipped);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Answers those that were left out. */
async function addUntracked(own: GitPlace, path: string): Promise<readonly string[]> {
  const listed = await git(own, ["ls-files", "-z", "--others", "--exclude-standard"]);
  const names = namesIn(listed.stdout);
  let bytesLeft = UNTRACKED_BYTES_IN_ALL;
  const taken = names.slice(0, UNTRACKED_MAX).filter((name) => {
    // A name that ends with a slash is a repository in this one: it is named, not entered.
    const size = name.endsWith("/") ? null : readableSize(join(path, name));
    if (size === null || size > bytesLeft) return false;
    bytesLeft -= size;
    return true;
  });
  if (taken.length > 0) {
    const input = Buffer.from(`${taken.join("\0")}\0`);
    const added = await git(own, ["update-index", "--add", "--remove", "--ignore-missing", "-z", "--stdin"], { input });
    // One that can no longer be read hides the others: all are named then.
    if (added.status !== 0) return names;
  }
  const known = new Set(taken);
  return names.filter((name) => !known.has(name));
}

/** In bytes; `null` for what is not to be read. */
function readableSize(file: string): number | null {
  // A name that is no UTF-8 is not the file's own here.
  if (file.includes("\uFFFD")) return null;
  const found = look(file);
  if (found === null || found.size > UNTRACKED_BYTES_MAX) return null;
  if (!found.isFile()) return 0;
  try {
    accessSync(file, constants.R_OK);
    return found.size;
  } catch {
    return null;
  }
}

/** Whatever the repository's config or attributes say of how diffs look, or which program makes them. */
const PLAIN = [
  "--no-ext-diff",
  "--no-textconv",
  "--no-color",
  "--no-relative",
  "--ignore-submodules=dirty",
  "--submodule=short",
  "--find-renames",
];
const PATCH = ["--unified=3", "--inter-hunk-context=0", "--src-prefix=a/", "--dst-prefix=b/", "-O/dev/null"];

async function compare(
  place: GitPlace,
  between: readonly string[],
  skipped: readonly string[],
  bytesMax: number,
): Promise<Pick<TaskDiff, "files" | "diff" | "truncated">> {
  const listed = await git(place, ["diff", ...PLAIN, "--raw", "--numstat", "-z", ...between, "--"]);
  if (listed.status !== 0) throw new Error(`git diff failed: ${listed.said}`);
  const files = [
    ...filesIn(listed.stdout, listed.isCut),
    ...skipped.map((path): ChangedFile => ({ path, status: "added", additions: null, deletions: null })),
  ];
  const patch = await git(place, ["diff", ...PLAIN, ...PATCH, "--patch", ...between, "--"], { bytesMax });
  if (patch.status !== 0) throw new Error(`git diff failed: ${patch.said}`);
  return {
    files: files.slice(0, FILES_MAX),
    diff: patch.isCut ? wholeLines(patch.stdout) : patch.stdout,
    truncated: listed.isCut || patch.isCut || skipped.length > 0 || files.length > FILES_MAX,
  };
}

const STATUSES: Readonly<Record<string, ChangedFile["status"]>> = {
  A: "added",
  C: "added",
  D: "deleted",
  R: "renamed",
};

/**
 * The output of `git diff --raw --numstat -z`: for each file `:<modes and ids> <status>`, its name, and after a rename its new one; then
 * for each `<added>\t<deleted>\t<name>`, with `-` for what has no lines, and after a rename an empty name and both names.
 */
function filesIn(output: Buffer, isCut: boolean): ChangedFile[] {
  const parts = namesIn(output);
  if (isCut) parts.pop();
  const files = new Map<string, ChangedFile>();
  for (let index = 0; index < parts.length; ) {
    const part = parts[index++] ?? "";
    const status = /^:\d+ \d+ \S+ \S+ ([A-Z])\d*$/.exec(part)?.[1];
    if (status !== undefined) {
      const from = parts[index++] ?? "";
      const isMoved = status === "R" || status === "C";
      const path = isMoved ? (parts[index++] ?? "") : from;
      const known = STATUSES[status] ?? "modified";
      files.set(path, {
        path,
        status: known,
        additions: null,
        deletions: null,
        ...(known === "renamed" ? { from } : {}),
      });
      continue;
    }
    const [, added, deleted, name] = /^(\d+|-)\t(\d+|-)\t(.*)$/s.exec(part) ?? [];
    if (name === undefined) continue;
    if (name === "") index++;
    const path = name === "" ? (parts[index++] ?? "") : name;
    const file = files.get(path);
    if (file !== undefined && added !== "-")
      files.set(path, { ...file, additions: Number(added), deletions: Number(deleted) });
  }
  return [...files.values()];
}

function namesIn(output: Buffer): string[] {
  return output
    .toString("utf8")
    .split("\0")
    .filter((name, index, all) => name !== "" || index < all.length - 1);
}

/** Up to the end of the last line that is whole. */
function wholeLines(text: Buffer): Buffer {
  return text.subarray(0, text.lastIndexOf(0x0a) + 1);
}

/** A path in a list that colons separate, as git reads it. */
function quoted(path: string): string {
  return `"${path.replace(/["\\]/g, "\\$&")}"`;
}
