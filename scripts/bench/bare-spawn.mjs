// The reference for a dispatch: a small process that does nothing but `spawn`, and tells when it began to.

import { spawn } from "node:child_process";

process.on("message", ([program, ...args]) => {
  const startedAt = process.hrtime.bigint();
  spawn(program, args, { stdio: "ignore" });
  process.send(String(startedAt));
});
process.once("disconnect", () => process.exit());
process.send("ready");
