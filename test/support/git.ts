/** Real git repositories for tests, whose user and config are nobody's else. */
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";

/** Before `git` in a stand-in's line of sh. */
export const AS_AGENT = "git -c user.name=agent -c user.email=agent@example.com";

export interface TestRepository {
  readonly path: string;
  /** Its output, without the line break at its end. */
  git(...args: readonly string[]): string;
  write(name: string, text: string): void;
}

/** A repository with a first commit of `files`. */
export function testRepository(path: string, files: Readonly<Record<string, string>> = { "a.txt": "one\n" }) {
  mkdirSync(path, { recursive: true });
  const repository: TestRepository = {
    path,
    git: (...args) => git(path, ...args),
    write(name, text) {
      mkdirSync(dirname(join(path, name)), { recursive: true });
      writeFileSync(join(path, name), text);
    },
  };
  repository.git("init", "--quiet", "--initial-branch=main");
  for (const [name, text] of Object.entries(files)) repository.write(name, text);
  if (Object.keys(files).length > 0) {
    repository.git("add", "--all");
    repository.git("commit", "--quiet", "-m", "first");
  }
  return repository;
}

export function git(cwd: string, ...args: readonly string[]): string {
  const own = ["-c", "user.name=tester", "-c", "user.email=tester@example.com"];
  return execFileSync("git", [...own, ...args], { cwd, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).replace(
    /\n$/,
    "",
  );
}
