/** Starts a run on the host: `host.sh start`, which reads all that came from a task on its standard input. */
import { AgentProblem, hostWords } from "../agent-problem.ts";
import type { RunLimits } from "../run-directory.ts";
import { inputName, wholeSeconds } from "../wrapper.ts";
import { hostCommand, runCommand } from "./host-scripts.ts";
import type { SshPool } from "./pool.ts";
import { type SshTarget, targetName } from "./target.ts";

export interface RemoteStart {
  readonly sessionId: string;
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly prompt: string;
  readonly promptOnStdin: boolean;
  /** `run`: the run directory. A task's `workspace` must lie under one of the roots, an agent's `workdir` may be anywhere. */
  readonly place: { readonly kind: "run" } | { readonly kind: "workspace" | "workdir"; readonly path: string };
  readonly roots: readonly string[];
  readonly limitMs: number;
  readonly graceMs: number;
  readonly leftovers: RunLimits["leftovers"];
}

/** `null` = it was started, now or before; else the word for why it was not, and then nothing runs. */
export async function startRemotely(pool: SshPool, target: SshTarget, start: RemoteStart): Promise<string | null> {
  const channel = await pool.exec(hostCommand(target, "start", start.sessionId));
  const { code, stdout, stderr } = await runCommand(channel, encodeStart(start));
  const answer = stdout.trimEnd().split("\n").at(-1) ?? "";
  if (answer === "started" || answer === "begun") return null;
  const refused = /^refused ([A-Z_]{1,40})$/.exec(answer)?.[1];
  if (refused !== undefined && refused !== "INCOMPLETE") return refused;
  // Whether it was started is not known: whoever asks again looks for it first.
  const why =
    code === undefined || refused !== undefined ? "the connection was cut" : hostWords(stderr) || `status ${code}`;
  throw new AgentProblem("HOST_UNREACHABLE", `${targetName(target)} did not say that it started the program: ${why}`);
}

/** The head of host.sh says what the lines mean. Texts go as a number of lines, so that none can pass for another line. */
function encodeStart(start: RemoteStart): Buffer {
  const { kind } = start.place;
  const prompt = Buffer.from(start.prompt);
  const head = [
    `limit ${wholeSeconds(start.limitMs)}`,
    `grace ${wholeSeconds(start.graceMs)}`,
    `leftovers ${start.leftovers}`,
    `input ${inputName(start.promptOnStdin)}`,
    ...start.roots.map((root) => text("root", root)),
    ...(kind === "run" ? [] : [text(kind, start.place.path)]),
    ...start.argv.map((argument) => text("arg", argument)),
    ...Object.entries(start.env).map(([name, value]) => text(`env ${name}`, value)),
    `prompt ${prompt.length}`,
  ];
  return Buffer.concat([Buffer.from(`${head.join("\n")}\n`), prompt]);
}

function text(key: string, value: string): string {
  return `${key} ${value.split("\n").length}\n${value}`;
}
