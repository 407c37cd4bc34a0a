import { driveProgram } from "./driver.ts";

await driveProgram("gemini");
