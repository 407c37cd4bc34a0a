/** /api/tasks: the board. */
import { type Static, Type } from "@sinclair/typebox";
import { closed, Id } from "../api/common.ts";
import { TaskWithHistory } from "../api/session.ts";
import {
  Comment,
  CommentList,
  CommentQuery,
  NewComment,
  NewTask,
  Task,
  TaskList,
  TaskPatch,
  TaskQuery,
} from "../api/task.ts";
import { commentView, sessionView, taskView } from "../api/views.ts";
import { addComment, type NewTask as CoreNewTask, changeTask, createTask, deleteTask } from "../core/decide/tasks.ts";
import { type Command, refuse } from "../core/decision.ts";
import { isActive } from "../core/session.ts";
import type { Task as CoreTask } from "../core/task.ts";
import { StorageUnavailable } from "../dispatcher/ports.ts";
import { type Answers, json } from "./answers.ts";
import { committed } from "./committed.ts";
import { callerSession } from "./guard.ts";
import { page, sortable } from "./paging.ts";
import { ProblemError, problemOf } from "./problems.ts";
import type { App } from "./server.ts";
import type { Services } from "./services.ts";
import { taskFields } from "./task-input.ts";

const tags = ["tasks"];
const ById = Type.Object({ id: Id }, closed);

export function taskRoutes(app: App, services: Services, answers: Answers): void {
  const { dispatcher, archive, signs } = services;

  app.get(
    "/api/tasks",
    {
      schema: {
        tags,
        summary: "the tasks of the board, oldest first",
        querystring: TaskQuery,
        response: { 200: TaskList },
      },
    },
    async (request) => {
      const { query } = request;
      if (query.archived === true) {
        const { records, nextCursor } = await archive.tasks(query.cursor, query.limit ?? 50);
        return {
          tasks: records.filter(matcher(query)).map(taskView),
          ...(nextCursor === undefined ? {} : { nextCursor }),
        };
      }
      return committed(dispatcher, () => {
        const sorted = [...dispatcher.state.tasks.byId.values()].sort(
          (a, b) => a.createdAt - b.createdAt || (a.id < b.id ? -1 : 1),
        );
        const { records, nextCursor } = page(
          { records: sorted, key: (task) => `${sortable(task.createdAt)} ${task.id}`, wanted: matcher(query) },
          query,
        );
        return { tasks: records.map(taskView), ...(nextCursor === undefined ? {} : { nextCursor }) };
      });
    },
  );

  app.post(
    "/api/tasks",
    { schema: { tags, summary: "put a task on the board", body: NewTask, response: { 201: Task } } },
    async (request, reply) => {
      const { id, title } = request.body;
      const input = {
        ...taskFields(request.body, services.config()),
        title,
        ...(id === undefined ? {} : { id }),
      } as CoreNewTask;
      return answers.run(request, reply, createTask(input), (task) =>
        json(taskView(task), 201, { location: `/api/tasks/${task.id}` }),
      );
    },
  );

  app.get(
    "/api/tasks/:id",
    {
      schema: {
        tags,
        summary: "a task with its comments and sessions",
        params: ById,
        response: { 200: TaskWithHistory },
      },
    },
    async (request, reply) => {
      const { id } = request.params;
      const hot = await committed(dispatcher, () => {
        const task = dispatcher.state.tasks.byId.get(id);
        return task === undefined ? null : withHistory(task);
      });
      const found = hot ?? withHistory(await findArchived(id));
      const known = new Set(found.sessions.map((session) => session.id));
      const surroundings = { locks: dispatcher.state.locks, sign: () => undefined };
      const archived = (await archive.sessionsOf(id)).filter((session) => !known.has(session.id)).reverse();
      found.sessions.unshift(...archived.map((session) => sessionView(session, surroundings, true)));
      reply.header("etag", `"${found.version}"`);
      return found;
    },
  );

  app.patch(
    "/api/tasks/:id",
    { schema: { tags, summary: "change fields of a task", params: ById, body: TaskPatch, response: { 200: Task } } },
    async (request, reply) => {
      const { id } = request.params;
      const archived = await archivedTask(id);
      const changes = taskFields(request.body, services.config());
      const patch = {
        taskId: id,
        changes,
        ifVersion: versionOf(request.headers["if-match"]),
        ...(archived === null ? {} : { archived }),
      };
      return answers.run(request, reply, changeTask(patch), (task) =>
        json(taskView(task), 200, { etag: `"${task.version}"` }),
      );
    },
  );

  app.delete("/api/tasks/:id", { schema: { tags, summary: "delete a task", params: ById } }, async (request, reply) => {
    const { id } = request.params;
    const archived = archive.hasTask(id);
    const executed = await dispatcher.execute(deleteTask(id));
    if (!executed.ok && !archived) throw problemOf(executed.refusal);
    // Always: it may be on its way into the archive just now.
    await archive.removeTask(id).catch((cause: unknown) => {
      throw new StorageUnavailable("the archive cannot be written", { cause });
    });
    return reply.code(204).send();
  });

  app.get(
    "/api/tasks/:id/comments",
    {
      schema: {
        tags,
        summary: "a task's comments, oldest first",
        params: ById,
        querystring: CommentQuery,
        response: { 200: CommentList },
      },
    },
    async (request) => {
      const { id } = request.params;
      const task = (await committed(dispatcher, () => dispatcher.state.tasks.byId.get(id))) ?? (await findArchived(id));
      const numbered = task.comments.map((comment, index) => ({ comment, index: sortable(index) }));
      const { records, nextCursor } = page({ records: numbered, key: (one) => one.index }, request.query);
      return {
        comments: records.map((one) => commentView(one.comment)),
        ...(nextCursor === undefined ? {} : { nextCursor }),
      };
    },
  );

  app.post(
    "/api/tasks/:id/comments",
    {
      config: { agents: true },
      schema: { tags, summary: "comment on a task", params: ById, body: NewComment, response: { 201: Comment } },
    },
    async (request, reply) => {
      const { id } = request.params;
      const sessionId = callerSession(request);
      const archived = await archivedTask(id);
      const comment = {
        taskId: id,
        ...request.body,
        ...(sessionId === undefined ? {} : { sessionId }),
        ...(archived === null ? {} : { archived }),
      };
      const command =
        sessionId === undefined ? addComment(comment) : asItself(addComment(comment), { ...comment, sessionId });
      return answers.run(request, reply, command, (made) =>
        json(commentView(made), 201, { location: `/api/tasks/${id}/comments` }),
      );
    },
  );

  function withHistory(task: CoreTask): Static<typeof TaskWithHistory> {
    const { state } = dispatcher;
    const surroundings = { locks: state.locks, sign: (sessionId: string) => signs.of(sessionId) };
    const sessions = (state.sessions.byTask.get(task.id) ?? []).flatMap((sessionId) => {
      const session = state.sessions.byId.get(sessionId);
      return session === undefined ? [] : [sessionView(session, surroundings, true)];
    });
    return { ...taskView(task), comments: task.comments.map(commentView), sessions };
  }

  /** The task as the archive has it, where the board has it no longer. */
  async function archivedTask(id: string): Promise<CoreTask | null> {
    return dispatcher.state.tasks.byId.has(id) || !archive.hasTask(id) ? null : archive.task(id);
  }

  async function findArchived(id: string): Promise<CoreTask> {
    const task = await archivedTask(id);
    if (task === null) throw new ProblemError(404, "TASK_NOT_FOUND", `there is no task ${id}`);
    return task;
  }
}

