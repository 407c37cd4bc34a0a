/** Our scripts on the host: in a directory named by their content, so that versions stand side by side and none is ever changed. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import type { ClientChannel } from "ssh2";
import { ASSETS } from "../../location.ts";
import { AgentProblem, hostWords } from "../agent-problem.ts";
import { WRAPPER_FILE } from "../wrapper.ts";
import type { SshPool } from "./pool.ts";
import { type SshTarget, targetName } from "./target.ts";

interface Scripts {
  readonly files: readonly { readonly name: string; readonly content: Buffer }[];
  readonly directory: string;
}

let scripts: Scripts | undefined;

/** The line that starts `host.sh` there. Ids and paths in it are words that every login shell takes as they are. */
export function hostCommand(target: SshTarget, ...words: readonly string[]): string {
  return ["/bin/sh", `${scriptDirectory(target)}/host.sh`, ...words].join(" ");
}

/** Puts the scripts there. Throws an `AgentProblem`. */
export async function installScripts(pool: SshPool, target: SshTarget): Promise<void> {
  const directory = scriptDirectory(target);
  for (const { name, content } of loadScripts().files) {
    const { code, stderr } = await runCommand(
      await pool.exec(installCommand(directory, name, content.length)),
      content,
    );
    if (code !== 0) {
      const why = hostWords(stderr) || `status ${code}`;
      throw new AgentProblem(
        "HOST_UNREACHABLE",
        `${targetName(target)} does not let us write to ${target.runDirectory}: ${why}`,
      );
    }
  }
}

/**
 * The line that writes a file of so many bytes there, whole or not at all: a cut connection leaves too few. In single quotes, with
 * nothing inside that some login shell takes for more than text.
 */
export function installCommand(directory: string, name: string, bytes: number): string {
  const fresh = `${directory}/${name}.$$`;
  const write = `cat >${fresh} && test $(wc -c <${fresh}) -eq ${bytes} && mv -f ${fresh} ${directory}/${name}`;
  return `/bin/sh -c 'umask 077; mkdir -p ${directory} && ${write}'`;
}

export interface CommandResult {
  /** `undefined` when the connection was cut before the command's end. */
  readonly code: number | undefined;
  readonly stdout: string;
  readonly stderr: string;
}

/** What is kept of each stream of a command that is expected to say little. */
const OUTPUT_BYTES_MAX = 64 * 1024;

/** Gives a command its whole standard input and waits for its end. */
export async function runCommand(channel: ClientChannel, input: string | Buffer): Promise<CommandResult> {
  let code: number | undefined;
  const streams = [channel, channel.stderr].map((stream) => {
    const output = { text: "" };
    stream.on("data", (chunk: Buffer) => {
      if (output.text.length < OUTPUT_BYTES_MAX) output.text += chunk.toString("utf8");
    });
    return output;
  });
  channel.once("exit", (status: number | null) => {
    code = status ?? undefined;
  });
  await new Promise<void>((resolve) => {
    channel.once("close", resolve);
    // A command that does not read to the end is judged by its status.
    channel.on("error", () => {});
    channel.end(input);
  });
  return { code, stdout: streams[0]?.text ?? "", stderr: streams[1]?.text ?? "" };
}

function scriptDirectory(target: SshTarget): string {
  return `${target.runDirectory.replace(/\/+$/, "")}/${loadScripts().directory}`;
}

function loadScripts(): Scripts {
  scripts ??= readScripts();
  return scripts;
}

function readScripts(): Scripts {
  const files = [
    { name: "run.sh", content: readFileSync(WRAPPER_FILE) },
    // Last: where it is, everything is.
    { name: "host.sh", content: readFileSync(new URL("agents/ssh/host.sh", ASSETS)) },
  ];
  const hash = createHash("sha256");
  for (const { content } of files) hash.update(content);
  return { files, directory: `.scripts-${hash.digest("hex").slice(0, 16)}` };
}
