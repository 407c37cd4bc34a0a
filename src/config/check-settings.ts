/** The schema check: a value read from somewhere → settings, or what is wrong with it in words. */
import type { Static, TSchema } from "@sinclair/typebox";
import { Errors, type ValueError, ValueErrorType } from "@sinclair/typebox/errors";
import { type ConfigProblem, showKey, showValue } from "./config-error.ts";
import { nearest } from "./nearest.ts";

export type Checked<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly problems: readonly ConfigProblem[] };

/**
 * Checks `value` against `schema` without changing it. `name` stands for the value in the messages: a flag, a variable;
 * empty for the whole of the settings, whose keys then speak for themselves.
 */
export function checkAgainst<T extends TSchema>(schema: T, value: unknown, name = ""): Checked<Static<T>> {
  const problems = new Map<string, ConfigProblem>();
  for (const error of Errors(schema, value)) {
    if (!problems.has(error.path)) problems.set(error.path, describe(error, schema, value, name));
  }
  return problems.size === 0 ? { ok: true, value } : { ok: false, problems: [...problems.values()] };
}

function describe(error: ValueError, schema: TSchema, value: unknown, name: string): ConfigProblem {
  const steps = pointerSteps(error.path);
  const path = showPath(steps, value, name);
  const key = steps.at(-1);
  if (key !== undefined && error.type === ValueErrorType.ObjectAdditionalProperties) {
    return describeUnknownKey(path, key, schemaAt(schema, steps.slice(0, -1)));
  }
  const choices = literalChoices(error.schema);
  const meant = typeof error.value === "string" ? nearest(error.value, choices) : null;
  return {
    path,
    // Variables handed to agents may be secrets: their values stay out of messages.
    found: steps.at(-2) === "env" ? "something else" : showValue(error.value),
    wanted: describeWanted(error.schema),
    meant: meant ?? undefined,
  };
}

function describeUnknownKey(path: string, key: string, parent: TSchema | null): ConfigProblem {
  const found = "an unknown key";
  if (typeof parent?.wantedKeys === "string") return { path, found, wanted: parent.wantedKeys };
  const known = Object.keys(parent?.properties ?? {});
  return { path, found, wanted: `one of ${known.join(", ")}`, meant: nearest(key, known) ?? undefined };
}

/** What a schema asks for, in words. */
function describeWanted(schema: TSchema): string {
  if (typeof schema.wanted === "string") return schema.wanted;
  const choices = literalChoices(schema);
  if (choices.length > 0) return orList(choices.map((choice) => JSON.stringify(choice)));
  switch (schema.type) {
    case "integer":
      return `a whole number${range(schema)}`;
    case "number":
      return `a number${range(schema)}`;
    case "string":
      return schema.maxLength === undefined
        ? "a text"
        : `a text of ${schema.minLength ?? 0} to ${schema.maxLength} characters`;
    case "boolean":
      return "true or false";
    case "array":
      return schema.minItems === undefined ? "a list" : `a list of ${schema.minItems} to ${schema.maxItems} entries`;
    default:
      return "an object";
  }
}

function range(schema: TSchema): string {
  if (schema.minimum === undefined) return "";
  return schema.maximum === undefined
    ? ` of at least ${schema.minimum}`
    : ` from ${schema.minimum} to ${schema.maximum}`;
}

function literalChoices(schema: TSchema): string[] {
  const options: unknown[] = Array.isArray(schema.anyOf) ? schema.anyOf : [schema];
  return options.flatMap((option) =>
    typeof option === "object" && option !== null && "const" in option && typeof option.const === "string"
      ? [option.const]
      : [],
  );
}

function orList(words: readonly string[]): string {
  return words.length < 2 ? words.join("") : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** The schema that stands at a path; `null` where the path leaves what the schema knows. */
function schemaAt(schema: TSchema, steps: readonly string[]): TSchema | null {
  let current: TSchema | undefined = schema;
  for (const step of steps) {
    const entries: Record<string, TSchema> = current.patternProperties ?? {};
    current = current.properties?.[step] ?? current.items ?? Object.values(entries)[0];
    if (current === undefined) return null;
  }
  return current;
}

/** The steps of a JSON pointer (RFC 6901). */
function pointerSteps(pointer: string): string[] {
  return pointer
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

/** `agents.gemini.ssh.port`, `humans[2]`. */
function showPath(steps: readonly string[], value: unknown, name: string): string {
  let path = name;
  let current = value;
  for (const step of steps) {
    path += Array.isArray(current) ? `[${step}]` : showKey(step);
    current = typeof current === "object" && current !== null ? Reflect.get(current, step) : undefined;
  }
  if (path === "") return "(the whole file)";
  return path.startsWith(".") ? path.slice(1) : path;
}
