/** Signing in the page: the operator's token once, then a random cookie that can be taken back. */
import { createHash } from "node:crypto";
import { Type } from "@sinclair/typebox";
import type { FastifyRequest } from "fastify";
import { closed } from "../api/common.ts";
import { ProblemError } from "./problems.ts";
import { sameText } from "./same-text.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";

const COOKIE = "jarvis_session";
const LIFETIME_MS = 30 * 24 * 60 * 60 * 1000;
const SIGN_INS_MAX = 100;

/** The cookies that are good, as hashes. They live in memory, and each is good for the token it was got with only: a restart or another token signs everybody out. */
export class SignIns {
  readonly #expiryByHash = new Map<string, number>();

  add(cookie: string, token: string, now: number): void {
    if (this.#expiryByHash.size >= SIGN_INS_MAX)
      this.#expiryByHash.delete(this.#expiryByHash.keys().next().value ?? "");
    this.#expiryByHash.set(hash(cookie, token), now + LIFETIME_MS);
  }

  has(cookie: string | undefined, token: string, now: number): boolean {
    if (cookie === undefined) return false;
    const expiry = this.#expiryByHash.get(hash(cookie, token));
    return expiry !== undefined && expiry > now;
  }

  remove(cookie: string | undefined, token: string): void {
    if (cookie !== undefined) this.#expiryByHash.delete(hash(cookie, token));
  }
}

export function cookieOf(request: FastifyRequest): string | undefined {
  for (const part of request.headers.cookie?.split(";") ?? []) {
    const [name, value] = part.trim().split("=", 2);
    if (name === COOKIE) return value;
  }
  return undefined;
}

export function signInRoutes(app: App, services: Services, signIns: SignIns): void {
  app.post(
    "/api/sign-in",
    {
      config: { signIn: true },
      schema: { body: Type.Object({ token: Type.String({ minLength: 1, maxLength: 4096 }) }, closed), tags: ["page"] },
    },
    async (request, reply) => {
      const { token } = services.config();
      if (token === null || !sameText(request.body.token, token))
        throw new ProblemError(401, "UNAUTHORIZED", "the token is wrong");
      const cookie = services.random(32).toString("base64url");
      signIns.add(cookie, token, services.now());
      const secure = services.config().server.publicUrl?.startsWith("https:") === true ? "; Secure" : "";
      reply.header(
        "set-cookie",
        `${COOKIE}=${cookie}; Path=/; HttpOnly; SameSite=Strict; Max-Age=${LIFETIME_MS / 1000}${secure}`,
      );
      return reply.code(204).send();
    },
  );
  app.post("/api/sign-out", { config: { signIn: true }, schema: { tags: ["page"] } }, async (request, reply) => {
    const { token } = services.config();
    if (token !== null) signIns.remove(cookieOf(request), token);
    reply.header("set-cookie", `${COOKIE}=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0`);
    return reply.code(204).send();
  });
}

/** Neither can be told from it. */
function hash(cookie: string, token: string): string {
  return createHash("sha256").update(`${cookie.length}:${cookie}${token}`).digest("base64");
}
