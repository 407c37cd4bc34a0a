/** `locks`: who holds which files. */
import type { Command } from "commander";
import { allPages } from "../api/client.ts";
import { type Context, connect, printJson } from "./context.ts";
import { table } from "./table.ts";
import { since } from "./time.ts";

export function addLocks(context: Context): Command {
  return context.program
    .command("locks")
    .description("list the locked files and who holds them")
    .option("--json", "print the API's JSON")
    .addHelpText("after", "\nExample:\n  $ jarvis-orchestrator locks")
    .action((options: { json?: boolean }) => list(context, options));
}

async function list(context: Context, options: { json?: boolean }): Promise<void> {
  const client = connect(context);
  const locks = await allPages(async (page) => {
    const { locks: items, nextCursor } = await client.locks(page);
    return { items, nextCursor };
  });
  if (options.json) return printJson(context, { locks });
  if (locks.length === 0) return context.terminal.print("nothing is locked");
  const now = context.terminal.now();
  context.terminal.print(
    table(
      context.terminal,
      [
        { title: "SESSION", of: ({ sessionId }) => sessionId },
        { title: "AGENT", of: ({ agent }) => agent, shrinks: true },
        { title: "MODE", of: ({ mode }) => mode },
        { title: "SINCE", of: ({ acquiredAt }) => since(acquiredAt, now), align: "right" },
        { title: "WORKSPACE", of: ({ workspace }) => workspace ?? "–", shrinks: true },
        { title: "PATHS", of: ({ paths }) => paths.join(" "), shrinks: true },
      ],
      locks,
    ),
  );
}
