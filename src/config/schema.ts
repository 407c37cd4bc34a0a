/** The config's one schema: what the file, the environment and the flags may say. The schema is the type. */
import { type Static, Type } from "@sinclair/typebox";

const closed = { additionalProperties: false } as const;
const Ms = (options: { default?: number; description: string }) =>
  Type.Integer({ minimum: 0, maximum: 2_147_483_647, ...options });
/** One of a few words. */
const OneOf = <const T extends readonly string[]>(
  words: T,
  options: { readonly default?: T[number]; readonly description: string },
) =>
  Type.Unsafe<T[number]>(
    Type.Union(
      words.map((word) => Type.Literal(word)),
      options,
    ),
  );
const Text = (description: string) => Type.String({ minLength: 1, maxLength: 4096, description });

/**
 * `wanted` says in words what a pattern asks for, `wantedKeys` the same of a record's keys: what an error message shows
 * in place of the pattern.
 */
const Name = {
  pattern: "^[A-Za-z0-9._-]{1,64}$",
  wanted: 'a name of 1 to 64 letters, digits, ".", "_" or "-"',
} as const;
const Variable = {
  pattern: "^[A-Za-z_][A-Za-z0-9_]*$",
  wanted: "the name of an environment variable",
} as const;

/** The programs whose command line and output are known. */
export const PRESETS = ["gemini", "copilot", "claude", "codex", "opencode"] as const;

/** How far a known program may go by itself. */
export const PERMISSIONS = ["read", "edit", "work", "full"] as const;

/** How a program's output is read: as plain text, or as a known program's. */
export const OUTPUTS = ["text", ...PRESETS] as const;

/** What must be true of a workspace before a task that asks for it counts as done. Only the config says what is run. */
export const VerifierSettings = Type.Object(
  {
    command: Type.Optional(
      Type.Array(Type.String({ maxLength: 65_536 }), {
        minItems: 1,
        maxItems: 1000,
        description: "must exit with 0, in the workspace; a program and its arguments, never a shell's line",
      }),
    ),
    files: Type.Optional(
      Type.Array(Text("a path, relative to the workspace"), {
        minItems: 1,
        maxItems: 100,
        description: "must be there",
      }),
    ),
    changed: Type.Optional(
      Type.Literal(true, { description: "something in the workspace must have changed since the session began" }),
    ),
    timeoutMs: Ms({ default: 600_000, description: "that it may take" }),
  },
  closed,
);
export type VerifierSettings = Static<typeof VerifierSettings>;

/** Where an `ssh` agent lives. Keys and known hosts are files; nothing secret stands in the config itself. */
export const SshSettings = Type.Object(
  {
    host: Text("host name or address"),
    port: Type.Integer({ minimum: 1, maximum: 65535, default: 22 }),
    username: Type.Optional(Text("default: the daemon's own user")),
    privateKeyFile: Type.Optional(Text("default: the SSH agent, where SSH_AUTH_SOCK is set")),
    passphraseFile: Type.Optional(Text("a file that holds the key's passphrase")),
    knownHostsFile: Type.String({ default: "~/.ssh/known_hosts" }),
    runDirectory: Type.String({
      default: ".jarvis-orchestrator/runs",
      description: "on the host, relative to its home",
    }),
    maxSessionsPerConnection: Type.Integer({
      minimum: 1,
      maximum: 64,
      default: 8,
      description: "below sshd's MaxSessions (10)",
    }),
    keepaliveMs: Ms({
      default: 1500,
      description: "between keepalives; a link that is silent for three times as long is dead",
    }),
    connectTimeoutMs: Ms({ default: 10_000, description: "until the connection is ready" }),
  },
  closed,
);
export type SshSettings = Static<typeof SshSettings>;

/** How the OpenClaw gateway is reached; its token is a file or a variable, and never stands in the config itself. */
export const OpenClawSettings = Type.Object(
  {
    url: Type.String({
      pattern: "^https?://[^\\s/?#@]+(/[^\\s?#]*)?$",
      wanted: 'a URL such as "http://127.0.0.1:18789"',
      default: "http://127.0.0.1:18789",
      description: "where the gateway listens",
    }),
    tokenFile: Type.Optional(Text("a file that holds the gateway's token")),
    tokenEnv: Type.String({
      ...Variable,
      default: "OPENCLAW_GATEWAY_TOKEN",
      description: "the variable of the daemon's own environment that holds the token, where there is no tokenFile",
    }),
    sessionKey: Type.String({
      minLength: 1,
      maxLength: 256,
      default: "main",
      description: "the session that children belong to; the gateway limits how many one session has at once (5)",
    }),
    version: Type.Optional(
      Type.String({
        pattern: "^[0-9]{4}\\.[0-9]{1,2}(\\.[0-9]{1,3})?$",
        wanted: 'a version such as "2026.9"',
        description: "decides which arguments a spawn gets; default: what the gateway says of itself",
      }),
    ),
    pollMs: Type.Integer({
      minimum: 50,
      maximum: 600_000,
      default: 2000,
      description: "between two looks at all children of the gateway",
    }),
    requestTimeoutMs: Type.Integer({
      minimum: 50,
      maximum: 600_000,
      default: 30_000,
      description: "until a request that is not answered counts as cut off",
    }),
  },
  closed,
);
export type OpenClawSettings = Static<typeof OpenClawSettings>;

