/** API.md 2, "Who may call", for every route that there is: the list comes from the server, so a new route is in it. */
import { readFile } from "node:fs/promises";
import t from "tap";
import { callbackToken } from "../../src/http/callback-token.ts";
import { sameText } from "../../src/http/same-text.ts";
import type { TestServer } from "../support/server.ts";
import { type Ask, type Asking, HOST, serverFor, startTask } from "./ask.ts";

/** Open to anyone who reaches the port under a right name. */
const OPEN = new Set(["GET /healthz", "GET /readyz"]);
/** Open to whoever has yet to sign in. */
const SIGN_IN = new Set(["POST /api/sign-in", "POST /api/sign-out", "GET /"]);
/** What a callback token is good for; each checks that it is about its own session. */
const AGENTS = new Set([
  "PUT /api/orchestrate",
  "POST /api/tasks/:id/comments",
  "POST /api/sessions/:id/heartbeat",
  "POST /api/locks",
  "PUT /api/locks/:id",
  "DELETE /api/locks/:id",
]);

interface Route {
  readonly name: string;
  readonly method: string;
  readonly url: string;
}

/** Every route as the router has it. */
function routesOf({ app }: Pick<TestServer, "app">): Route[] {
  const routes: Route[] = [];
  const walk = (lines: readonly string[]) => {
    const path: string[] = [];
    for (const line of lines) {
      const [, indent = "", part = "", methods] = /^([│ ]*)(?:├──|└──) (\S*)(?: \(([A-Z, ]+)\))?/.exec(line) ?? [];
      path.splice(indent.length / 4);
      path.push(part);
      const pattern = path.join("");
      for (const method of methods?.split(", ") ?? []) {
        if (method === "HEAD") continue;
        const url = pattern.replace(":id", "ses_1").replace(":name", "claude").replace("*", "x");
        routes.push({ name: `${method} ${pattern}`, method, url });
      }
    }
  };
  walk(app.printRoutes({ commonPrefix: true }).split("\n"));
  return routes;
}

/** Whoever is let in gets whatever comes after the guard: never one of its refusals. */
async function isLetIn(ask: Ask, { method, url }: Route, asking: Asking = {}): Promise<boolean> {
  // A stream would not end: its HEAD goes the same way.
  const { status, body } = await ask(url === "/api/events" ? "HEAD" : method, url, asking);
  if (url === "/api/events") return status === 200;
  return !["UNAUTHORIZED", "NOT_LOCAL", "FORWARDED", "UNKNOWN_HOST", "FOREIGN_ORIGIN", "AGENT_TOKEN"].includes(
    body?.code,
  );
}

t.test("the list of routes is the server's own", async (t) => {
  const server = await serverFor(t);
  const names = routesOf(server).map(({ name }) => name);
  for (const name of [
    ...OPEN,
    ...SIGN_IN,
    ...AGENTS,
    "POST /api/orchestrate",
    "GET /metrics",
    "GET /openapi.json",
    "GET /api/events",
  ]) {
    t.ok(names.includes(name), name);
  }
  t.ok(names.length >= 30, `${names.length} routes`);
  const source = await readFile(new URL("../../src/http/tasks.ts", import.meta.url), "utf8");
  t.match(source, "app.patch(");
  t.ok(names.includes("PATCH /api/tasks/:id"));
});

t.test("without a token: programs on this machine, and nobody else", async (t) => {
  const server = await serverFor(t);
  const { ask } = server;
  const callers: [string, Asking, boolean][] = [
    ["a local program", {}, true],
    ["over IPv6", { from: "::1", headers: { host: "[::1]:3333" } }, true],
    ["over IPv4 in IPv6", { from: "::ffff:127.0.0.1" }, true],
    ["under another loopback address", { from: "127.8.9.1", headers: { host: "127.8.9.1:3333" } }, true],
    ["as localhost", { headers: { host: "localhost:3333" } }, true],
    ["as LOCALHOST", { headers: { host: "LocalHost" } }, true],
    ["a machine of the network", { from: "192.168.1.7" }, false],
    ["a machine of the network, over IPv6", { from: "fe80::1" }, false],
    ["an address that looks like loopback", { from: "::ffff:10.127.0.0" }, false],
    ["a proxy: X-Forwarded-For", { headers: { "x-forwarded-for": "127.0.0.1" } }, false],
    ["a proxy: empty X-Forwarded-For", { headers: { "x-forwarded-for": "" } }, false],
    ["a proxy: Forwarded", { headers: { forwarded: "for=127.0.0.1" } }, false],
    ["a proxy: X-Forwarded-Host", { headers: { "x-forwarded-host": "localhost" } }, false],
    ["a proxy: X-Forwarded-Proto", { headers: { "x-forwarded-proto": "https" } }, false],
    ["a proxy: X-Real-IP", { headers: { "x-real-ip": "127.0.0.1" } }, false],
    ["a proxy: Via", { headers: { via: "1.1 cache" } }, false],
    ["with a token that nobody set", { headers: { authorization: "Bearer whatever" } }, true],
    ["with a forged callback token", { headers: { authorization: "Bearer ses_000001.AAAA" } }, false],
  ];
  for (const route of routesOf(server)) {
    for (const [who, asking, wanted] of callers) {
      const forged = who === "with a forged callback token";
      const open = OPEN.has(route.name) || (forged && SIGN_IN.has(route.name));
      // Signing in makes no sense without a token, which it says in its own 401.
      if (route.name === "POST /api/sign-in" && wanted) continue;
      t.equal(await isLetIn(ask, route, asking), wanted || open, `${route.name}: ${who}`);
    }
  }
});

