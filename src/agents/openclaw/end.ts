/** How a child ended, as the end of a run. */
import type { SessionError } from "../../core/session.ts";
import type { RunEnd } from "../../dispatcher/ports.ts";
import { toSentence } from "../agent-problem.ts";
import { classify, errorOf } from "../output/trouble.ts";
import type { ChildState } from "./children.ts";
import type { Transcript } from "./transcript.ts";

export type StopReason = "stopped" | "timed-out" | "too-long";

export interface EndedChild {
  readonly state: Exclude<ChildState, "running">;
  /** The gateway's words for why it failed. */
  readonly error: string | null;
  readonly sessionKey: string;
  /** Why we cancelled it, if we did. */
  readonly stopReason: StopReason | null;
  readonly transcript: Pick<Transcript, "lastText" | "lastError" | "usage">;
}

export function endOfChild(child: EndedChild): RunEnd {
  const { transcript, state, stopReason } = child;
  const { usage } = transcript;
  const said = resultOf(child);
  const common = {
    exit: {},
    ...(usage === undefined ? {} : { usage }),
  } as const;
  if (state === "done") return { ...common, outcome: { status: "completed", result: said ?? "(no output)" } };

  const result = said === null ? {} : { result: said };
  if (state === "killed" && stopReason !== null) {
    const status = stopReason === "timed-out" ? "timed_out" : "failed";
    return { ...common, outcome: { status, error: STOPPED[stopReason], ...result } };
  }
  if (state === "timeout") {
    const message = "the gateway ended it, since its time was over (runTimeoutSeconds)";
    return { ...common, outcome: { status: "timed_out", error: { code: "TIMED_OUT", message }, ...result } };
  }
  if (state === "killed") {
    const message = "somebody cancelled it at the gateway, not through this daemon";
    return { ...common, outcome: { status: "failed", error: { code: "CANCELLED_THERE", message }, ...result } };
  }
  return { ...common, outcome: { status: "failed", error: failure(child), ...result } };
}

const STOPPED: Readonly<Record<StopReason, SessionError>> = {
  stopped: { code: "STOPPED", message: "it was stopped" },
  "timed-out": { code: "TIMED_OUT", message: "its total time (timeoutMs) was over, and it was stopped" },
  "too-long": { code: "OUTPUT_LIMIT", message: "stopped: its transcript passed the limit (maxOutputBytes)" },
};

/** The last text, with what is to be known of one that is not whole. */
function resultOf({ transcript, sessionKey }: EndedChild): string | null {
  const { lastText } = transcript;
  if (lastText === null) return null;
  if (!lastText.isCut) return lastText.text.trim();
  return `${lastText.text.trim()}\n\n[Cut by the gateway, which hands out the beginning of a long text only. All of it is in its session ${sessionKey}. A result that the agent reports by callback is whole.]`;
}

/** The gateway's list cuts its words short; its transcript has them whole. */
function failure({ error, transcript }: EndedChild): SessionError {
  const words = toSentence((transcript.lastError ?? error ?? "").replace(/^This turn ended before a reply: /, ""));
  // Its words depend on how far the child had come.
  if (/interrupted by a Gateway restart|lost active execution context/i.test(error ?? "")) {
    const message = `the OpenClaw gateway went down while it was at work; what it did until then is done: ${toSentence(error ?? "")}`;
    return { code: "GATEWAY_RESTARTED", message };
  }
  if (/HTTP 401|HTTP 403|authentication failed|auth\/billing failure/i.test(words)) {
    const message = `the gateway's model provider does not let it in; look at the provider's key in the OpenClaw gateway's settings: ${words}`;
    return { code: "PROVIDER_AUTHENTICATION_FAILED", message };
  }
  if (/HTTP 429|rate.?limit/i.test(words)) {
    return { code: "PROVIDER_RATE_LIMITED", message: `the gateway's model provider limits it: ${words}` };
  }
  const errorClass = classify({ message: words });
  if (errorClass !== "unknown") return errorOf(errorClass, words);
  const message =
    words === "" ? "it failed at the gateway, which does not say why" : `it failed at the gateway: ${words}`;
  return { code: "AGENT_FAILED", message };
}
