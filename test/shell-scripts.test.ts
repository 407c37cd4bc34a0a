import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { delimiter, join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { type Test, test } from "tap";

const HEARTBEAT = fileURLToPath(new URL("../scripts/heartbeat.sh", import.meta.url));
const ENTRYPOINT = fileURLToPath(new URL("../scripts/docker-entrypoint.sh", import.meta.url));

test("a heartbeat with nothing to do asks once and says HEARTBEAT_OK", async (t) => {
  const daemon = await standIn(t, (_, response) => response.end("HEARTBEAT_OK"));
  t.same(await run(HEARTBEAT, [], { JARVIS_URL: `${daemon.url}/` }), {
    status: 0,
    stdout: "HEARTBEAT_OK\n",
    stderr: "",
  });
  t.same(daemon.seen, ["GET /api/orchestrate?format=heartbeat"]);
});

test("a heartbeat with something to do dispatches and prints the answer", async (t) => {
  const daemon = await standIn(t, (request, response) =>
    response.end(request.method === "GET" ? "2 tasks to start" : '{"success":true}'),
  );
  const { status, stdout } = await run(HEARTBEAT, [], { JARVIS_URL: daemon.url });
  t.same({ status, stdout }, { status: 0, stdout: '{"success":true}\n' });
  t.same(daemon.seen, ["GET /api/orchestrate?format=heartbeat", "POST /api/orchestrate"]);
});

test("the heartbeat's token comes from a variable or a file, and reaches the daemon as it is", async (t) => {
  const daemon = await standIn(t, (request, response) => response.end(`HEARTBEAT_OK ${request.headers.authorization}`));
  const file = join(t.testdir(), "token");
  writeFileSync(file, "from-a-file\r\n");
  t.match((await run(HEARTBEAT, [], { JARVIS_URL: daemon.url, JARVIS_TOKEN: 'a"b\\c$d' })).stdout, 'Bearer a"b\\c$d\n');
  t.match(
    (await run(HEARTBEAT, [], { JARVIS_URL: daemon.url, JARVIS_TOKEN_FILE: file })).stdout,
    "Bearer from-a-file\n",
  );
  t.equal(
    (await run(HEARTBEAT, [], { JARVIS_URL: daemon.url, JARVIS_TOKEN_FILE: `${file}-that-is-missing` })).status,
    1,
  );
});

test("the heartbeat's token is in nobody's arguments", async (t) => {
  const bin = t.testdir();
  writeFileSync(join(bin, "curl"), '#!/bin/sh\nprintf "%s\\n" "$@" >&2\ncat >/dev/null\nprintf "HEARTBEAT_OK\\n200"\n');
  chmodSync(join(bin, "curl"), 0o755);
  const { status, stderr } = await run(HEARTBEAT, [], {
    PATH: `${bin}${delimiter}${process.env.PATH}`,
    JARVIS_TOKEN: "s3cret",
  });
  t.equal(status, 0);
  t.match(stderr, "--config\n-\n");
  t.notMatch(stderr, "s3cret");
});

test("a heartbeat that gets no answer, or a refusal, says so with status 1", async (t) => {
  const daemon = await standIn(t, (_, response) => response.writeHead(401).end('{"code":"UNAUTHORIZED"}'));
  const refused = await run(HEARTBEAT, [], { JARVIS_URL: daemon.url });
  t.match(refused, { status: 1, stdout: "", stderr: /401.*JARVIS_TOKEN.*UNAUTHORIZED/ });
  await daemon.stop();
  t.match(await run(HEARTBEAT, [], { JARVIS_URL: daemon.url }), {
    status: 1,
    stdout: "",
    stderr: /is the daemon running/,
  });
  t.match(await run(HEARTBEAT, ["--help"], {}), { status: 0, stdout: /JARVIS_TOKEN_FILE/ });
  t.match(await run(HEARTBEAT, ["--nonsense"], {}), { status: 2 });
});

test("the image's entry point makes a private token once, and hands over to the program", async (t) => {
  const { bin, data } = withFakeNode(t);
  const env = { PATH: `${bin}${delimiter}${process.env.PATH}`, JARVIS_DATA_DIR: data };
  const first = await run(ENTRYPOINT, ["serve", "--log-level", "a b"], env);
  t.match(first, { status: 0, stdout: `/app/dist/cli.js serve --log-level a b\ntoken file ${data}/token, token \n` });
  const token = readFileSync(join(data, "token"), "utf8");
  t.match(token, /^[0-9a-f]{64}$/);
  t.equal(statSync(join(data, "token")).mode & 0o777, 0o600);
  t.equal(statSync(data).mode & 0o777, 0o700);
  t.notMatch(first.stdout + first.stderr, token, "the token is never printed");

  await run(ENTRYPOINT, ["serve"], env);
  t.equal(readFileSync(join(data, "token"), "utf8"), token, "the second start keeps it");
});

test("the image's entry point makes no token where one is given", async (t) => {
  const { bin, data } = withFakeNode(t);
  const env = { PATH: `${bin}${delimiter}${process.env.PATH}`, JARVIS_DATA_DIR: data };
  t.match(await run(ENTRYPOINT, ["serve"], { ...env, JARVIS_TOKEN: "mine" }), { stdout: /token file , token mine/ });
  t.match(await run(ENTRYPOINT, ["serve"], { ...env, JARVIS_TOKEN_FILE: "/run/secrets/t" }), {
    stdout: /token file \/run\/secrets\/t, token \n/,
  });
  t.throws(() => statSync(data), { code: "ENOENT" });
});

/** A data directory that is not there yet, and a `node` that tells what it was called with. */
function withFakeNode(t: Test): { bin: string; data: string } {
  const bin = t.testdir();
  writeFileSync(join(bin, "node"), '#!/bin/sh\necho "$@"\necho "token file $JARVIS_TOKEN_FILE, token $JARVIS_TOKEN"\n');
  chmodSync(join(bin, "node"), 0o755);
  return { bin, data: join(bin, "data") };
}

interface StandIn {
  readonly url: string;
  readonly seen: readonly string[];
  stop(): Promise<void>;
}

async function standIn(
  t: Test,
  answer: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<StandIn> {
  const seen: string[] = [];
  const server = createServer((request, response) => {
    seen.push(`${request.method} ${request.url}`);
    answer(request, response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const stop = async () => {
    if (!server.listening) return;
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  t.teardown(stop);
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, seen, stop };
}

async function run(
  script: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ status: number; stdout: string; stderr: string }> {
  const child = spawn("/bin/sh", [script, ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env.PATH, ...env },
  });
  const [stdout, stderr, [status]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, "close")]);
  return { status, stdout, stderr };
}
