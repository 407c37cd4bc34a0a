/** Checks requests against their schemas, which are the types of the wire; what is wrong is named in words and by JSON pointer. */
import type { TSchema } from "@sinclair/typebox";
import { TypeCompiler, type ValueError, ValueErrorType } from "@sinclair/typebox/compiler";
import type { FastifyRequest, FastifySchemaCompiler } from "fastify";
import { type FieldProblem, invalidFields } from "./problems.ts";

/** A body may hold hundreds of thousands of mistakes: the first few are looked for and named. */
const PROBLEMS_MAX = 20;

/** Nothing in a body is changed or left out: it fits or it is refused. Queries and parameters are text: numbers and booleans are read from it. */
export const compileValidator: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  const compiled = TypeCompiler.Compile(schema);
  const isRead = httpPart !== "body" && hasOtherThanText(schema);
  return (given: unknown) => {
    const value = isRead ? fromText(schema, given as Readonly<Record<string, unknown>>) : given;
    if (compiled.Check(value)) return { value };
    return { error: problemsOf(compiled.Errors(value)) as never };
  };
};

function problemsOf(errors: Iterable<ValueError>): readonly FieldProblem[] {
  const problems = new Map<string, FieldProblem>();
  for (const error of errors) {
    const problem = explain(error);
    if (!problems.has(problem.path)) problems.set(problem.path, problem);
    if (problems.size === PROBLEMS_MAX) break;
  }
  return [...problems.values()];
}

function explain(error: ValueError): FieldProblem {
  const { type, schema, path } = error;
  if (type === ValueErrorType.Union) {
    const variants = schema.anyOf as readonly TSchema[];
    const words = variants.flatMap((one) => ("const" in one ? [JSON.stringify(one.const)] : []));
    if (words.length > 0) return { path, message: `must be one of ${words.join(", ")}` };
    // Of "something or null", what is wrong with the something is what helps.
    const inner = variants.at(-1)?.type === "null" ? error.errors[0]?.First() : undefined;
    if (inner !== undefined) return explain(inner);
    return { path, message: `must be ${variants.map((one) => one.type).join(" or ")}` };
  }
  return { path: path === "" ? "/" : path, message: wording(error) };
}

function wording({ type, schema, message }: ValueError): string {
  switch (type) {
    case ValueErrorType.ObjectAdditionalProperties:
      return "is not a known field";
    case ValueErrorType.ObjectRequiredProperty:
      return "is required";
    case ValueErrorType.ObjectMinProperties:
      return "must name at least one field";
    case ValueErrorType.StringPattern:
      return `must be ${schema.description ?? "another text"} (${schema.pattern})`;
    default:
      return lowerFirst(message);
  }
}

function lowerFirst(message: string): string {
  return message.charAt(0).toLowerCase() + message.slice(1);
}

function hasOtherThanText({ properties = {} }: TSchema): boolean {
  return Object.values(properties as Readonly<Record<string, TSchema>>).some(
    ({ type }) => type === "integer" || type === "boolean",
  );
}

function fromText(schema: TSchema, given: Readonly<Record<string, unknown>>): unknown {
  const value: Record<string, unknown> = { ...given };
  for (const [name, text] of Object.entries(given)) {
    const type = (schema.properties as Readonly<Record<string, TSchema>> | undefined)?.[name]?.type;
    if (type === "integer" && typeof text === "string" && /^-?\d{1,15}$/.test(text)) value[name] = Number(text);
    if (type === "boolean" && (text === "true" || text === "1")) value[name] = true;
    if (type === "boolean" && (text === "false" || text === "0")) value[name] = false;
  }
  return value;
}

/** For a route that takes no body: none, or an empty object. */
export function refuseBody(request: FastifyRequest): void {
  const { body } = request;
  if (body === undefined) return;
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw invalidFields([{ path: "/", message: "this call takes no body" }]);
  }
  const fields = Object.keys(body).slice(0, PROBLEMS_MAX);
  if (fields.length > 0) {
    throw invalidFields(fields.map((field) => ({ path: `/${escapePointer(field)}`, message: "is not a known field" })));
  }
}

function escapePointer(key: string): string {
  return key.replaceAll("~", "~0").replaceAll("/", "~1");
}
