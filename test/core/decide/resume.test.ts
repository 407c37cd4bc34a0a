/** Which attempts go on in the agent's own session, and when they come. */
import fc from "fast-check";
import t from "tap";
import { callback, runEnded } from "../../../src/core/decide/report.ts";
import { cancelSession } from "../../../src/core/decide/sessions.ts";
import { changeTask } from "../../../src/core/decide/tasks.ts";
import { classOf, isInterruption } from "../../../src/core/policy/error-class.ts";
import type { AgentSession, SessionError } from "../../../src/core/session.ts";
import { AGENTS, aRunningWorld, HOUR, START, start, type World } from "../world.ts";

const TOTALS = { inputTokens: 5, costUsd: 0.5 };
const OWN: AgentSession = { id: "own-1", totals: TOTALS };
const resuming = (names: readonly string[]) =>
  new Map(AGENTS.map((agent) => [agent.name, { ...agent, resume: names.includes(agent.name) }]));
const aWorldThatResumes = (names: readonly string[] = ["copilot", "gemini"]) =>
  aRunningWorld({}, { agents: resuming(names), retry: { maxAttempts: 9, initialDelayMs: 0, maxDelayMs: 0 } });

function fail(
  world: World,
  sessionId: string,
  error: SessionError,
  agentSession: AgentSession | undefined = OWN,
): void {
  world.must(runEnded({ sessionId, exit: { exitCode: 1 }, outcome: { status: "failed", error }, agentSession }));
}

t.test(
  "an attempt goes on where the one before was interrupted, by the same agent, in a session that is known",
  async (t) => {
    interface Case {
      readonly resume?: boolean;
      readonly code?: string;
      readonly assignee?: string;
      readonly isKnown?: boolean;
      readonly isReleased?: boolean;
    }
    const table: readonly (readonly [Case, resumes: boolean])[] = [
      [{}, true],
      [{ resume: false }, false],
      [{ code: "TIMED_OUT" }, true],
      [{ code: "SIGNAL" }, true],
      [{ code: "NETWORK" }, true],
      [{ code: "OVERLOADED" }, true],
      [{ code: "RATE_LIMIT" }, true],
      [{ code: "RUN_LOST" }, true],
      [{ code: "BROKEN_OFF" }, true],
      [{ code: "QUOTA" }, false],
      [{ code: "EMPTY_RESULT" }, false],
      [{ code: "AGENT_REPORTED" }, false],
      [{ code: "VERIFICATION_FAILED" }, false],
      [{ code: "RESUME_FAILED" }, false],
      [{ code: "OUTPUT_LIMIT" }, false],
      [{ assignee: "gemini" }, false],
      [{ isKnown: false }, false],
      [{ isReleased: true }, false],
      // A hold that was released begins anew, though what held it was an interruption.
      [{ isReleased: true, code: "SIGNAL" }, false],
    ];
    for (const [
      { resume = true, code = "EXIT_STATUS", assignee = "copilot", isKnown = true, isReleased },
      resumes,
    ] of table) {
      const what = JSON.stringify({ resume, code, assignee, isKnown, isReleased });
      const world = aWorldThatResumes(resume ? ["copilot", "gemini"] : ["gemini"]);
      world.must(
        runEnded({
          sessionId: world.sessionId,
          exit: {},
          outcome: { status: "failed", error: { code, message: "m" } },
          ...(isKnown ? { agentSession: OWN } : {}),
        }),
      );
      if (assignee !== "copilot") world.must(changeTask({ taskId: "t1", changes: { assignee } }));
      if (isReleased === true) {
        world.must(changeTask({ taskId: "t1", changes: { hold: { code: "HELD", message: "wait" } } }));
        world.must(changeTask({ taskId: "t1", changes: { hold: null } }));
        t.equal(world.task("t1").attempts, 0, what);
      }
      const next = world.session(start(world, "t1"));
      const expected = resumes ? { ...OWN, origin: world.sessionId } : undefined;
      t.same(next.resumes, expected, what);
      t.equal(resumes && !isInterruption(code), false, "nothing else is gone on with");
    }
  },
);

t.test("what was cancelled or called back as failed is not gone on with", async (t) => {
  const cancelled = aWorldThatResumes();
  cancelled.must(cancelSession(cancelled.sessionId, "diego"));
  fail(cancelled, cancelled.sessionId, { code: "SIGNAL", message: "killed" });
  cancelled.must(changeTask({ taskId: "t1", changes: { hold: null } }));
  t.equal(cancelled.session(start(cancelled, "t1")).resumes, undefined);

  const reported = aWorldThatResumes();
  reported.must(callback({ taskId: "t1", status: "failed", error: "I cannot" }));
  fail(reported, reported.sessionId, { code: "SIGNAL", message: "killed" });
  t.equal(reported.session(start(reported, "t1")).resumes, undefined, "its own word counts, not how its program ended");
});

t.test("a session that is gone on with again and again knows where it began, and its last totals", async (t) => {
  const world = aWorldThatResumes();
  fail(world, world.sessionId, { code: "SIGNAL", message: "m" });
  const second = start(world, "t1");
  fail(world, second, { code: "SIGNAL", message: "m" }, { id: "own-1" });
  const third = start(world, "t1");
  t.same(world.session(third).resumes, { ...OWN, origin: world.sessionId }, "who was killed told no totals");
  fail(world, third, { code: "SIGNAL", message: "m" }, { id: "own-1", totals: { inputTokens: 9 } });
  const fourth = start(world, "t1");
  t.same(world.session(fourth).resumes, { id: "own-1", totals: { inputTokens: 9 }, origin: world.sessionId });
  fail(world, fourth, { code: "RESUME_FAILED", message: "gone" });
  const fifth = start(world, "t1");
  t.equal(world.session(fifth).resumes, undefined);
  fail(world, fifth, { code: "SIGNAL", message: "m" }, { id: "own-2" });
  t.same(world.session(start(world, "t1")).resumes, { id: "own-2", origin: fifth }, "and that begins anew");
});

t.test("a task is never tried again before its provider takes requests again, nor before its own delay", async (t) => {
  const codes = fc.constantFrom("RATE_LIMIT", "QUOTA", "OVERLOADED", "NETWORK", "EXIT_STATUS");
  fc.assert(
    fc.property(codes, fc.option(fc.integer({ min: -HOUR, max: 40 * HOUR }), { nil: undefined }), (code, after) => {
      const world = aRunningWorld({}, { retry: { maxAttempts: 9, initialDelayMs: 10_000, maxDelayMs: 10_000 } });
      const resetAt = after === undefined ? undefined : START + after;
      fail(world, world.sessionId, { code, message: "m", ...(resetAt === undefined ? {} : { resetAt }) });
      const { retryAt, lastError } = world.task("t1");
      return retryAt === Math.max(START + 7500, resetAt ?? 0) && lastError?.resetAt === resetAt;
    }),
  );
  t.equal(classOf("RATE_LIMIT"), "rate_limit");
  const held = aRunningWorld();
  fail(held, held.sessionId, { code: "AUTH", message: "m", resetAt: START + HOUR });
  t.match(held.task("t1"), { retryAt: null, hold: { code: "AUTH" } }, "what a person has to mend has no time");
});
