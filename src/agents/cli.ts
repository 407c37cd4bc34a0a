/** The `cli` adapter: a program on this machine, run to its end. */
import type { AgentAdapter } from "../dispatcher/ports.ts";
import type { AdapterContext } from "./adapter-context.ts";
import { createLocalAdapter } from "./local/adapter.ts";

export function createCliAdapter(context: AdapterContext): AgentAdapter {
  return createLocalAdapter("cli", context);
}
