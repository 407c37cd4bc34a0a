/** A person stops and resumes dispatching to an agent. */
import { accept, type Command, refuse } from "../decision.ts";

export function pauseAgent(agent: string, reason: string): Command<null> {
  return (state, context) => {
    const known = context.agents.get(agent);
    if (known === undefined) return refuse("AGENT_NOT_FOUND", `no agent is called ${agent}`);
    if (known.method === null)
      return refuse("NOT_DISPATCHABLE", `${agent} works at the board and is never dispatched to`);
    if (state.ledger.pauses.has(agent)) return accept([], () => null);
    return accept(
      [{ type: "agent.paused", at: context.now, agent, pause: { reason, pausedAt: context.now } }],
      () => null,
    );
  };
}

export function resumeAgent(agent: string): Command<null> {
  return (state, context) => {
    if (!context.agents.has(agent)) return refuse("AGENT_NOT_FOUND", `no agent is called ${agent}`);
    if (!state.ledger.pauses.has(agent)) return accept([], () => null);
    return accept([{ type: "agent.resumed", at: context.now, agent }], () => null);
  };
}
