/** /api/tasks/:id/diff and /api/tasks/:id/worktree: what is answered for everything that can be found. */
import t from "tap";
import type { TaskDiff, WorktreeRemoval } from "../../src/dispatcher/ports.ts";
import { callbackToken } from "../../src/http/callback-token.ts";
import { addTask, serverFor, startTask } from "./ask.ts";

const DIFF: TaskDiff = {
  taskId: "t",
  branch: "jarvis/t",
  base: "b".repeat(40),
  head: "c".repeat(40),
  files: [{ path: "a", status: "modified", additions: 1, deletions: null }],
  diff: Buffer.from([0x2b, 0xff, 0x0a]),
  truncated: true,
};

t.test("a diff as JSON and as the bytes that it is", async (t) => {
  const asked: unknown[] = [];
  const worktrees = {
    diff: async (taskId: string, bytesMax: number) => {
      asked.push([taskId, bytesMax]);
      return DIFF;
    },
    remove: async () => "none" as const,
  };
  const { ask } = await serverFor(t, { worktrees });
  const shown = await ask("GET", "/api/tasks/t/diff");
  t.same(shown.body, { ...DIFF, diff: "+\ufffd\n" });
  const patch = await ask("GET", "/api/tasks/t/diff?format=patch");
  t.match(patch.headers, { "content-type": "text/plain; charset=utf-8", "x-truncated": "true" });
  t.same(asked, [
    ["t", 1024 * 1024],
    ["t", 32 * 1024 * 1024],
  ]);
  t.equal((await ask("GET", "/api/tasks/t/diff?format=html")).status, 400);
  t.equal((await ask("GET", "/api/tasks/t/diff?what=1")).status, 400);
});

t.test("there is none, or it cannot be read", async (t) => {
  let fails = false;
  const diff = async () => {
    if (fails) throw new Error("git diff failed: /home/me/secret");
    return null;
  };
  const { ask, logged } = await serverFor(t, { worktrees: { diff, remove: async () => "none" } });
  const taskId = await addTask(ask);
  t.match(await ask("GET", `/api/tasks/${taskId}/diff`), { status: 404, body: { code: "WORKTREE_NOT_FOUND" } });
  t.match(await ask("DELETE", `/api/tasks/${taskId}/worktree`), { status: 404, body: { code: "WORKTREE_NOT_FOUND" } });
  t.match(await ask("DELETE", "/api/tasks/nobody/worktree"), { status: 404, body: { code: "TASK_NOT_FOUND" } });
  fails = true;
  t.match(await ask("GET", `/api/tasks/${taskId}/diff`), { status: 409, body: { code: "WORKTREE_UNREADABLE" } });
  t.match(logged, [{ facts: { taskId } }]);
});

t.test("removing: each answer has its code, and an active session is one", async (t) => {
  let answer: WorktreeRemoval = "removed";
  let isFree: (() => boolean) | null = null;
  const forced: boolean[] = [];
  const remove = async (_id: string, options: { force: boolean; isFree: () => boolean }) => {
    forced.push(options.force);
    isFree = options.isFree;
    return answer;
  };
  const { ask, secret } = await serverFor(t, { worktrees: { diff: async () => null, remove } });
  const { taskId, sessionId } = await startTask(ask);
  const url = `/api/tasks/${taskId}/worktree`;
  t.equal((await ask("DELETE", `${url}?force=true`)).status, 204);
  t.equal((isFree as (() => boolean) | null)?.(), false);
  for (const [told, code] of [
    ["busy", "SESSION_ACTIVE"],
    ["uncommitted", "WORKTREE_NOT_MERGED"],
    ["unmerged", "WORKTREE_NOT_MERGED"],
    ["locked", "WORKTREE_LOCKED"],
    ["not_ours", "WORKTREE_REPLACED"],
  ] as const) {
    answer = told;
    t.match(await ask("DELETE", url), { status: 409, body: { code } });
  }
  t.same(forced, [true, false, false, false, false, false]);
  t.equal((await ask("DELETE", `${url}?force=maybe`)).status, 400);
  const headers = { authorization: `Bearer ${callbackToken(secret, sessionId)}` };
  t.match(await ask("DELETE", url, { headers }), { status: 403, body: { code: "AGENT_TOKEN" } });
  t.match(await ask("GET", `/api/tasks/${taskId}/diff`, { headers }), { status: 403, body: { code: "AGENT_TOKEN" } });
});
