import t from "tap";
import { createSpawnAdapter } from "../../src/agents/spawn.ts";
import { problemWith, testAgents } from "../support/agents.ts";
import { adapterContract } from "./adapter-contract.ts";

t.test("via process", async (t) => {
  adapterContract(t, { base: { adapter: "spawn", via: "process" }, create: createSpawnAdapter });
});

t.test("via heartbeat there is nothing here that could be missing", async (t) => {
  const { context, agent } = testAgents((cleanUp) => t.teardown(cleanUp), { adapter: "spawn", via: "heartbeat" });
  const adapter = createSpawnAdapter(context);
  t.equal(await problemWith(adapter, agent(null)), null);
  await adapter.close();
});
