/** The coding agents themselves: pinned versions, installed once per machine, and set up to talk to the stub model server. */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

export type ProgramName = "claude" | "gemini" | "copilot" | "codex" | "opencode";

interface Program {
  readonly packageName: string;
  readonly version: string;
  /** What the package's own install script does, run by hand: npm may be told to run none. */
  readonly postinstall?: string;
  /** Under node_modules. Native where there is one: the loaders of copilot and codex die of a signal that their child never hears of. */
  readonly bin: string;
}

export const PROGRAMS: Readonly<Record<ProgramName, Program>> = {
  claude: {
    packageName: "@anthropic-ai/claude-code",
    version: "2.1.330",
    postinstall: "install.cjs",
    bin: ".bin/claude",
  },
  gemini: { packageName: "@google/gemini-cli", version: "0.61.0", bin: ".bin/gemini" },
  copilot: { packageName: "@github/copilot", version: "1.0.102", bin: ".bin/copilot" },
  codex: { packageName: "@openai/codex", version: "0.169.0", bin: ".bin/codex" },
  opencode: { packageName: "opencode-ai", version: "1.18.33", postinstall: "postinstall.mjs", bin: ".bin/opencode" },
};

/** The largest has some 400 MB, and npm keeps its download beside. */
const DISK_BYTES_MIN = 3 * 1024 ** 3;

/** `bin`: the program's absolute path; `path`: its folder, for a PATH on which it has its usual name. */
export interface InstalledProgram {
  readonly bin: string;
  readonly path: string;
}

/** Installs a program outside of the tree, or finds it there. Needs the network only the first time. */
export async function installProgram(name: ProgramName): Promise<InstalledProgram> {
  const { packageName, version, postinstall, bin } = PROGRAMS[name];
  const root = programsFolder();
  const folder = join(root, `${name}-${version}`);
  if (!existsSync(folder)) {
    mkdirSync(root, { recursive: true });
    const { bavail, bsize } = statfsSync(root);
    if (bavail * bsize < DISK_BYTES_MIN)
      throw new Error(`${root}: less than 3 GiB free, not installing ${packageName}`);
    const beside = mkdtempSync(join(root, `.${name}-`));
    try {
      writeFileSync(join(beside, "package.json"), '{"private":true}\n');
      const options = { cwd: beside, timeout: 600_000 };
      await run(
        "npm",
        ["install", "--ignore-scripts", "--no-audit", "--no-fund", `${packageName}@${version}`],
        options,
      );
      if (postinstall !== undefined) {
        await run(process.execPath, [postinstall], { ...options, cwd: join(beside, "node_modules", packageName) });
      }
      moveInto(beside, folder);
    } finally {
      rmSync(beside, { recursive: true, force: true });
    }
  }
  return { bin: join(folder, "node_modules", bin), path: join(folder, "node_modules", ".bin") };
}

/** Whether a test can have it without the network. */
export function isInstalled(name: ProgramName): boolean {
  return existsSync(join(programsFolder(), `${name}-${PROGRAMS[name].version}`));
}

export function programsFolder(): string {
  return (
    process.env["JARVIS_AGENTS_CACHE"] ??
    join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "jarvis-orchestrator", "programs")
  );
}

/** Somebody else who installed the same at the same time was as good. */
function moveInto(beside: string, folder: string): void {
  try {
    renameSync(beside, folder);
  } catch (error) {
    if (!existsSync(folder)) throw error;
  }
}

export interface ProgramPlace {
  /** A folder of its own: the program's settings and sessions lie in it. */
  readonly home: string;
  readonly modelServerUrl: string;
}

/** Long, and no word of any output: Copilot blots out its key wherever it occurs. */
const KEY = "sk-dummy-key-of-the-stub-0000";

/** Writes the program's settings, and returns the environment (beside PATH) in which it talks to the stub and to nobody else. */
export function programSetup(name: ProgramName, { home, modelServerUrl }: ProgramPlace): Record<string, string> {
  const write = (folder: string, file: string, content: string) => {
    mkdirSync(join(home, folder), { recursive: true });
    writeFileSync(join(home, folder, file), content);
  };
  // Theirs must not lead out of this home either.
  const env: Record<string, string> = {
    HOME: home,
    XDG_CONFIG_HOME: join(home, ".config"),
    XDG_DATA_HOME: join(home, ".local/share"),
    XDG_STATE_HOME: join(home, ".local/state"),
    XDG_CACHE_HOME: join(home, ".cache"),
  };
  switch (name) {
    case "claude":
      return {
        ...env,
        ANTHROPIC_BASE_URL: modelServerUrl,
        ANTHROPIC_API_KEY: KEY,
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
        DISABLE_AUTOUPDATER: "1",
        DISABLE_TELEMETRY: "1",
        DISABLE_ERROR_REPORTING: "1",
      };
    case "gemini":
      write(
        ".gemini",
        "settings.json",
        JSON.stringify({
          security: { auth: { selectedType: "gemini-api-key" } },
          // Ten tries, the default, take four minutes.
          general: { enableAutoUpdate: false, maxAttempts: 2 },
          privacy: { usageStatisticsEnabled: false },
        }),
      );
      return { ...env, GEMINI_API_KEY: KEY, GOOGLE_GEMINI_BASE_URL: modelServerUrl };
    case "copilot":
      return {
        ...env,
        // The 235 MB that it unpacks on its first run are the same for every home.
        COPILOT_CACHE_HOME: join(programsFolder(), `copilot-${PROGRAMS.copilot.version}`, ".cache"),
        COPILOT_OFFLINE: "true",
        COPILOT_AUTO_UPDATE: "false",
        COPILOT_PROVIDER_BASE_URL: `${modelServerUrl}/v1`,
        COPILOT_PROVIDER_TYPE: "openai",
        COPILOT_PROVIDER_WIRE_API: "completions",
        COPILOT_PROVIDER_API_KEY: KEY,
        COPILOT_MODEL: "gpt-5.4",
      };
    case "codex":
      write(
        ".codex",
        "config.toml",
        [
          'model_provider = "stub"',
          "check_for_update_on_startup = false",
          "[analytics]",
          "enabled = false",
          "[model_providers.stub]",
          'name = "stub"',
          `base_url = "${modelServerUrl}/v1"`,
          'env_key = "STUB_API_KEY"',
          'wire_api = "responses"',
          // The default of 4 and 5 tries takes minutes.
          "request_max_retries = 1",
          "stream_max_retries = 1",
          "",
        ].join("\n"),
      );
      return { ...env, CODEX_HOME: join(home, ".codex"), STUB_API_KEY: KEY };
    case "opencode": {
      const models = {
        "stub-model": { name: "stub", limit: { context: 200_000, output: 8000 }, cost: { input: 3, output: 15 } },
      };
      const options = { baseURL: `${modelServerUrl}/v1`, apiKey: KEY };
      const config = {
        autoupdate: false,
        share: "disabled",
        enabled_providers: ["stub"],
        provider: { stub: { npm: "@ai-sdk/openai-compatible", options, models } },
      };
      return {
        ...env,
        OPENCODE_CONFIG_CONTENT: JSON.stringify(config),
        OPENCODE_DISABLE_AUTOUPDATE: "1",
        OPENCODE_DISABLE_MODELS_FETCH: "1",
        OPENCODE_DISABLE_LSP_DOWNLOAD: "1",
        OPENCODE_DISABLE_DEFAULT_PLUGINS: "1",
      };
    }
  }
}
