import t from "tap";
import { createCliAdapter } from "../../src/agents/cli.ts";
import { adapterContract } from "./adapter-contract.ts";

adapterContract(t, { base: { adapter: "cli" }, create: createCliAdapter });
