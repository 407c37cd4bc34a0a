import t from "tap";
import { startSshd } from "../support/sshd.ts";
import { driveProgram } from "./driver.ts";

const sshd = await startSshd();
t.teardown(() => sshd.stop());
await driveProgram("gemini", { settings: { adapter: "ssh", ssh: sshd.settings } });
