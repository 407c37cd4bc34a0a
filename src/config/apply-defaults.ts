/**
 * Fills in what a schema has a default for. TypeBox's own `Value.Default` is not used: it turns a list that stands where
 * an object belongs into an object, and passes over the properties of a record's entries.
 */
import type { TSchema } from "@sinclair/typebox";

/**
 * A copy of `value` with the defaults of `schema` where something is absent. Never changes what is there, whatever its
 * type: telling that it is wrong is the check's work.
 */
export function applyDefaults(schema: TSchema, value: unknown): unknown {
  const given = value === undefined ? structuredClone(schema.default) : value;
  if (Array.isArray(given)) {
    return isSchema(schema.items) ? given.map((item) => applyDefaults(schema.items, item)) : given;
  }
  if (!isRecord(given) || schema.type !== "object") return given;

  const filled: Record<string, unknown> = { ...given };
  for (const [key, property] of Object.entries<TSchema>(schema.properties ?? {})) {
    const completed = applyDefaults(property, Object.hasOwn(given, key) ? given[key] : undefined);
    if (completed !== undefined) filled[key] = completed;
  }
  for (const [pattern, entry] of Object.entries<TSchema>(schema.patternProperties ?? {})) {
    const matching = new RegExp(pattern);
    for (const key of Object.keys(given)) {
      if (matching.test(key)) filled[key] = applyDefaults(entry, given[key]);
    }
  }
  return filled;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isSchema(value: unknown): value is TSchema {
  return isRecord(value);
}
