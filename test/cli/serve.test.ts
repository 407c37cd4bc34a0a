import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { Home } from "../support/daemon.ts";

t.test("a daemon says where it listens, once in its log and for the command in a file, until it stops", async (t) => {
  const home = new Home(t);
  const daemon = await home.start();
  const file = join(home.data, "listening.json");
  t.same(JSON.parse(readFileSync(file, "utf8")), { url: daemon.url, pid: daemon.pid });
  t.equal(statSync(file).mode & 0o777, 0o600);
  t.equal(daemon.log.filter(({ msg }) => /listening/i.test(msg)).length, 1);

  const found = await home.run(["status"]);
  t.match(found, { code: 0, stderr: "" });
  t.match(found.stdout, daemon.url);
  t.equal((await daemon.stop()).code, 0);
  t.notOk(existsSync(file));
  t.notOk(existsSync(`${file}.new`));
});

t.test("a host that cannot be listened on is named with what gave it", async (t) => {
  const home = new Home(t);
  const frame = "error: the configuration cannot be used\n  server.host: found ";
  const open = home.launch({ args: ["--host", "nope.invalid"] });
  t.equal((await open.exited).code, 2);
  t.ok(
    open.stderr.startsWith(`${frame}"nope.invalid", given by --host, which is no loopback address, without a token`),
  );
  const guarded = home.launch({
    args: [],
    env: { JARVIS_HOST: "nope.invalid", JARVIS_TOKEN: "a-token-of-some-length" },
  });
  t.equal((await guarded.exited).code, 1);
  t.ok(guarded.stderr.startsWith(`${frame}"nope.invalid", given by JARVIS_HOST, which is no address of this machine`));
});
