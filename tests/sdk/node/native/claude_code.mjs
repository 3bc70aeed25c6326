// Claude Code, as a program that runs one prompt. Each request of it streams.

import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { installed } from "../clients/subjects.mjs";
import { Failed, jsonLines, run } from "./program.mjs";
import { CLAUDE, LOCATION, NO_CLAUDE, PROJECT } from "./subjects.mjs";

const CLAUDE_CODE = fileURLToPath(
  new URL("../node_modules/@anthropic-ai/claude-code/bin/claude.exe", import.meta.url),
);

// Without these, it also calls Anthropic's other hosts.
const QUIET = {
  CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC: "1",
  DISABLE_AUTOUPDATER: "1",
  DISABLE_ERROR_REPORTING: "1",
  DISABLE_TELEMETRY: "1",
};

export class ClaudeCode {
  static id = "claude-code";
  static version = installed("@anthropic-ai/claude-code");
  static lacks = {};
  static notes = {
    404: "it prints a sentence of its own, with the name of the model",
    cut_stream: "it sends the request again without a stream, and prints the whole response",
  };
  /** Its requests when a stream is interrupted. */
  static asksAgain = [
    ["streamRawPredict", 200],
    ["rawPredict", 200],
  ];
  /** Its own sentence for an unknown model. */
  static unknownSays = /There's an issue with the selected model \(claude-0\)/;
  static model = CLAUDE;
  /** The first events of a stream have no text. */
  static cutAfter = 6;
  static unknown = NO_CLAUDE;
  /** The tool that the model calls. It finds files, and has no risk. */
  static tool = "Glob";
  static program = true;

  constructor({ root, retries, folder }) {
    this.folder = folder;
    // The emulator's text for any argument.
    mkdirSync(join(folder, "example"), { recursive: true });
    this.env = { ...QUIET, ...this.constructor.access(root) };
    if (retries !== undefined) this.env.CLAUDE_CODE_MAX_RETRIES = `${retries}`;
  }

  static access(root) {
    return { ANTHROPIC_API_KEY: "unused", ANTHROPIC_BASE_URL: root };
  }

  async #run(prompt, model = CLAUDE) {
    const args = ["--print", prompt, "--model", model, "--tools", "Glob", "--setting-sources", ""];
    args.push("--output-format", "stream-json", "--include-partial-messages", "--verbose");
    const { stdout, stderr } = await run(CLAUDE_CODE, args, this);
    const lines = jsonLines(stdout);
    const result = lines.findLast((line) => line.type === "result");
    if (!result) throw new Failed(`${stdout}\n${stderr}`);
    return { lines, result };
  }

  async #answer(prompt, model) {
    const { lines, result } = await this.#run(prompt, model);
    const { is_error, result: text, api_error_status: status } = result;
    if (is_error) throw new Failed(text, { status: status ?? undefined });
    return { lines, result };
  }

  async chat(prompt, model) {
    const { result: text, usage } = (await this.#answer(prompt, model)).result;
    return { text, tokens: usage.input_tokens + usage.output_tokens };
  }

  async *stream(prompt) {
    const { lines, result } = await this.#run(prompt);
    for (const { event } of lines) {
      if (event?.delta?.type === "text_delta") yield { text: event.delta.text };
    }
    if (result.is_error) throw new Failed(result.result);
    yield { text: "", tokens: result.usage.input_tokens + result.usage.output_tokens };
  }

  async tools(prompt) {
    const { lines, result } = await this.#answer(prompt);
    const blocks = lines.flatMap(({ message }) => (Array.isArray(message?.content) ? message.content : []));
    const call = blocks.find((block) => block.type === "tool_use");
    const answer = blocks.find((block) => block.type === "tool_result");
    return { name: call.name, succeeded: !answer.is_error, text: result.result };
  }

  /** Its command `/context` counts the parts of a request, and prints a table. */
  async count() {
    const { result } = (await this.#answer("/context")).result;
    const [, tokens, unit] = /\*\*Tokens:\*\* ([\d.]+)(k?)/.exec(result);
    return Number(tokens) * (unit ? 1000 : 1);
  }

  static status(error) {
    return error instanceof Failed ? error.status : undefined;
  }

  static interrupted(error) {
    return error instanceof Failed;
  }
}

export class ClaudeCodeVertex extends ClaudeCode {
  static id = "claude-code-vertex";

  static access(root) {
    return {
      ANTHROPIC_VERTEX_BASE_URL: `${root}/v1`,
      ANTHROPIC_VERTEX_PROJECT_ID: PROJECT,
      CLAUDE_CODE_SKIP_VERTEX_AUTH: "1",
      CLAUDE_CODE_USE_VERTEX: "1",
      CLOUD_ML_REGION: LOCATION,
    };
  }
}
