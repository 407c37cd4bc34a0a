import { driveProgram } from "./driver.ts";

await driveProgram("codex", { settings: { adapter: "spawn", via: "process" } });
