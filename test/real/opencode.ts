import { driveProgram } from "./driver.ts";

await driveProgram("opencode");
