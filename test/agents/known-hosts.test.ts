import { createHmac } from "node:crypto";
import t from "tap";
import { fingerprint, hostKeyAlgorithms, judgeHostKey, parseKnownHosts } from "../../src/agents/ssh/known-hosts.ts";

const ED25519 = key("ssh-ed25519", 1);
const OTHER = key("ssh-ed25519", 2);
const RSA = key("ssh-rsa", 3);

t.test("which names a line is for", async (t) => {
  const table: readonly (readonly [line: string, host: string, port: number, known: boolean])[] = [
    ["mac", "mac", 22, true],
    ["mac", "MAC", 22, true],
    ["MAC", "mac", 22, true],
    ["mac", "mac", 2222, false],
    ["[mac]:2222", "mac", 2222, true],
    ["[mac]:2222", "mac", 22, false],
    ["[mac]:22", "mac", 22, false],
    ["mac,10.0.0.1", "10.0.0.1", 22, true],
    ["*.example.org", "a.example.org", 22, true],
    ["*.example.org", "example.org", 22, false],
    ["*.example.org", "aXexampleXorg", 22, false],
    ["host?", "host1", 22, true],
    ["host?", "host12", 22, false],
    ["*,!bad", "good", 22, true],
    ["*,!bad", "bad", 22, false],
    ["!bad", "good", 22, false],
    ["[*.lan]:*", "nas.lan", 2222, true],
    ["::1", "::1", 22, true],
    [hashed("mac"), "mac", 22, true],
    [hashed("mac"), "mac2", 22, false],
    [hashed("[mac]:2222"), "mac", 2222, true],
    ["|1|broken", "mac", 22, false],
    ["m.c", "mac", 22, false],
  ];
  for (const [names, host, port, known] of table) {
    const entries = parseKnownHosts(`${names} ${line(ED25519)}`);
    t.equal(
      judgeHostKey(entries, host, port, ED25519).status,
      known ? "known" : "unknown",
      `${names} for ${host} ${port}`,
    );
  }
});

t.test("another key than the known one", async (t) => {
  const entries = parseKnownHosts(`\n# remark\nmac ${line(ED25519)} a comment\n`);
  t.same(judgeHostKey(entries, "mac", 22, ED25519), { status: "known" });
  t.same(judgeHostKey(entries, "mac", 22, OTHER), { status: "changed", line: 3 });
  t.same(judgeHostKey(entries, "mac", 22, RSA), { status: "changed", line: 3 });
  t.same(judgeHostKey(entries, "linux", 22, OTHER), { status: "unknown" });
});

t.test("a revoked key is never known, wherever the line stands", async (t) => {
  const lines = [`mac ${line(ED25519)}`, `@revoked * ${line(ED25519)}`];
  t.same(judgeHostKey(parseKnownHosts(lines.join("\n")), "mac", 22, ED25519), { status: "revoked", line: 2 });
  t.same(judgeHostKey(parseKnownHosts(lines.reverse().join("\n")), "mac", 22, ED25519), { status: "revoked", line: 1 });
  t.same(judgeHostKey(parseKnownHosts(`@revoked mac ${line(ED25519)}`), "mac", 22, OTHER), { status: "unknown" });
});

t.test("lines that are none are passed over", async (t) => {
  const lines = [
    "",
    "# mac",
    "mac",
    "mac ssh-ed25519",
    `mac ssh-rsa ${ED25519.toString("base64")}`,
    "mac ssh-ed25519 !!!!",
    `@cert-authority * ${line(ED25519)}`,
    `@unheard-of mac ${line(ED25519)}`,
    `  mac\t${line(OTHER)}\r`,
  ];
  const entries = parseKnownHosts(lines.join("\n"));
  t.equal(entries.length, 1);
  t.equal(judgeHostKey(entries, "mac", 22, OTHER).status, "known");
});

t.test("the host is asked for the types of keys that are on record", async (t) => {
  const entries = parseKnownHosts(
    [`mac ${line(RSA)}`, `mac ${line(ED25519)}`, `mac ${line(OTHER)}`, `@revoked mac ${line(key("ssh-dss", 4))}`].join(
      "\n",
    ),
  );
  t.same(hostKeyAlgorithms(entries, "mac", 22), ["rsa-sha2-512", "rsa-sha2-256", "ssh-ed25519"]);
  t.same(hostKeyAlgorithms(entries, "linux", 22), []);
});

t.test("a fingerprint looks as ssh-keygen shows it", async (t) => {
  t.match(fingerprint(ED25519), /^SHA256:[A-Za-z0-9+/]{43}$/);
});

/** In its wire form: the type, then whatever. */
function key(type: string, seed: number): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(type.length);
  return Buffer.concat([length, Buffer.from(type), Buffer.alloc(32, seed)]);
}

function line(of: Buffer): string {
  return `${of.subarray(4, 4 + of.readUInt32BE(0)).toString()} ${of.toString("base64")}`;
}

function hashed(name: string): string {
  const salt = Buffer.alloc(20, 7);
  return `|1|${salt.toString("base64")}|${createHmac("sha1", salt).update(name).digest("base64")}`;
}