t.test("a name that is neither loopback nor configured is refused, whoever asks", async (t) => {
  const plain = await serverFor(t);
  const named = await serverFor(t, {
    token: "right",
    publicUrl: "https://Jarvis.example:8443/board",
    host: "192.168.1.2",
  });
  const names: [string, boolean, boolean][] = [
    ["127.0.0.1:3333", true, true],
    ["127.0.0.1", true, true],
    ["localhost:1", true, true],
    ["[::1]:3333", true, true],
    ["jarvis.example:8443", false, true],
    ["JARVIS.example", false, true],
    ["192.168.1.2:3333", false, true],
    ["evil.example", false, false],
    ["127.0.0.1.evil.example:3333", false, false],
    ["localhost.evil.example", false, false],
    ["evil.localhost", false, false],
    ["127.0.0.1@evil.example", false, false],
    ["127.0.0.1:3333@evil.example", false, false],
    ["evil.example:127.0.0.1", false, false],
    ["[::1].evil.example", false, false],
    ["[::1", false, false],
    ["0.0.0.0:3333", false, false],
    ["127.0.0.1 evil", false, false],
  ];
  for (const [host, onPlain, onNamed] of names) {
    const headers = { host };
    for (const route of routesOf(plain)) {
      const { body } = await plain.ask(route.url === "/api/events" ? "HEAD" : route.method, route.url, { headers });
      if (route.url !== "/api/events") t.equal(body?.code !== "UNKNOWN_HOST", onPlain, `${route.name} as ${host}`);
    }
    const { status } = await named.ask("GET", "/api/tasks", { headers: { ...headers, authorization: "Bearer right" } });
    t.equal(status, onNamed ? 200 : 421, `configured, as ${host}`);
  }
});

