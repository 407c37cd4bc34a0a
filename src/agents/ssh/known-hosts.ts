/**
 * OpenSSH's known_hosts, as sshd(8) describes the file: which keys of a host are known. Plain and hashed names, `[host]:port`, the globs
 * `*` and `?`, `!` for an exception, `@revoked`. Lines of `@cert-authority` are passed over: host certificates are not checked here.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export interface KnownHost {
  /** Counts from 1. */
  readonly line: number;
  readonly isRevoked: boolean;
  readonly names: string;
  /** Such as `ssh-ed25519`. */
  readonly keyType: string;
  readonly key: Buffer;
}

export type HostKeyAlgorithm =
  | "ssh-ed25519"
  | "ecdsa-sha2-nistp256"
  | "ecdsa-sha2-nistp384"
  | "ecdsa-sha2-nistp521"
  | "rsa-sha2-512"
  | "rsa-sha2-256";

export type HostKeyVerdict =
  | { readonly status: "known" }
  | { readonly status: "unknown" }
  | { readonly status: "revoked"; readonly line: number }
  /** Another key is on record: that of `line`. */
  | { readonly status: "changed"; readonly line: number };

/** Lines that are no entries are passed over, as OpenSSH does. */
export function parseKnownHosts(text: string): readonly KnownHost[] {
  return text.split("\n").flatMap((line, index) => parseLine(line, index + 1) ?? []);
}

/** What the file says of the key that a host has shown. */
export function judgeHostKey(entries: readonly KnownHost[], host: string, port: number, key: Buffer): HostKeyVerdict {
  const named = entries.filter((entry) => isFor(entry, host, port));
  const same = named.filter((entry) => entry.key.equals(key));
  const revoked = same.find((entry) => entry.isRevoked);
  if (revoked !== undefined) return { status: "revoked", line: revoked.line };
  if (same.length > 0) return { status: "known" };
  const other = named.find((entry) => !entry.isRevoked);
  return other === undefined ? { status: "unknown" } : { status: "changed", line: other.line };
}

/** By key type. An RSA key may sign with newer hashes than the one that its type is named after. */
const ALGORITHMS: Readonly<Record<string, readonly HostKeyAlgorithm[]>> = {
  "ssh-ed25519": ["ssh-ed25519"],
  "ecdsa-sha2-nistp256": ["ecdsa-sha2-nistp256"],
  "ecdsa-sha2-nistp384": ["ecdsa-sha2-nistp384"],
  "ecdsa-sha2-nistp521": ["ecdsa-sha2-nistp521"],
  "ssh-rsa": ["rsa-sha2-512", "rsa-sha2-256"],
};

/** The signature algorithms to ask the host for, so that it shows a key that is on record; empty when none is. */
export function hostKeyAlgorithms(entries: readonly KnownHost[], host: string, port: number): HostKeyAlgorithm[] {
  const types = entries.filter((entry) => !entry.isRevoked && isFor(entry, host, port)).map((entry) => entry.keyType);
  return [...new Set(types)].flatMap((type) => ALGORITHMS[type] ?? []);
}

/** As `ssh-keygen -l` shows it. */
export function fingerprint(key: Buffer): string {
  return `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;
}

/** The type that stands at the beginning of a key in its wire form. */
export function keyType(key: Buffer): string {
  return key.length < 4 ? "" : key.subarray(4, 4 + key.readUInt32BE(0)).toString("latin1");
}

/** How the file and OpenSSH's tools call a host: with its port where that is not 22. */
export function hostName(host: string, port: number): string {
  const name = host.toLowerCase();
  return port === 22 ? name : `[${name}]:${port}`;
}

function parseLine(text: string, line: number): KnownHost | null {
  const fields = text.trim().split(/[ \t]+/);
  const marker = fields[0]?.startsWith("@") ? fields.shift() : undefined;
  const [names, type, base64] = fields;
  if (!names || names.startsWith("#") || !type || !base64) return null;
  if (marker !== undefined && marker !== "@revoked") return null;
  const key = Buffer.from(base64, "base64");
  return keyType(key) === type ? { line, isRevoked: marker === "@revoked", names, keyType: type, key } : null;
}

function isFor(entry: KnownHost, host: string, port: number): boolean {
  const name = hostName(host, port);
  if (entry.names.startsWith("|1|")) return isHashOf(entry.names, name);
  const patterns = entry.names.split(",");
  if (patterns.some((pattern) => pattern.startsWith("!") && matches(pattern.slice(1), name))) return false;
  return patterns.some((pattern) => !pattern.startsWith("!") && matches(pattern, name));
}

/** `|1|salt|HMAC-SHA1 of the name`, both in base64. */
function isHashOf(hashed: string, name: string): boolean {
  const [, , salt, hash] = hashed.split("|");
  if (!salt || !hash) return false;
  const expected = Buffer.from(hash, "base64");
  const actual = createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest();
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

function matches(pattern: string, name: string): boolean {
  const parts = pattern.toLowerCase().split(/([*?])/);
  const expression = parts.map((part) =>
    part === "*" ? ".*" : part === "?" ? "." : part.replace(/[\\^$.|+()[\]{}]/g, "\\$&"),
  );
  return new RegExp(`^${expression.join("")}$`, "s").test(name);
}
