/**
 * What the stub model does. A marker in the conversation says it:
 *
 *     [[PLAIN text]]                 answers with the text; without a marker it counts the words
 *     [[TOOL command]]               calls the program's shell tool; after its result: TOOL-RESULT: <first 200 characters>
 *     [[WRITE path content]]         the same with the program's tool for writing files
 *     [[CALL tool {"json": 1}]]      the same with the tool of that name, offered or not
 *     [[LOOP command]]               calls the shell tool again and again
 *     [[SLOW ms text]]               spreads its answer over that time
 *     [[HANG]]                       never answers
 *     [[CUT text]]                   drops the connection in the middle of its answer
 *     [[EMPTY]]                      an answer without text
 *     [[HUGE bytes]]                 an answer of that many bytes that does not repeat itself: programs look for loops
 *     [[FAIL 429 quota x1 retry-after=7]]  fails with that status: the first time only, and says when to come back. All but the
 *                                    status may be missing; any other word (`#2`) makes it a marker that counts for itself.
 *     [[OVERFLOW]]                   refuses the conversation as too long for the model
 */
import { type Fields, fields, list, text } from "./json.ts";

/** What a program sent, in none of the wire formats. */
export interface Conversation {
  /** The user's side of it, oldest first. */
  readonly said: readonly Said[];
  readonly tools: readonly Tool[];
}

export interface Said {
  readonly kind: "text" | "tool-result";
  readonly text: string;
}

export interface Tool {
  readonly name: string;
  /** Takes bare text, no arguments with names. */
  readonly freeform: boolean;
  /** Its arguments, as a JSON schema. */
  readonly schema: Fields;
}

export type Reply =
  | { readonly kind: "text"; readonly text: string }
  | { readonly kind: "call"; readonly tool: string; readonly freeform: boolean; readonly args: Fields };

export interface Fault {
  readonly status: number;
  /** A word that picks another reason for the same status: `quota`, `plan`, `key`, `overflow`. */
  readonly reason: string;
  readonly retryAfterSeconds: number | undefined;
}

export type Behaviour =
  | { readonly kind: "answer"; readonly reply: Reply; readonly overMs: number; readonly cut: boolean }
  | { readonly kind: "fail"; readonly fault: Fault }
  | { readonly kind: "hang" };

/** The same in every answer, in the words of each format. `input` includes what came out of the cache. */
export const USAGE = { input: 1200, cached: 200, output: 50, reasoning: 10 } as const;

const MARKER = /\[\[([A-Z]+)(?:\s+([\s\S]*?))?\]\]/;

/** `failures` remembers how often each marker has failed. */
export function behaviour(conversation: Conversation, failures: Map<string, number>): Behaviour {
  const { said } = conversation;
  const index = said.findLastIndex(({ kind, text }) => kind === "text" && MARKER.test(text));
  const [marker = "", name = "", rest = ""] = MARKER.exec(said[index]?.text ?? "") ?? [];
  const result = said.slice(index + 1).findLast(({ kind }) => kind === "tool-result");
  const answer = (reply: Reply, overMs = 0, cut = false): Behaviour => ({ kind: "answer", reply, overMs, cut });
  const say = (text: string, overMs = 0, cut = false) => answer({ kind: "text", text }, overMs, cut);
  const afterwards = (call: Reply) => (result ? say(`TOOL-RESULT: ${result.text.slice(0, 200)}`) : answer(call));

  switch (name) {
    case "PLAIN":
      return say(rest);
    case "TOOL":
      return afterwards(shellCall(conversation.tools, rest));
    case "WRITE":
      return afterwards(writeCall(conversation.tools, rest));
    case "CALL": {
      const [, tool = "", args = "{}"] = /^(\S+)\s*([\s\S]*)$/.exec(rest) ?? [];
      return afterwards({ kind: "call", tool, freeform: false, args: fields(JSON.parse(args)) });
    }
    case "LOOP": {
      const turn = said.slice(index + 1).length + 1;
      return answer(shellCall(conversation.tools, rest === "" ? `echo turn ${turn}` : rest));
    }
    case "SLOW": {
      const [, ms = "1000", words = ""] = /^(\d+)\s*([\s\S]*)$/.exec(rest) ?? [];
      return say(words === "" ? `${prose(400)} Done slowly.` : words, Number(ms));
    }
    case "HANG":
      return { kind: "hang" };
    case "CUT":
      return say(rest === "" ? prose(400) : rest, 0, true);
    case "EMPTY":
      return say("");
    case "HUGE":
      return say(prose(Number(rest)));
    case "FAIL":
      // Some programs ask for a title beside, without tools: that must not use up the one failure that was meant for the work.
      return fail(`${marker}${conversation.tools.length > 0}`, rest, failures) ?? say("All done: after a failure.");
    case "OVERFLOW":
      return { kind: "fail", fault: { status: 400, reason: "overflow", retryAfterSeconds: undefined } };
    default: {
      const words =
        said
          .findLast(({ kind }) => kind === "text")
          ?.text.split(/\s+/)
          .filter(Boolean) ?? [];
      return say(`All done: ${words.length} words.`);
    }
  }
}

