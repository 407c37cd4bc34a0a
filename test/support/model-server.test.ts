/** The stub model: what the tests with real agents rely on. */
import { test } from "tap";
import { startModelServer } from "./model-server.ts";

const KEY = { authorization: "Bearer dummy", "content-type": "application/json" };
const SHELL = { type: "object", properties: { command: { type: "string" } }, required: ["command"] };

/** How each wire format asks: the address, and the body of a conversation that may have had a tool's result. */
const FORMATS: Record<string, (said: string, result?: string) => { path: string; body: unknown }> = {
  anthropic: (said, result) => ({
    path: "/v1/messages",
    body: {
      stream: true,
      tools: [{ name: "Bash", input_schema: SHELL }],
      messages: [
        { role: "user", content: said },
        ...(result ? [{ role: "user", content: [{ type: "tool_result", content: result }] }] : []),
      ],
    },
  }),
  gemini: (said, result) => ({
    path: "/v1beta/models/gemini-2.5-pro:streamGenerateContent?alt=sse",
    body: {
      tools: [{ functionDeclarations: [{ name: "run_shell_command", parametersJsonSchema: SHELL }] }],
      contents: [
        { role: "user", parts: [{ text: said }] },
        ...(result ? [{ role: "user", parts: [{ functionResponse: { response: { output: result } } }] }] : []),
      ],
    },
  }),
  chat: (said, result) => ({
    path: "/v1/chat/completions",
    body: {
      stream: true,
      tools: [{ type: "function", function: { name: "bash", parameters: SHELL } }],
      messages: [{ role: "user", content: said }, ...(result ? [{ role: "tool", content: result }] : [])],
    },
  }),
  responses: (said, result) => ({
    path: "/v1/responses",
    body: {
      stream: true,
      tools: [{ type: "function", name: "exec_command", parameters: SHELL }],
      input: [
        { role: "user", content: [{ type: "input_text", text: said }] },
        ...(result ? [{ type: "function_call_output", output: result }] : []),
      ],
    },
  }),
};

/** The text of a stream, whatever each piece of it is called. */
function words(stream: string): string {
  return [...stream.matchAll(/"(?:text|content|delta)":"([^"]*)"/g)].map(([, piece]) => piece).join("");
}

for (const [name, ask] of Object.entries(FORMATS)) {
  test(`${name}: answers, calls the shell, and tells its result`, async (t) => {
    const server = await startModelServer();
    t.teardown(() => server.close());
    const post = async (said: string, result?: string) => {
      const { path, body } = ask(said, result);
      const response = await fetch(server.url + path, { method: "POST", headers: KEY, body: JSON.stringify(body) });
      return { status: response.status, headers: response.headers, text: await response.text() };
    };
    t.match(words((await post("[[PLAIN hi there]]")).text), "hi there");
    t.match(words((await post("three plain words")).text), "All done: 3 words.");
    t.match((await post("[[TOOL echo 1]]")).text, "echo 1");
    t.match(words((await post("[[TOOL echo 1]]", "one")).text), "TOOL-RESULT: one");
    t.equal(words((await post("[[EMPTY]]")).text), "");

    const limited = await post("[[FAIL 429 x1 retry-after=7]]");
    t.equal(limited.status, 429);
    t.equal(limited.headers.get("retry-after"), "7");
    t.equal((await post("[[FAIL 429 x1 retry-after=7]]")).status, 200, "it fails once");
    t.equal((await post("[[FAIL 503]]")).status, 503);
    t.equal((await post("[[OVERFLOW]]")).status, 400);
    await t.rejects(post("[[CUT]]"), "the connection is dropped");
    t.equal(server.requests.length, 10);
  });
}

test("who sends no key is refused", async (t) => {
  const server = await startModelServer();
  t.teardown(() => server.close());
  const response = await fetch(`${server.url}/v1/messages`, { method: "POST", body: "{}" });
  t.equal(response.status, 401);
});

test("a huge answer has its size, and no line twice", async (t) => {
  const server = await startModelServer();
  t.teardown(() => server.close());
  const body = JSON.stringify({ messages: [{ role: "user", content: "[[HUGE 100000]]" }] });
  const response = await fetch(`${server.url}/v1/chat/completions`, { method: "POST", headers: KEY, body });
  const answer = (await response.json()) as { choices: { message: { content: string } }[] };
  const text = answer.choices[0]?.message.content ?? "";
  t.equal(text.length, 100_000);
  t.equal(new Set(text.split("\n")).size, text.split("\n").length);
});

test("closing ends what hangs", async (t) => {
  const server = await startModelServer();
  const body = JSON.stringify({ messages: [{ role: "user", content: "[[HANG]]" }] });
  const hanging = fetch(`${server.url}/v1/messages`, { method: "POST", headers: KEY, body });
  while (server.requests.length === 0) await new Promise(setImmediate);
  await server.close();
  await t.rejects(hanging);
});
