/** The reference for HTTP: a bare Fastify that checks the body of a new task by the daemon's own schema and does nothing with it. */
import { type TypeBoxTypeProvider, TypeBoxValidatorCompiler } from "@fastify/type-provider-typebox";
import fastify from "fastify";
import { NewTask } from "../../src/api/task.ts";

const app = fastify().withTypeProvider<TypeBoxTypeProvider>().setValidatorCompiler(TypeBoxValidatorCompiler);
app.post("/api/tasks", { schema: { body: NewTask } }, async (request, reply) => {
  reply.code(201);
  return { id: "task", title: request.body.title, version: 1 };
});
app.get("/", async () => ({ hello: "world" }));
/** So many bytes that were made before: what it costs to send them, and nothing else. */
const made = new Map<number, Buffer>();
app.get<{ Params: { count: string } }>("/bytes/:count", async (request, reply) => {
  const count = Number(request.params.count);
  const bytes = made.get(count) ?? Buffer.alloc(count, "x");
  made.set(count, bytes);
  return reply.header("content-type", "application/json; charset=utf-8").send(bytes);
});
const url = await app.listen({ host: "127.0.0.1", port: 0 });
process.stdout.write(`${JSON.stringify({ msg: "listening", url })}\n`);
