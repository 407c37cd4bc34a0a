import { driveProgram } from "./driver.ts";

await driveProgram("codex");
