/** Work that is verified before it counts, through the daemon as its user has it. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import t from "tap";
import { readOr, until } from "../support/agents.ts";
import { Home } from "../support/daemon.ts";

t.test("an agent's word is verified once, even when the daemon is killed meanwhile", async (t) => {
  const home = new Home(t);
  const workspace = home.path("project");
  mkdirSync(workspace);
  const check = home.script(
    "check",
    "#!/bin/sh\necho checked >> checks\nuntil [ -e verdict ]; do sleep 0.02; done\nexit $(cat verdict)\n",
  );
  home.configure({
    workspaceRoots: [home.directory],
    retry: { maxAttempts: 2, initialDelayMs: 0, maxDelayMs: 0 },
    verifiers: { tests: { command: [check] } },
    agents: { coder: { adapter: "cli", command: ["sh", "-c", "cat > prompt; echo 'It is done.'"] } },
  });
  let { client, ...daemon } = await restart();
  await client.post("/api/tasks", {
    id: "t1",
    title: "Do it",
    assignee: "coder",
    workspace,
    files: ["src"],
    verify: ["tests"],
  });
  const first = (await client.dispatch()).dispatched?.[0]?.sessionId ?? "";
  await until("it is being verified", () => readOr(`${workspace}/checks`, "") === "checked\n");
  t.match(await client.session(first), { status: "running", verify: ["tests"] });
  t.equal((await client.task("t1")).status, "in_progress", "what the agent says does not count yet");
  t.match(await client.get("/api/locks"), { locks: [{ sessionId: first, paths: ["src"] }] }, "nobody else works there");

  await daemon.kill();
  ({ client, ...daemon } = await restart());
  writeFileSync(`${workspace}/verdict`, "1");
  const refuted = await client.ended(first);
  t.match(refuted, { status: "failed", error: { code: "VERIFICATION_FAILED" }, result: "It is done." });
  t.equal(readOr(`${workspace}/checks`, ""), "checked\n", "run once, whatever was killed");
  t.match(await client.task("t1"), { status: "todo", attempts: 1 });

  writeFileSync(`${workspace}/verdict`, "0");
  const second = (await client.dispatch()).dispatched?.[0]?.sessionId ?? "";
  t.match(await client.ended(second), { status: "completed", result: "It is done." });
  t.match(await client.task("t1"), { status: "done" });
  t.match(
    readOr(`${workspace}/prompt`, ""),
    /VERIFICATION_FAILED[\s\S]*"tests" says no/,
    "the next attempt is told why",
  );
  t.match((await client.status()).metrics.byAgent, { coder: { dispatched: 2, completed: 1, failed: 1 } });
  t.same(home.livingRuns(), []);

  async function restart() {
    const started = await home.start();
    return { client: started.client, kill: () => started.kill() };
  }
});

t.test("a callback is verified too, of a program as of a sub-agent that runs elsewhere", async (t) => {
  const home = new Home(t);
  const workspace = home.path("project");
  mkdirSync(workspace);
  home.configure({
    workspaceRoots: [home.directory],
    verifiers: { made: { files: ["made"] } },
    agents: {
      local: { adapter: "cli", command: ["sleep", "600"], exitGraceMs: 0, killGraceMs: 100 },
      claude: { adapter: "spawn", via: "heartbeat" },
    },
  });
  const { client } = await home.start();
  for (const assignee of ["local", "claude"]) {
    for (const isThere of [false, true]) {
      const id = `${assignee}-${isThere}`;
      await client.post("/api/tasks", { id, title: "Make it", assignee, workspace, verify: ["made"], maxAttempts: 1 });
      const sessionId = (await client.dispatch({ taskIds: [id] })).dispatched?.[0]?.sessionId ?? "";
      if (assignee === "local")
        await client.until("it runs", async () => (await client.session(sessionId)).status === "running");
      if (isThere) writeFileSync(`${workspace}/made`, "");
      else rmSync(`${workspace}/made`, { force: true });
      const report = { taskId: id, sessionId, status: "completed", result: "made" };
      const told = await client.send("PUT", "/api/orchestrate", report);
      t.match(told, { status: 200, body: { newStatus: "in_progress" } }, id);
      t.match(await client.ended(sessionId), { status: isThere ? "completed" : "failed", result: "made" }, id);
      t.equal((await client.task(id)).status, isThere ? "done" : "todo", id);
      t.match(await client.send("PUT", "/api/orchestrate", report), { status: isThere ? 200 : 409 }, "told again");
    }
  }
  t.same(home.livingRuns(), []);
});
