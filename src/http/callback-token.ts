/** The token that an agent calls back with: its session's id and an HMAC of it. Made when handed out, stored nowhere. */
import { createHmac, timingSafeEqual } from "node:crypto";

export function callbackToken(secret: Buffer, sessionId: string): string {
  return `${sessionId}.${signature(secret, sessionId)}`;
}

/** The session that the token is for; `null` when it is not one of ours; `undefined` when it does not even look like one. */
export function sessionOfToken(secret: Buffer, token: string): string | null | undefined {
  const dot = token.lastIndexOf(".");
  if (dot === -1 || !token.startsWith("ses_")) return undefined;
  const sessionId = token.slice(0, dot);
  const given = Buffer.from(token.slice(dot + 1));
  const wanted = Buffer.from(signature(secret, sessionId));
  return given.length === wanted.length && timingSafeEqual(given, wanted) ? sessionId : null;
}

function signature(secret: Buffer, sessionId: string): string {
  return createHmac("sha256", secret).update(`callback:${sessionId}`).digest("base64url");
}
