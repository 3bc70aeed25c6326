// Gemini CLI, as a program that runs one prompt. Each request of it streams.

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { installed } from "../clients/subjects.mjs";
import { Failed, jsonLines, run } from "./program.mjs";
import { GEMINI, NO_GEMINI } from "./subjects.mjs";

const GEMINI_CLI = fileURLToPath(
  new URL("../node_modules/@google/gemini-cli/bundle/gemini.js", import.meta.url),
);
const LOOPBACK = new URL("loopback.mjs", import.meta.url);

export class GeminiCLI {
  static id = "gemini-cli";
  static version = installed("@google/gemini-cli");
  static lacks = { count_tokens: "it counts by itself" };
  static notes = { cut_stream: "it prints the error, and not always the text before it" };
  static model = GEMINI;
  static unknown = NO_GEMINI;
  /** The tool that the model calls. It lists a folder, and has no risk. */
  static tool = "list_directory";
  static program = true;

  constructor({ root, retries, folder }) {
    const settings = {
      general: { disableAutoUpdate: true, disableUpdateNag: true },
      privacy: { usageStatisticsEnabled: false },
      security: { auth: { selectedType: "gemini-api-key" } },
    };
    if (retries !== undefined) settings.general.maxAttempts = retries + 1;
    this.folder = folder;
    mkdirSync(join(folder, ".gemini"), { recursive: true });
    writeFileSync(join(folder, ".gemini/settings.json"), JSON.stringify(settings));
    // The emulator's text for any argument.
    mkdirSync(join(folder, "example"), { recursive: true });
    this.env = {
      GEMINI_API_KEY: "unused",
      GEMINI_CLI_NO_RELAUNCH: "true",
      GEMINI_CLI_TRUST_WORKSPACE: "true",
      GEMINI_TELEMETRY_ENABLED: "false",
      GOOGLE_GEMINI_BASE_URL: root,
      NODE_OPTIONS: `--import=${LOOPBACK}`,
    };
  }

  async #run(prompt, format, model = GEMINI) {
    const args = [GEMINI_CLI, "--prompt", prompt, "--model", model, "--output-format", format];
    const { succeeded, stdout, stderr } = await run(process.execPath, args, this);
    return { succeeded, stdout, stderr };
  }

  async #answer(prompt, model) {
    const { succeeded, stdout, stderr } = await this.#run(prompt, "json", model);
    if (!succeeded) throw new Failed(`${stdout}\n${stderr}`, { status: statusIn(`${stdout}\n${stderr}`) });
    return JSON.parse(stdout.slice(stdout.indexOf("{")));
  }

  async chat(prompt, model) {
    const { response, stats } = await this.#answer(prompt, model);
    return { text: response, tokens: stats.models[GEMINI].tokens.total };
  }

  async *stream(prompt) {
    const { succeeded, stdout, stderr } = await this.#run(prompt, "stream-json");
    for (const line of jsonLines(stdout)) {
      if (line.type === "message" && line.role === "assistant") yield { text: line.content };
      if (line.type === "result" && line.status === "success") {
        yield { text: "", tokens: line.stats.total_tokens };
      } else if (line.type === "result") throw new Failed(`${stdout}\n${stderr}`);
    }
    if (!succeeded) throw new Failed(`${stdout}\n${stderr}`);
  }

  async tools(prompt) {
    const { response, stats } = await this.#answer(prompt);
    const [[name, { success }]] = Object.entries(stats.tools.byName);
    return { name, succeeded: success === 1, text: response };
  }

  static status(error) {
    return error instanceof Failed ? error.status : undefined;
  }

  static interrupted(error) {
    return error instanceof Failed;
  }
}

/** The status in the text of an error. */
function statusIn(text) {
  const found = /"(?:code|status)": ?(4\d\d|5\d\d)|\b(?:status|code):? (4\d\d|5\d\d)\b/.exec(text);
  return found ? Number(found[1] ?? found[2]) : undefined;
}
