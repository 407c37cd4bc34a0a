/** The token that an agent calls back with: its session's id and an HMAC of it. Made when handed out, stored nowhere. */
import { createHmac, timingSafeEqual } from "node:crypto";

export function callbackToken(secret: Buffer, sessionId: string): string {
  return `${sessionId}.${signature(secret, sessionId)}`;
}

/** What stands in a stored answer where a session's token goes. Drawn at random, so that no text can name one. */
export const MARKERS = /callback-token-[0-9a-f]{32}/g;

/** So many markers, drawn in one go. */
export function newMarkers(count: number, random: (bytes: number) => Buffer): readonly string[] {
  const digits = random(16 * count).toString("hex");
  return Array.from({ length: count }, (_, i) => `callback-token-${digits.slice(32 * i, 32 * (i + 1))}`);
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
