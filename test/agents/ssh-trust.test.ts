/** Who is let in, and which host is believed. */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { createSshAdapter } from "../../src/agents/ssh.ts";
import type { SshSettings } from "../../src/config/schema.ts";
import type { AgentAdapter } from "../../src/dispatcher/ports.ts";
import { newSpec, problemWith, runToEnd, type TestAgents, testAgents } from "../support/agents.ts";
import { authorize, skipWithoutSshd, startSshd, type TestSshd } from "../support/sshd.ts";

t.test("over a real OpenSSH server", { skip: skipWithoutSshd() }, async (t) => {
  const sshd = await startSshd();
  t.teardown(() => sshd.stop());
  const file = (name: string) => join(sshd.directory, name);
  const makeKey = (name: string, ...options: string[]) => {
    execFileSync("ssh-keygen", [
      "-q",
      "-t",
      "ed25519",
      "-f",
      file(name),
      ...(options.length > 0 ? options : ["-N", ""]),
    ]);
    return file(name);
  };
  const keygen = (...args: string[]) => execFileSync("ssh-keygen", args, { encoding: "utf8", stdio: "pipe" });

  t.test("a host that is not in known_hosts is refused, with its fingerprint and what to do", async (t) => {
    const { adapter, agents } = setUp(t, sshd, { knownHostsFile: file("none") });
    const name = agents.agent(["true"]);
    const fingerprint = keygen("-lf", file("host.pub")).split(" ")[1] ?? "";
    const problem = (await problemWith(adapter, name)) ?? "";
    t.match(problem, `[127.0.0.1]:${sshd.port} is not in ${file("none")}`);
    t.match(problem, fingerprint);
    t.match(problem, `ssh-keyscan -p ${sshd.port} 127.0.0.1 >> ${file("none")}`);
    const { outcome } = await runToEnd(adapter, newSpec(name));
    t.match(outcome, { status: "failed", error: { code: "HOST_KEY_UNKNOWN", message: problem } });
    t.same(agents.reports.at(-1), { agent: name, reason: problem });
    t.equal(sshd.logins(), 0, "nobody ever logged in");
  });

  t.test("what the sentence says to do works", { skip: !has("ssh-keyscan") }, async (t) => {
    const known = file("from-keyscan");
    const { adapter, agents } = setUp(t, sshd, { knownHostsFile: known });
    const name = agents.agent(["true"]);
    const command = /then: (ssh-keyscan .*)$/.exec((await problemWith(adapter, name)) ?? "")?.[1] ?? "false";
    execFileSync("sh", ["-c", command], { stdio: "ignore" });
    t.equal(await problemWith(adapter, name), null);
    keygen("-H", "-f", known);
    t.match(readFileSync(known, "utf8"), /^\|1\|/m);
    t.equal(await setUp(t, sshd, { knownHostsFile: known }).check(), null, "hashed names are known too");
  });

  t.test("a host whose key has changed is refused, with a warning", async (t) => {
    makeKey("other");
    const other = readFileSync(file("other.pub"), "utf8").split(" ").slice(0, 2).join(" ");
    const known = file("changed");
    writeFileSync(known, `# a remark\n[127.0.0.1]:${sshd.port} ${other}\n`);
    const { adapter, agents } = setUp(t, sshd, { knownHostsFile: known });
    const { outcome } = await runToEnd(adapter, newSpec(agents.agent(["true"])));
    t.match(outcome, {
      status: "failed",
      error: { code: "HOST_KEY_CHANGED", message: /has CHANGED.*line 2 of .*ssh-keygen -R/ },
    });
  });

  t.test("a host that has no key of a known type is refused", async (t) => {
    keygen("-q", "-t", "ecdsa", "-N", "", "-f", file("ecdsa"));
    const known = file("other-type");
    writeFileSync(known, `[127.0.0.1]:${sshd.port} ${readFileSync(file("ecdsa.pub"), "utf8")}`);
    t.match(await setUp(t, sshd, { knownHostsFile: known }).check(), /no host key of a type/);
  });

  t.test("a revoked key is refused, whatever else the file says", async (t) => {
    const known = file("revoked");
    const name = `[127.0.0.1]:${sshd.port}`;
    writeFileSync(known, `${name} ${sshd.hostKey}\n@revoked * ${sshd.hostKey}\n`);
    t.match(await setUp(t, sshd, { knownHostsFile: known }).check(), /line 2 of .* revoked/);
  });

  t.test("a user's key that the host does not take", async (t) => {
    const { adapter, agents } = setUp(t, sshd, { privateKeyFile: makeKey("stranger") });
    const { outcome } = await runToEnd(adapter, newSpec(agents.agent(["true"])));
    t.match(outcome, {
      status: "failed",
      error: { code: "AUTHENTICATION_FAILED", message: /does not accept .*stranger.*authorized_keys/ },
    });
  });

  t.test("an encrypted key, with and without its passphrase", async (t) => {
    const privateKeyFile = makeKey("encrypted", "-N", "a secret phrase");
    authorize(sshd, `${privateKeyFile}.pub`);
    writeFileSync(file("phrase"), "a secret phrase\n");
    writeFileSync(file("wrong-phrase"), "another phrase\n");
    const passphraseFile = file("phrase");
    t.equal(await setUp(t, sshd, { privateKeyFile, passphraseFile }).check(), null);
    t.match(await setUp(t, sshd, { privateKeyFile }).check(), /is encrypted.*ssh\.passphraseFile/);
    const wrong = { privateKeyFile, passphraseFile: file("wrong-phrase") };
    t.match(await setUp(t, sshd, wrong).check(), /cannot be opened with the passphrase in .*wrong-phrase/);
  });

  t.test("key files that are not there, or are none", async (t) => {
    t.match(
      await setUp(t, sshd, { privateKeyFile: file("gone") }).check(),
      /ssh\.privateKeyFile .*gone cannot be read/,
    );
    t.match(await setUp(t, sshd, { privateKeyFile: file("host.pub") }).check(), String);
    t.match(await setUp(t, sshd, { privateKeyFile: file("config") }).check(), /is no private key/);
  });

  t.test("the SSH agent's key", { skip: !has("ssh-agent") }, async (t) => {
    const socket = file("agent");
    const process = spawn("ssh-agent", ["-D", "-a", socket], { stdio: ["ignore", "pipe", "ignore"] });
    t.teardown(async () => {
      const gone = once(process, "exit");
      process.kill();
      await gone;
    });
    await once(process.stdout, "data");
    const withAgent = (path: string) => {
      const { privateKeyFile: _, ...ssh } = sshd.settings;
      return setUp(t, sshd, {}, { ssh, SSH_AUTH_SOCK: path });
    };
    t.match(await withAgent(socket).check(), /does not accept any key of the SSH agent/);
    execFileSync("ssh-add", ["-q", sshd.userKeyFile], { env: { SSH_AUTH_SOCK: socket }, stdio: "ignore" });
    t.equal(await withAgent(socket).check(), null);
    t.match(await withAgent(file("no-agent")).check(), /SSH agent/);
    t.match(await withAgent("").check(), /no key .*SSH_AUTH_SOCK/);
  });

  t.test("a host that is not there", async (t) => {
    const { adapter, agents } = setUp(t, sshd, { port: 1 });
    const { outcome } = await runToEnd(adapter, newSpec(agents.agent(["true"])));
    t.match(outcome, {
      status: "failed",
      error: { code: "HOST_UNREACHABLE", message: /127\.0\.0\.1:1 cannot be reached/ },
    });
  });

  t.test("a program that is not there, seen from here", async (t) => {
    const { adapter, agents } = setUp(t, sshd);
    t.match(
      await problemWith(adapter, agents.agent(["surely-not-installed"])),
      /can be reached, but surely-not-installed is not/,
    );
    const env = { PATH: "/surely/not/there" };
    const problem = (await problemWith(adapter, agents.agent(["sh"], { env }))) ?? "";
    t.match(problem, /sh is not on the PATH of its agent there/);
    t.notMatch(problem, "surely");
    t.equal(await problemWith(adapter, agents.agent(["./relative"])), null);
    t.equal(await problemWith(adapter, agents.agent(["/bin/sh"])), null);
  });

  t.test("a run directory that a shell could misread is refused before anything is asked", async (t) => {
    for (const runDirectory of ["a b", "x;id", "$HOME", "-x", "a'b", "a\nb"]) {
      t.match(await setUp(t, sshd, { runDirectory }).check(), /ssh\.runDirectory/, runDirectory);
    }
  });

  t.test("a run directory in the user's home, as it is by default", async (t) => {
    const runDirectory = `.jarvis-orchestrator-test-${process.pid}/runs`;
    t.teardown(() => rmSync(join(process.env["HOME"] ?? "", runDirectory, ".."), { recursive: true }));
    const { adapter, agents } = setUp(t, sshd, { runDirectory });
    const spec = newSpec(agents.agent(["sh", "-c", "pwd; cat {promptFile}"]));
    const { outcome } = await runToEnd(adapter, spec);
    t.match(outcome, { result: `${process.env["HOME"]}/${runDirectory}/${spec.sessionId}/work\nthe prompt` });
  });
});

function setUp(
  t: Test,
  sshd: TestSshd,
  changes: Partial<SshSettings> = {},
  other: { readonly ssh?: SshSettings; readonly SSH_AUTH_SOCK?: string } = {},
): { readonly adapter: AgentAdapter; readonly agents: TestAgents; check(): Promise<string | null> } {
  const ssh = { ...(other.ssh ?? sshd.settings), ...changes };
  const agents = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "ssh", ssh });
  const environment = { ...agents.context.environment, SSH_AUTH_SOCK: other.SSH_AUTH_SOCK };
  const adapter = createSshAdapter({ ...agents.context, environment });
  t.teardown(() => adapter.close());
  return { adapter, agents, check: () => problemWith(adapter, agents.agent(["sh"])) };
}

function has(program: string): boolean {
  return (process.env["PATH"] ?? "").split(":").some((directory) => {
    try {
      execFileSync("test", ["-x", join(directory, program)]);
      return true;
    } catch {
      return false;
    }
  });
}