t.test("a browser's foreign page is refused, whatever the method and content type", async (t) => {
  const server = await serverFor(t);
  const pages: [string, Record<string, string>, boolean | "opens the page"][] = [
    ["our own page", { origin: `http://${HOST}`, "sec-fetch-site": "same-origin" }, true],
    ["our own page, GET", { "sec-fetch-site": "same-origin" }, true],
    [
      "typed into the address bar",
      { "sec-fetch-site": "none", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" },
      true,
    ],
    ["a foreign page", { origin: "http://evil.example" }, false],
    ["a foreign page, plain form", { origin: "http://evil.example", "content-type": "text/plain" }, false],
    ["a foreign page, told by its site alone", { "sec-fetch-site": "cross-site" }, "opens the page"],
    [
      "an image on a foreign page",
      { "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image" },
      false,
    ],
    [
      "a frame on a foreign page",
      { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe" },
      false,
    ],
    ["another local server's page", { origin: "http://127.0.0.1:8080", "sec-fetch-site": "same-site" }, false],
    ["another local server's page, no Origin", { "sec-fetch-site": "same-site" }, "opens the page"],
    ["a sandboxed frame", { origin: "null" }, false],
    ["https for http", { origin: `https://${HOST}` }, false],
    ["localhost for 127.0.0.1", { origin: "http://localhost:3333" }, false],
    ["an origin that begins like ours", { origin: `http://${HOST}.evil.example` }, false],
    ["an origin with a user", { origin: `http://${HOST}@evil.example` }, false],
    ["an empty origin", { origin: "" }, false],
    ["an extension", { origin: "chrome-extension://abc" }, false],
    ["a site that nobody knows", { "sec-fetch-site": "far-away" }, "opens the page"],
    [
      "a link on a foreign page",
      { "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" },
      "opens the page",
    ],
  ];
  for (const route of routesOf(server)) {
    for (const [who, headers, wanted] of pages) {
      if (route.name === "POST /api/sign-in" && wanted === true) continue;
      const letIn = wanted === true || (wanted === "opens the page" && route.name === "GET /");
      t.equal(await isLetIn(server.ask, route, { headers }), letIn, `${route.name}: ${who}`);
    }
  }
  t.equal((await server.ask("GET", "/?x=1", { headers: { "sec-fetch-site": "same-site" } })).status, 200);
  t.equal((await server.ask("POST", "/", { headers: { "sec-fetch-site": "cross-site" } })).status, 403);
});

t.test("behind a proxy with TLS the origin is the public one, and only under its name", async (t) => {
  const { ask } = await serverFor(t, { token: "right", publicUrl: "https://jarvis.example/board" });
  const put = async (host: string, origin: string) =>
    (await ask("POST", "/api/orchestrate", { headers: { host, origin, authorization: "Bearer right" } })).status;
  t.equal(await put("jarvis.example", "https://jarvis.example"), 200);
  t.equal(
    await put("jarvis.example", "http://jarvis.example"),
    403,
    "whoever owns the plain port of that name owns not the page",
  );
  t.equal(await put("jarvis.example", "http://127.0.0.1:3333"), 403);
  t.equal(await put(HOST, "https://jarvis.example"), 403);
  t.equal(await put(HOST, `http://${HOST}`), 200);
  t.equal(await put("jarvis.example:8443", "https://jarvis.example"), 403);
});

t.test("with a token: whoever shows it, from wherever, and nobody else", async (t) => {
  const server = await serverFor(t, { token: "right" });
  const { ask } = server;
  const callers: [string, Asking, boolean][] = [
    ["none", {}, false],
    ["right", { headers: { authorization: "Bearer right" } }, true],
    ["right, in small letters", { headers: { authorization: "bearer right" } }, true],
    [
      "right, over a proxy and from afar",
      { from: "10.0.0.9", headers: { authorization: "Bearer right", "x-forwarded-for": "1.2.3.4" } },
      true,
    ],
    ["wrong", { headers: { authorization: "Bearer wrong" } }, false],
    ["a prefix", { headers: { authorization: "Bearer righ" } }, false],
    ["longer", { headers: { authorization: "Bearer right1" } }, false],
    ["without a scheme", { headers: { authorization: "right" } }, false],
    ["another scheme", { headers: { authorization: "Basic right" } }, false],
    ["empty", { headers: { authorization: "Bearer " } }, false],
    ["in a cookie", { headers: { cookie: "jarvis_session=right" } }, false],
    ["a forged callback token", { headers: { authorization: "Bearer ses_000001.AAAA" } }, false],
  ];
  for (const route of routesOf(server)) {
    const open = OPEN.has(route.name) || SIGN_IN.has(route.name);
    for (const [which, asking, wanted] of callers) {
      if (route.name === "POST /api/sign-in") continue;
      t.equal(await isLetIn(ask, route, asking), wanted || open, `${route.name}: ${which}`);
    }
    const inUrl = { ...route, url: `${route.url}?token=right&access_token=right` };
    if (!open) t.equal(await isLetIn(ask, inUrl), false, `${route.name}: in the URL`);
  }
  const { status, headers } = await ask("GET", "/api/tasks");
  t.equal(status, 401);
  t.match(headers["www-authenticate"], /^Bearer/);
  t.equal((await ask("GET", "/nothing/here")).status, 401, "what there is and is not is nobody else's business");
});

t.test("an operator's token that looks like an agent's is the operator's all the same", async (t) => {
  const { ask } = await serverFor(t, { token: "ses_cret.token" });
  t.equal((await ask("GET", "/api/tasks", { headers: { authorization: "Bearer ses_cret.token" } })).status, 200);
});

t.test("a browser signs in once, and out again", async (t) => {
  const server = await serverFor(t, { token: "right" });
  const { ask, knobs } = server;
  const signIn = (token: string, headers = {}) => ask("POST", "/api/sign-in", { body: { token }, headers });
  t.equal((await signIn("wrong")).status, 401);
  t.equal((await signIn("wrong")).headers["set-cookie"], undefined);
  t.equal((await signIn("right", { origin: "http://evil.example" })).status, 403);

  const signedIn = await signIn("right");
  t.equal(signedIn.status, 204);
  const [pair = "", ...flags] = String(signedIn.headers["set-cookie"]).split("; ");
  t.match(pair, /^jarvis_session=[\w-]{43}$/);
  t.same(flags.sort(), ["HttpOnly", "Max-Age=2592000", "Path=/", "SameSite=Strict"]);
  t.notMatch(pair, "right");

  const cookie = { headers: { cookie: `other=1; ${pair}` } };
  for (const route of routesOf(server)) {
    if (!SIGN_IN.has(route.name)) t.equal(await isLetIn(ask, route, cookie), true, route.name);
  }
  t.match((await ask("GET", "/")).text, /has a token/);
  t.notMatch((await ask("GET", "/", cookie)).text, /has a token/);
  const foreign = await ask("POST", "/api/orchestrate", {
    headers: { ...cookie.headers, origin: "http://localhost:8080" },
  });
  t.equal(foreign.status, 403, "a cookie does not make a foreign page ours");
  const agentless = await ask("GET", "/api/tasks", { headers: { ...cookie.headers, authorization: "Bearer wrong" } });
  t.equal(agentless.status, 401, "a wrong token is not made up for");

  const other = String((await signIn("right")).headers["set-cookie"]).split(";")[0] ?? "";
  t.not(other, pair, "random each time");
  t.equal((await ask("POST", "/api/sign-out", cookie)).status, 204);
  t.equal((await ask("GET", "/api/tasks", cookie)).status, 401, "signed out");
  t.equal((await ask("GET", "/api/tasks", { headers: { cookie: other } })).status, 200, "the other browser is not");

  knobs.config = { ...knobs.config, token: "changed" };
  t.equal(
    (await ask("GET", "/api/tasks", { headers: { cookie: other } })).status,
    401,
    "another token signs everybody out",
  );
  knobs.config = { ...knobs.config, token: "right" };
  knobs.now += 30 * 24 * 60 * 60 * 1000;
  t.equal((await ask("GET", "/api/tasks", { headers: { cookie: other } })).status, 401, "it does not last for ever");
});

t.test("over TLS the cookie is for TLS only", async (t) => {
  const { ask } = await serverFor(t, { token: "right", publicUrl: "https://jarvis.example" });
  const { headers } = await ask("POST", "/api/sign-in", {
    body: { token: "right" },
    headers: { host: "jarvis.example" },
  });
  t.match(headers["set-cookie"], /; Secure/);
});

for (const token of [undefined, "right"]) {
  t.test(
    `a callback token reaches what is its session's, and nothing else (${token === undefined ? "no" : "a"} token set)`,
    async (t) => {
      const server = await serverFor(t, token === undefined ? {} : { token });
      const operator = token === undefined ? {} : { headers: { authorization: `Bearer ${token}` } };
      const asOperator: Ask = (method, url, asking = {}) =>
        server.ask(method, url, { ...asking, headers: { ...operator.headers, ...asking.headers } });
      const mine = await startTask(asOperator);
      const headers = { authorization: `Bearer ${callbackToken(server.secret, mine.sessionId)}` };
      t.ok(mine.prompt.includes(callbackToken(server.secret, mine.sessionId)), "it is in the prompt");
      for (const route of routesOf(server)) {
        const wanted = AGENTS.has(route.name) || OPEN.has(route.name);
        t.equal(await isLetIn(server.ask, route, { headers }), wanted, route.name);
      }
      t.equal((await server.ask("GET", "/nothing", { headers })).status, 403);
      const cookie = { ...headers, origin: "http://evil.example" };
      t.equal(
        (await server.ask("PUT", "/api/orchestrate", { headers: cookie })).status,
        403,
        "from no foreign page either",
      );
    },
  );
}

t.test("a callback token is not one when a single bit of it is off, or its key is another", async (t) => {
  const server = await serverFor(t);
  const { sessionId, taskId } = await startTask(server.ask);
  const good = callbackToken(server.secret, sessionId);
  const report = async (token: string) =>
    (
      await server.ask("PUT", "/api/orchestrate", {
        body: { taskId, status: "running" },
        headers: { authorization: `Bearer ${token}` },
      })
    ).status;
  const flipped = good.slice(0, -5) + (good.at(-5) === "A" ? "B" : "A") + good.slice(-4);
  for (const bad of [
    flipped,
    good.slice(0, -1),
    `${good}A`,
    good.replace(sessionId, "ses_999999"),
    callbackToken(Buffer.alloc(32), sessionId),
    `${sessionId}.`,
    `${sessionId}.${sessionId}`,
  ]) {
    t.equal(await report(bad), 401, bad);
  }
  t.equal(await report(good), 200);
});

t.test("secrets are compared in constant time", async (t) => {
  t.equal(sameText("a", "a"), true);
  t.equal(sameText("a", "b"), false);
  t.equal(sameText("a", "a much longer one"), false);
  t.equal(sameText("", ""), true);
  for (const file of ["same-text.ts", "callback-token.ts"]) {
    t.match(await readFile(new URL(`../../src/http/${file}`, import.meta.url), "utf8"), "timingSafeEqual");
  }
});
