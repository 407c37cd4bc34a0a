import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { userInfo } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type Test, test } from "tap";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
const UNIT = "etc/systemd/system/jarvis-orchestrator.service";
const ENVIRONMENT = "etc/jarvis-orchestrator/environment";
const ME = userInfo().username;

test("the unit in the repository is one that systemd takes without a word", async (t) => {
  if (!hasSystemdAnalyze(t)) return;
  const unit = join(t.testdir(), "jarvis-orchestrator.service");
  writeFileSync(
    unit,
    readFileSync(join(ROOT, "systemd/jarvis-orchestrator.service"), "utf8")
      .replace(/^User=.*$/m, `User=${ME}`)
      .replace(/^ExecStart=.*$/m, `ExecStart=${process.execPath} /opt/jarvis-orchestrator/dist/cli.js serve`),
  );
  t.equal(verify(unit), "");
});

test("an installed unit is taken too, from a directory whose name needs quoting", async (t) => {
  if (!hasSystemdAnalyze(t)) return;
  const { program, target } = copyOfProgram(t, 'odd %h $x "name"');
  t.equal(install(program, ["--root", target, "--user", ME]).status, 0);
  t.equal(verify(join(target, UNIT)), "");
  t.match(readFileSync(join(target, UNIT), "utf8"), 'odd %%h $$x \\"name\\"/dist/cli.js" serve\n');
});

test("the sandbox stays closed where agents do not need it open", async (t) => {
  if (!hasSystemdAnalyze(t)) return;
  const unit = join(ROOT, "systemd/jarvis-orchestrator.service");
  const { status, stdout, stderr } = spawnSync(
    "systemd-analyze",
    ["security", "--offline=true", "--no-pager", "--threshold=45", unit],
    { encoding: "utf8" },
  );
  t.equal(status, 0, `an exposure of at most 4.5: ${stderr}${stdout.trim().split("\n").at(-1)}`);
});

test("what agents cannot live with is not in the unit", async (t) => {
  const directives = readFileSync(join(ROOT, "systemd/jarvis-orchestrator.service"), "utf8")
    .split("\n")
    .filter((line) => !line.startsWith("#"))
    .join("\n");
  t.notMatch(
    directives,
    /^(PrivateTmp|RestrictNamespaces|MemoryDenyWriteExecute|ProtectHome|RemoveIPC|PrivateUsers)=/m,
  );
  t.notMatch(directives, /^ProtectControlGroups=/m, "the cgroups of the runs could not be made");
  t.notMatch(
    directives,
    /^(ProtectKernelTunables|ProtectKernelLogs|ProtectHostname|ProtectProc|ProcSubset)=/m,
    "no inner sandbox could mount /proc",
  );
  for (const line of [
    "Type=notify",
    "NotifyAccess=all",
    "KillMode=process",
    "Delegate=yes",
    "OOMPolicy=continue",
    "Restart=on-failure",
  ]) {
    t.match(directives, `\n${line}\n`);
  }
});

test("the installer writes a unit and a private environment file with a random token, and keeps that file", async (t) => {
  const { program, target } = copyOfProgram(t);
  t.equal(install(program, ["--root", target, "--user", ME]).status, 0);
  const first = readFileSync(join(target, ENVIRONMENT), "utf8");
  t.match(first, /^JARVIS_TOKEN=[0-9a-f]{64}$/m);
  t.equal(statSync(join(target, ENVIRONMENT)).mode & 0o777, 0o600);
  t.match(readFileSync(join(target, UNIT), "utf8"), `\nUser=${ME}\n`);

  const again = install(program, ["--root", target, "--user", ME]);
  t.equal(again.status, 0);
  t.equal(readFileSync(join(target, ENVIRONMENT), "utf8"), first, "the token stays");
  t.notMatch(again.output, /[0-9a-f]{64}/, "the token is never printed");

  const other = copyOfProgram(t, "other");
  t.equal(install(other.program, ["--root", other.target, "--user", ME]).status, 0);
  t.not(readFileSync(join(other.target, ENVIRONMENT), "utf8"), first, "another installation has another token");
});

test("a dry run shows both files and writes nothing", async (t) => {
  const { program, target } = copyOfProgram(t);
  const { status, output } = install(program, ["--dry-run", "--root", target, "--user", ME]);
  t.equal(status, 0);
  t.match(output, "Type=notify");
  t.match(output, "JARVIS_TOKEN=<64 random hex digits>");
  t.equal(existsSync(target), false);
});

test("a user's own unit names no user and none of what only the system's manager can do", async (t) => {
  const { program, target } = copyOfProgram(t);
  t.equal(install(program, ["--user-unit", "--root", target], { XDG_CONFIG_HOME: "/conf" }).status, 0);
  const unit = readFileSync(join(target, "conf/systemd/user/jarvis-orchestrator.service"), "utf8");
  t.notMatch(unit, /^(User|CapabilityBoundingSet|Protect\w+|PrivateDevices)=/m);
  t.match(unit, "\nWantedBy=default.target\n");
  t.match(unit, "\nEnvironmentFile=/conf/jarvis-orchestrator/environment\n");
  t.equal(statSync(join(target, "conf/jarvis-orchestrator/environment")).mode & 0o777, 0o600);
});

test("wrong arguments end with status 2, an unknown user with 1", async (t) => {
  const { program, target } = copyOfProgram(t);
  t.equal(install(program, ["--root", ""]).status, 2);
  t.equal(install(program, ["--nonsense"]).status, 2);
  t.equal(install(program, ["--root", target, "--user", "no-such-user"]).status, 1);
  t.equal(existsSync(target), false);
});

function hasSystemdAnalyze(t: Test): boolean {
  if (spawnSync("systemd-analyze", ["--version"]).status === 0) return true;
  if (process.env.CI) t.fail("systemd-analyze not installed");
  else t.pass("the unit was not looked at", { skip: "skipped: systemd-analyze not installed" });
  return false;
}

/** What systemd-analyze has to say; its status is 0 even for keys that it does not know. */
function verify(unit: string): string {
  const { status, stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", unit], { encoding: "utf8" });
  return status === 0 ? stderr : `status ${status}: ${stderr}`;
}

/** A place that looks like an installed package, and a file tree to install into (not yet there). */
function copyOfProgram(t: Test, name = "program"): { program: string; target: string } {
  const directory = t.testdir();
  const program = join(directory, name);
  for (const part of ["scripts", "systemd", "dist"]) mkdirSync(join(program, part), { recursive: true });
  for (const file of ["scripts/install-service.sh", "systemd/jarvis-orchestrator.service"])
    copyFileSync(join(ROOT, file), join(program, file));
  writeFileSync(join(program, "dist/cli.js"), "");
  chmodSync(join(program, "dist/cli.js"), 0o755);
  return { program, target: join(directory, `${name}-root`) };
}

function install(
  program: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
): { status: number | null; output: string } {
  const { status, stdout, stderr } = spawnSync("/bin/sh", [join(program, "scripts/install-service.sh"), ...args], {
    encoding: "utf8",
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE: process.execPath, ...env },
  });
  return { status, output: stdout + stderr };
}
