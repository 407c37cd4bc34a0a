/** Runs a command and sends its answer, once for each `Idempotency-Key`. */
import { createHash } from "node:crypto";
import type { FastifyReply, FastifyRequest } from "fastify";
import type { Command } from "../core/decision.ts";
import type { RecordedAnswer } from "../core/event.ts";
import { ANSWERS_KEPT_MS } from "../core/ledger.ts";
import type { State } from "../core/state.ts";
import { callbackToken, MARKERS } from "./callback-token.ts";
import { callerSession } from "./guard.ts";
import { ProblemError, problemOf } from "./problems.ts";
import type { Services } from "./services.ts";

export interface Rendered {
  readonly status: number;
  readonly body: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Markers in the body that stand for callback tokens, which are never stored. */
  readonly secrets?: RecordedAnswer["secrets"];
}

const NONE: RecordedAnswer["secrets"] = [];

/** Renders a value as the JSON body of an answer. */
export function json(value: unknown, status = 200, headers?: Readonly<Record<string, string>>): Rendered {
  return { status, body: JSON.stringify(value), ...(headers === undefined ? {} : { headers }) };
}

type Render<A> = (answer: A, state: State) => Rendered;

export class Answers {
  readonly #services: Services;
  /** The newest request of each key that is under way: the next one waits for it. */
  readonly #underWay = new Map<string, Promise<unknown>>();

  constructor(services: Services) {
    this.#services = services;
  }

  /** Executes the command and sends what `render` makes of its answer; the same key within a day gets the same again. */
  async run<A>(
    request: FastifyRequest,
    reply: FastifyReply,
    command: Command<A>,
    render: Render<A>,
  ): Promise<FastifyReply> {
    const key = request.method === "POST" ? request.headers["idempotency-key"] : undefined;
    if (key === undefined) return this.#send(reply, await this.#execute(command, render));
    if (typeof key !== "string" || key.length === 0 || key.length > 255) {
      throw new ProblemError(400, "INVALID_REQUEST", "Idempotency-Key must be 1 to 255 characters");
    }
    const scope = scopeOf(request, key);
    const before = this.#underWay.get(scope);
    const mine = (async () => {
      await before?.catch(() => undefined);
      return this.#once(request, reply, scope, command, render);
    })();
    this.#underWay.set(scope, mine);
    try {
      return await mine;
    } finally {
      if (this.#underWay.get(scope) === mine) this.#underWay.delete(scope);
    }
  }

  /** Nobody else is at this scope meanwhile: an answer that is known is on disk, and one that is not stays unknown until this executes. */
  async #once<A>(
    request: FastifyRequest,
    reply: FastifyReply,
    scope: string,
    command: Command<A>,
    render: Render<A>,
  ): Promise<FastifyReply> {
    const { dispatcher, now } = this.#services;
    const bodyHash = hash(JSON.stringify(request.body ?? null));
    const known = dispatcher.state.ledger.answers.get(scope);
    if (known === undefined || known.answeredAt + ANSWERS_KEPT_MS <= now()) {
      return this.#send(reply, await this.#execute(command, render, { key: scope, bodyHash }));
    }
    if (known.bodyHash !== bodyHash) {
      throw new ProblemError(
        422,
        "IDEMPOTENCY_KEY_REUSED",
        "this Idempotency-Key was used with another body; use a new key for a new request",
      );
    }
    reply.header("idempotency-replayed", "true");
    return this.#send(reply, known);
  }

  /** The answer, rendered on the state that the command left, not on what others made of it while it was written. */
  async #execute<A>(
    command: Command<A>,
    render: Render<A>,
    record?: { readonly key: string; readonly bodyHash: string },
  ): Promise<Rendered> {
    const rendering: Command<Rendered> = (state, context) => {
      const decision = command(state, context);
      return decision.ok ? { ...decision, answer: (after) => render(decision.answer(after), after) } : decision;
    };
    const executed = await this.#services.dispatcher.execute(
      rendering,
      record === undefined
        ? undefined
        : ({ status, body, headers = {}, secrets = NONE }) => ({ ...record, status, headers, body, secrets }),
    );
    if (!executed.ok) throw problemOf(executed.refusal);
    return executed.answer;
  }

  #send(reply: FastifyReply, { status, body, headers, secrets }: Rendered): FastifyReply {
    reply.code(status);
    if (headers !== undefined) reply.headers(headers);
    if (body === "") return reply.send();
    const text =
      secrets === undefined || secrets.length === 0 ? body : withTokens(body, secrets, this.#services.secret);
    return reply.header("content-type", "application/json; charset=utf-8").send(text);
  }
}

/** The body with the tokens in the markers' place. One walk for all of them: a dispatch may hand out hundreds. */
function withTokens(body: string, secrets: RecordedAnswer["secrets"], key: Buffer): string {
  const tokens = new Map(secrets.map(({ marker, sessionId }) => [marker, callbackToken(key, sessionId)]));
  return body.replace(MARKERS, (marker) => tokens.get(marker) ?? marker);
}

/** Method, path, caller and key: whoever shares not all of them shares no answer. */
function scopeOf(request: FastifyRequest, key: string): string {
  const path = request.url.split("?", 1)[0]?.replace(/\/$/, "");
  return hash(JSON.stringify([request.method, path, callerSession(request) ?? "operator", key]));
}

function hash(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}
