#!/usr/bin/env node
/** The command `jarvis-orchestrator`. Its commands are in cli/, one file per group. */
import { runCommand } from "./cli/program.ts";
import { processTerminal } from "./cli/terminal.ts";

process.exitCode = await runCommand(process.argv.slice(2), processTerminal());
