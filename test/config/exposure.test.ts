import t from "tap";
import { checkExposure, isLoopbackHost, urlOf } from "../../src/config/exposure.ts";

t.test("without a token, only loopback may be listened on", async (t) => {
  for (const host of ["127.0.0.1", "127.1.2.3", "localhost", "LOCALHOST", "::1", "::ffff:127.0.0.1"]) {
    t.ok(isLoopbackHost(host), host);
    t.equal(checkExposure({ server: { host, port: 1 }, token: null }), null, host);
  }
  for (const host of [
    "0.0.0.0",
    "::",
    "10.0.0.1",
    "127.0.0.1.example.org",
    "localhost.example",
    "1127.0.0.1",
    "fe80::1",
  ]) {
    t.notOk(isLoopbackHost(host), host);
    t.match(
      checkExposure({ server: { host, port: 1 }, token: null }),
      { path: "server.host", found: `"${host}"` },
      host,
    );
    t.equal(checkExposure({ server: { host, port: 1 }, token: "0123456789abcdef" }), null, host);
  }
});

t.test("urlOf writes what a caller on this machine would", async (t) => {
  t.equal(urlOf("example.org", 80), "http://example.org:80");
  t.equal(urlOf("::1", 80), "http://[::1]:80");
  t.equal(urlOf("0.0.0.0", 80), "http://127.0.0.1:80");
  t.equal(urlOf("::", 80), "http://[::1]:80");
});
