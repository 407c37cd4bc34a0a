/** Pieces that the wire's schemas share. The schemas check requests, are the types, and become the OpenAPI document. */
import { type TLiteral, type TSchema, type TUnion, Type } from "@sinclair/typebox";

/** What every object in a request is: a key that is not known is refused and named. */
export const closed = { additionalProperties: false } as const;

export const Id = Type.String({
  pattern: "^[A-Za-z0-9._-]{1,64}$",
  description: "1 to 64 letters, digits, dots, underscores and hyphens",
});
export const Time = Type.String({ description: "ISO 8601, UTC" });
export const Name = Type.String({
  pattern: "^[A-Za-z0-9._-]{1,64}$",
  description: "1 to 64 letters, digits, dots, underscores and hyphens",
});

/** One of a few words. */
export function OneOf<const T extends readonly string[]>(
  words: T,
  options: { readonly description?: string } = {},
): TUnion<{ -readonly [I in keyof T]: TLiteral<T[I]> }> {
  return Type.Union(
    words.map((word) => Type.Literal(word)),
    options,
  ) as unknown as TUnion<{
    -readonly [I in keyof T]: TLiteral<T[I]>;
  }>;
}

export function Nullable<T extends TSchema>(schema: T) {
  return Type.Union([schema, Type.Null()]);
}

export const LIST_LIMIT = 50;
export const LIST_LIMIT_MAX = 500;

/** The paging of every list. */
export const Page = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: LIST_LIMIT_MAX, description: `default ${LIST_LIMIT}` })),
  cursor: Type.Optional(Type.String({ maxLength: 500, description: "the nextCursor of the page before" })),
};

export const NextCursor = Type.Optional(Type.String({ description: "there is more: hand it in as cursor" }));

/** RFC 9457. */
export const Problem = Type.Object(
  {
    type: Type.String(),
    title: Type.String(),
    status: Type.Integer(),
    detail: Type.String(),
    code: Type.String({ description: "stable, for programs" }),
    errors: Type.Optional(Type.Array(Type.Object({ path: Type.String(), message: Type.String() }))),
    outcome: Type.Optional(Type.Literal("unknown")),
  },
  { additionalProperties: true },
);
