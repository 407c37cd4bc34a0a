/** /api/agents: who can be dispatched to; pause, resume, check. */
import { Type } from "@sinclair/typebox";
import { closed, Name } from "../api/common.ts";
import { AgentCheck, AgentList, AgentPause, AgentQuery, Agent as AgentSchema } from "../api/orchestrate.ts";
import type { Agent } from "../core/agent.ts";
import { pauseAgent, resumeAgent } from "../core/decide/agents.ts";
import { accept } from "../core/decision.ts";
import { type Answers, json, type Rendered } from "./answers.ts";
import { optionalBody } from "./body.ts";
import { committed } from "./committed.ts";
import { page } from "./paging.ts";
import { ProblemError } from "./problems.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";
import { agentViews } from "./status.ts";

const tags = ["agents"];
const ByName = Type.Object({ name: Name }, closed);

export function agentRoutes(app: App, services: Services, answers: Answers): void {
  const { dispatcher, directory } = services;

  app.get(
    "/api/agents",
    { schema: { tags, summary: "the agents and their slots", querystring: AgentQuery, response: { 200: AgentList } } },
    async (request) => {
      const views = await committed(dispatcher, () => agentViews(services));
      const sorted = views.sort((a, b) => (a.agent < b.agent ? -1 : 1));
      const { records, nextCursor } = page({ records: sorted, key: (agent) => agent.agent }, request.query);
      return { agents: [...records], ...(nextCursor === undefined ? {} : { nextCursor }) };
    },
  );

  app.post(
    "/api/agents/:name/pause",
    {
      schema: {
        tags,
        summary: "dispatch nothing more to an agent",
        params: ByName,
        body: AgentPause,
        response: { 200: AgentSchema },
      },
      preValidation: optionalBody,
    },
    async (request, reply) => {
      const { name } = request.params;
      return answers.run(request, reply, pauseAgent(name, request.body.reason ?? "paused by a person"), () =>
        shown(name),
      );
    },
  );

  app.post(
    "/api/agents/:name/resume",
    { schema: { tags, summary: "dispatch to an agent again", params: ByName, response: { 200: AgentSchema } } },
    async (request, reply) => {
      const { name } = request.params;
      return answers.run(request, reply, resumeAgent(name), () => shown(name));
    },
  );

  app.post(
    "/api/agents/:name/check",
    {
      schema: {
        tags,
        summary: "can it be reached, is its program there",
        params: ByName,
        response: { 200: AgentCheck },
      },
    },
    async (request, reply) => {
      const { name } = request.params;
      const agent = directory.agent(name);
      if (agent === undefined) throw new ProblemError(404, "AGENT_NOT_FOUND", `no agent is called ${name}`);
      const findings = await directory.inspect(name);
      const problem = findings.find(({ state }) => state === "fail");
      const message = problem?.message ?? allIsWell(agent);
      const found = { agent: name, ok: problem === undefined, message, findings: findings.map((one) => ({ ...one })) };
      return answers.run(
        request,
        reply,
        () => accept([], () => found),
        (answer) => json(answer),
      );
    },
  );

  /** What was really looked at. */
  function allIsWell({ method }: Agent): string {
    if (method === null) return "works at the board and is never dispatched to: there is nothing to check";
    if (method === "sessions_spawn") return "is started by Jarvis at a heartbeat: there is nothing here to check";
    return "it can be reached and its program is there";
  }

  function shown(name: string): Rendered {
    return json(agentViews(services).find((agent) => agent.agent === name));
  }
}
