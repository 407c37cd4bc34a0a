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
const url = await app.listen({ host: "127.0.0.1", port: 0 });
process.stdout.write(`${JSON.stringify({ msg: "listening", url })}\n`);
