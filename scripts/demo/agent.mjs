// A stand-in for an agent's program: reads its prompt from standard input, "works" a moment, prints a result.
import { setTimeout as wait } from "node:timers/promises";

const [name = "agent"] = process.argv.slice(2);
let prompt = "";
for await (const chunk of process.stdin) prompt += chunk;
const title = prompt.split("\n", 1)[0].replace(/^# /, "");
process.stdout.write(`${name} is reading the task\n`);
await wait(300 + Math.random() * 700);
process.stdout.write(
  `Done: ${title} (${prompt.length} characters of prompt, session ${process.env.JARVIS_SESSION_ID})\n`,
);
