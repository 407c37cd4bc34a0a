import { join } from "node:path";
import t from "tap";
import { createSshAdapter } from "../../src/agents/ssh.ts";
import { skipWithoutSshd, startSshd } from "../support/sshd.ts";
import { adapterContract } from "./adapter-contract.ts";

// Connections and login shells take their time where two tests share a core.
t.setTimeout(300_000);

t.test("over a real OpenSSH server", { skip: skipWithoutSshd() }, async (t) => {
  const sshd = await startSshd();
  t.teardown(() => sshd.stop());
  adapterContract(t, {
    base: { adapter: "ssh", ssh: sshd.settings },
    create: createSshAdapter,
    remoteDirectory: (sessionId) => join(sshd.settings.runDirectory, sessionId),
  });
});