/** Whom to tell that results are in. */
export const WakeSettings = Type.Object(
  {
    url: Type.String({
      pattern: "^https?://[^\\s/?#@]+(/[^\\s?#]*)?$",
      wanted: 'a URL such as "http://127.0.0.1:18789/hooks/wake"',
      default: "http://127.0.0.1:18789/hooks/wake",
      description: "the OpenClaw gateway's wake hook",
    }),
    tokenFile: Type.Optional(Text("a file that holds the hooks' token")),
    tokenEnv: Type.String({
      ...Variable,
      default: "OPENCLAW_HOOKS_TOKEN",
      description: "the variable of the daemon's own environment that holds the token, where there is no tokenFile",
    }),
    mode: Type.Union([Type.Literal("now"), Type.Literal("next-heartbeat")], {
      default: "next-heartbeat",
      description: "now costs a whole turn of Jarvis' model",
    }),
    minIntervalMs: Ms({ default: 60_000, description: "between two calls; what comes meanwhile is told in the next" }),
  },
  closed,
);
export type WakeSettings = Static<typeof WakeSettings>;

export const AgentSettings = Type.Object(
  {
    adapter: Type.Union([Type.Literal("ssh"), Type.Literal("spawn"), Type.Literal("cli")]),
    via: Type.Optional(Type.Union([Type.Literal("heartbeat"), Type.Literal("process"), Type.Literal("openclaw")])),
    enabled: Type.Boolean({ default: true }),
    model: Type.Optional(Text("the model's name, filled in for {model}")),
    costMultiplier: Type.Number({ minimum: 0, default: 1 }),
    maxConcurrent: Type.Integer({ minimum: 1, maximum: 10_000, default: 1 }),
    bestFor: Type.Array(Type.String({ minLength: 1, maxLength: 100 }), { default: [] }),
    preset: Type.Optional(OneOf(PRESETS, { description: "a known program" })),
    command: Type.Optional(Type.Array(Type.String({ maxLength: 65_536 }), { minItems: 1, maxItems: 1000 })),
    args: Type.Array(Type.String({ maxLength: 65_536 }), {
      maxItems: 1000,
      default: [],
      description: "further arguments for the preset's program",
    }),
    permissions: OneOf(PERMISSIONS, {
      default: "work",
      description:
        "of a preset's program: read; edit files; work: also run commands; full: all that it can do, outside of its workspace too",
    }),
    resume: Type.Boolean({
      default: false,
      description:
        "an attempt after a crash, a timeout or trouble of the provider goes on in the program's own session",
    }),
    isolation: OneOf(["none", "worktree"], {
      default: "none",
      description: "worktree: each task in a git worktree of its own, unless the task says otherwise",
    }),
    ssh: Type.Optional(SshSettings),
    openclaw: Type.Optional(OpenClawSettings),
    agentId: Type.Optional(Text("sessions_spawn's agentId")),
    workdir: Type.Optional(Text("where the program runs when the task has no workspace")),
    env: Type.Record(Type.String({ pattern: Variable.pattern }), Type.String(), {
      ...closed,
      wantedKeys: Variable.wanted,
      default: {},
    }),
    envPass: Type.Array(Type.String(Variable), { default: [] }),
    output: Type.Optional(OneOf(OUTPUTS, { description: "how the output is read; default: the preset's, else text" })),
    timeoutMs: Ms({ default: 1_800_000, description: "total time of a session" }),
    stallTimeoutMs: Type.Optional(
      Ms({ description: "without any output or sign; default: 5 min where the output streams, else 0 = off" }),
    ),
    startTimeoutMs: Ms({ default: 60_000, description: "until its program runs; 0 = however long it takes" }),
    killGraceMs: Ms({ default: 10_000, description: "between TERM and KILL" }),
    leftovers: Type.Union([Type.Literal("kill"), Type.Literal("report")], {
      default: "kill",
      description: "processes outside the program's group that it leaves behind: end them, or only say so",
    }),
    exitGraceMs: Ms({ default: 10_000, description: "that a program may go on after it reported" }),
    claimTimeoutMs: Ms({ default: 600_000, description: "until a handed out spawn is handed out again" }),
    callback: Type.Optional(Type.Boolean({ description: "whether the prompt says how to report" })),
    account: Type.Optional(Text("agents of one account share its rate limits")),
    maxOutputBytes: Type.Integer({
      minimum: 1024,
      default: 50 * 1024 * 1024,
      description: "of output kept per stream",
    }),
  },
  closed,
);
export type AgentSettings = Static<typeof AgentSettings>;