/** An agent that comments without end must not fill the daemon's memory. */
const COMMENTS_PER_SESSION_MAX = 200;
const COMMENT_CHARS_PER_SESSION_MAX = 4 * 1024 * 1024;

/** An agent comments on its own session's task, under its own name, while its session lasts. */
function asItself<A>(
  command: Command<A>,
  { taskId, sessionId, author }: { taskId: string; sessionId: string; author: string },
): Command<A> {
  return (state, context) => {
    const session = state.sessions.byId.get(sessionId);
    if (session?.taskId !== taskId)
      return refuse("NOT_YOUR_SESSION", "a callback token is good for its own session's task only");
    if (session.agent !== author)
      return refuse("NOT_YOUR_SESSION", `comment as ${session.agent}, the agent of this session`);
    if (!isActive(session)) return refuse("SESSION_NOT_ACTIVE", `session ${sessionId} is over (${session.status})`);
    const said = state.tasks.byId.get(taskId)?.comments.filter((comment) => comment.sessionId === sessionId) ?? [];
    const chars = said.reduce((sum, { content }) => sum + content.length, 0);
    if (said.length >= COMMENTS_PER_SESSION_MAX || chars >= COMMENT_CHARS_PER_SESSION_MAX)
      return refuse("TOO_MANY_COMMENTS", `session ${sessionId} has said enough; put the rest into a file`);
    return command(state, context);
  };
}

function matcher(query: TaskQuery): (task: CoreTask) => boolean {
  const text = query.q?.toLowerCase();
  return (task) =>
    (query.status === undefined || task.status === query.status) &&
    (query.assignee === undefined || task.assignee === query.assignee) &&
    (query.priority === undefined || task.priority === query.priority) &&
    (query.label === undefined || task.labels.includes(query.label)) &&
    (query.project === undefined || task.project === query.project) &&
    (text === undefined ||
      task.title.toLowerCase().includes(text) ||
      task.description.toLowerCase().includes(text) ||
      task.id.toLowerCase().includes(text));
}

function versionOf(header: string | undefined): number | undefined {
  if (header === undefined || header === "*") return undefined;
  const version = /^(?:W\/)?"(\d{1,15})"$/.exec(header.trim())?.[1];
  if (version === undefined)
    throw new ProblemError(412, "STALE_VERSION", 'If-Match must be "<version>" as the task shows it');
  return Number(version);
}