function fail(key: string, rest: string, failures: Map<string, number>): Behaviour | undefined {
  const words = rest.split(/\s+/);
  const times = Number(words.find((word) => /^x\d+$/.test(word))?.slice(1) ?? Number.POSITIVE_INFINITY);
  const failed = failures.get(key) ?? 0;
  if (failed >= times) return undefined;
  failures.set(key, failed + 1);
  const retryAfter = words.find((word) => word.startsWith("retry-after="))?.slice("retry-after=".length);
  return {
    kind: "fail",
    fault: {
      status: Number(words[0] ?? 500),
      reason: words.slice(1).find((word) => /^[a-z]+$/.test(word)) ?? "",
      retryAfterSeconds: retryAfter === undefined ? undefined : Number(retryAfter),
    },
  };
}

/** By whatever name the program has it, best first. */
const SHELL_TOOLS = ["Bash", "run_shell_command", "bash", "exec_command", "shell_command", "shell", "exec"];
const WRITE_TOOLS = ["Write", "write_file", "write", "create"];

function shellCall(tools: readonly Tool[], command: string): Reply {
  const tool = offered(tools, SHELL_TOOLS);
  if (tool === undefined) return { kind: "text", text: "NO-SHELL-TOOL" };
  return call(tool, (name) => (name === "command" || name === "cmd" ? command : undefined));
}

function writeCall(tools: readonly Tool[], rest: string): Reply {
  const [, path = "", content = ""] = /^(\S+)\s*([\s\S]*)$/.exec(rest) ?? [];
  const tool = offered(tools, WRITE_TOOLS);
  if (tool === undefined) return shellCall(tools, `printf '%s' '${content}' > '${path}'`);
  return call(tool, (name) => {
    if (/path/i.test(name)) return path;
    return /content|text/i.test(name) ? content : undefined;
  });
}

function offered(tools: readonly Tool[], names: readonly string[]): Tool | undefined {
  return names.map((name) => tools.find((tool) => tool.name === name)).find((tool) => tool !== undefined);
}

/** Fills in what `argument` knows, and something for whatever else the tool insists on. */
function call(tool: Tool, argument: (name: string) => string | undefined): Reply {
  const properties = fields(tool.schema["properties"]);
  const required = Array.isArray(tool.schema["required"]) ? tool.schema["required"] : [];
  const args: Record<string, unknown> = {};
  for (const [name, schema] of Object.entries(properties)) {
    const known = argument(name);
    const type = text(fields(schema)["type"]).toLowerCase();
    if (known !== undefined) args[name] = type === "array" ? ["sh", "-c", known] : known;
    else if (required.includes(name))
      args[name] = type === "boolean" ? false : type === "string" ? "What was asked for" : 10;
  }
  return { kind: "call", tool: tool.name, freeform: tool.freeform, args };
}

/** Text of that many bytes in which no line comes twice. */
function prose(bytes: number): string {
  const words =
    "queue task agent retry lease lock board cost slot order journal event session policy budget token".split(" ");
  const lines: string[] = [];
  let seed = 1;
  for (let length = 0, line = 1; length < bytes; line++) {
    const sentence = Array.from({ length: 9 }, () => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return words[(seed >> 16) % words.length];
    });
    lines.push(`${line}. The ${sentence.join(" ")}.`);
    length += (lines.at(-1)?.length ?? 0) + 1;
  }
  return lines.join("\n").slice(0, bytes);
}

/** What streams send one after the other. Half of it is enough to have begun, when the connection is cut. */
export function pieces(words: string, count: number): readonly string[] {
  const size = Math.max(1, Math.ceil(words.length / count));
  return Array.from({ length: Math.ceil(words.length / size) }, (_, index) =>
    words.slice(index * size, (index + 1) * size),
  );
}

/** Tools as most formats list them. */
export function readTools(tools: unknown, schemaName: string): readonly Tool[] {
  return list(tools).map((tool) => ({
    name: text(tool["name"]),
    freeform: tool["type"] === "custom",
    schema: fields(tool[schemaName]),
  }));
}