export const Budget = Type.Object(
  {
    scope: Type.String({ pattern: "^(all|(agent|project):.+)$", wanted: '"all", "agent:<name>" or "project:<name>"' }),
    window: Type.Union([Type.Literal("day"), Type.Literal("week"), Type.Literal("month")]),
    limitUsd: Type.Number({ minimum: 0 }),
    warnAt: Type.Number({ minimum: 0, maximum: 1, default: 0.8 }),
  },
  closed,
);

export const LOG_LEVELS = ["fatal", "error", "warn", "info", "debug", "trace", "silent"] as const;

export const Settings = Type.Object(
  {
    server: Type.Object(
      {
        host: Type.String({
          pattern: "^[A-Za-z0-9._:%-]{1,253}$",
          wanted: "a host name or an IP address (without brackets)",
          default: "127.0.0.1",
        }),
        port: Type.Integer({ minimum: 0, maximum: 65535, default: 3333 }),
        publicUrl: Type.Optional(
          Type.String({
            pattern: "^https?://[^\\s/?#]+(/[^\\s?#]*)?$",
            wanted: 'a URL such as "http://127.0.0.1:3333"',
            description: "how agents and browsers reach the daemon; default: http://host:port",
          }),
        ),
      },
      { ...closed, default: {} },
    ),
    humans: Type.Array(Type.String(Name), {
      default: ["jarvis", "diego"],
      description: "assignees that are never dispatched",
    }),
    dispatch: Type.Object(
      {
        auto: Type.Boolean({ default: false, description: "dispatch without a heartbeat" }),
        intervalMs: Type.Integer({ minimum: 100, maximum: 86_400_000, default: 5000 }),
        maxConcurrent: Type.Integer({ minimum: 1, maximum: 100_000, default: 8 }),
      },
      { ...closed, default: {} },
    ),
    retry: Type.Object(
      {
        maxAttempts: Type.Integer({ minimum: 1, maximum: 1000, default: 3 }),
        initialDelayMs: Ms({ default: 10_000, description: "before the second attempt" }),
        maxDelayMs: Ms({ default: 300_000, description: "the delay's ceiling" }),
      },
      { ...closed, default: {} },
    ),
    workspaceRoots: Type.Array(Text("a task's workspace must lie under one of these"), { default: ["~"] }),
    verifiers: Type.Record(Type.String({ pattern: Name.pattern }), VerifierSettings, {
      ...closed,
      wantedKeys: Name.wanted,
      default: {},
    }),
    worktreeRoot: Type.String({
      minLength: 1,
      maxLength: 4096,
      default: "~/.jarvis-orchestrator/worktrees",
      description: "where the worktrees of isolated tasks are made",
    }),
    budgets: Type.Array(Budget, { default: [] }),
    wake: Type.Optional(WakeSettings),
    historyDays: Type.Integer({
      minimum: 1,
      maximum: 36_500,
      default: 30,
      description: "how long the journal's history is kept, and the output of sessions in the archive",
    }),
    agents: Type.Record(Type.String({ pattern: Name.pattern }), AgentSettings, {
      ...closed,
      wantedKeys: Name.wanted,
      default: {},
    }),
  },
  closed,
);
/** Settings after defaults and checks. */
export type Settings = Static<typeof Settings>;

export const LogLevel = Type.Union(LOG_LEVELS.map((level) => Type.Literal(level)));
export type LogLevel = Static<typeof LogLevel>;

/** Everything the daemon was told at its start, frozen. */
export interface Config extends Settings {
  /** Absolute. */
  readonly dataDirectory: string;
  readonly configFile: string;
  readonly logLevel: LogLevel;
  /** The operator's token; `null` = whoever reaches the loopback port is the operator. */
  readonly token: string | null;
}
