/** A small SSH server on loopback for the demo: one user, one key, commands run as this user in a home of their own. */
import { type ChildProcess, spawn } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import ssh2 from "ssh2";

const { Server, utils } = ssh2;

export interface DemoSshServer {
  readonly port: number;
  readonly privateKeyFile: string;
  readonly knownHostsFile: string;
  stop(): void;
}

/** Starts it; keys and known_hosts are written into `directory`, which is also the user's home over there. */
export async function startSshServer(directory: string): Promise<DemoSshServer> {
  const hostKey = utils.generateKeyPairSync("ed25519");
  const userKey = utils.generateKeyPairSync("ed25519");
  const allowed = utils.parseKey(userKey.public);
  if (allowed instanceof Error) throw allowed;
  const children = new Set<ChildProcess>();
  const server = new Server({ hostKeys: [hostKey.private] }, (client) => {
    client.on("authentication", (attempt) => {
      const known = attempt.method === "publickey" && attempt.key.data.equals(allowed.getPublicSSH());
      const proven =
        known &&
        (!attempt.signature || allowed.verify(attempt.blob ?? Buffer.alloc(0), attempt.signature, attempt.hashAlgo));
      if (proven) attempt.accept();
      else attempt.reject(["publickey"]);
    });
    client.on("error", () => client.end());
    client.on("session", (accept) => {
      accept().on("exec", (acceptExec, _reject, { command }) => {
        const stream = acceptExec();
        const child = spawn("/bin/sh", ["-c", command], {
          cwd: directory,
          env: { PATH: process.env.PATH, HOME: directory, LANG: "C.UTF-8" },
        });
        children.add(child);
        stream.pipe(child.stdin);
        child.stdin.on("error", () => {});
        child.stdout.pipe(stream, { end: false });
        child.stderr.pipe(stream.stderr, { end: false });
        stream.on("close", () => child.kill());
        child.on("close", (code) => {
          children.delete(child);
          stream.exit(code ?? 255);
          stream.end();
        });
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const privateKeyFile = join(directory, "id_ed25519");
  const knownHostsFile = join(directory, "known_hosts");
  writeFileSync(privateKeyFile, userKey.private, { mode: 0o600 });
  writeFileSync(knownHostsFile, `[127.0.0.1]:${port} ${hostKey.public}\n`);
  return {
    port,
    privateKeyFile,
    knownHostsFile,
    stop() {
      for (const child of children) child.kill();
      server.close();
    },
  };
}
