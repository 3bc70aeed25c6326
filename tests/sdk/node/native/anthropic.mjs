// Anthropic's SDK, and its package for Vertex AI.

import Anthropic from "@anthropic-ai/sdk";
import { AnthropicVertex } from "@anthropic-ai/vertex-sdk";
import { installed } from "../clients/subjects.mjs";
import { CLAUDE, credentials, LOCATION, NO_CLAUDE, PROJECT, retried, TOOL } from "./subjects.mjs";

export class Claude {
  static id = "node-anthropic";
  static version = installed("@anthropic-ai/sdk");
  static lacks = {};
  static notes = {};
  static model = CLAUDE;
  /** The first events of a stream have no text. */
  static cutAfter = 6;
  static unknown = NO_CLAUDE;

  constructor({ root, retries }) {
    this.messages = this.connected(root, retried(retries)).messages;
  }

  connected(root, options) {
    return new Anthropic({ baseURL: root, apiKey: "unused", ...options });
  }

  #asked(content, model = CLAUDE) {
    return { model, max_tokens: 1000, messages: [{ role: "user", content }] };
  }

  async chat(content, model) {
    const { content: blocks, usage } = await this.messages.create(this.#asked(content, model));
    return { text: blocks[0].text, tokens: usage.input_tokens + usage.output_tokens };
  }

  async *stream(content) {
    const stream = this.messages.stream(this.#asked(content));
    for await (const event of stream) {
      if (event.delta?.type === "text_delta") yield { text: event.delta.text };
    }
    const { usage } = await stream.finalMessage();
    yield { text: "", tokens: usage.input_tokens + usage.output_tokens };
  }

  async tools(content) {
    const { name, description, schema: input_schema, answer } = TOOL;
    const asked = { ...this.#asked(content), tools: [{ name, description, input_schema }] };
    const called = await this.messages.create(asked);
    const call = called.content.find((block) => block.type === "tool_use");
    const result = { type: "tool_result", tool_use_id: call.id, content: answer };
    asked.messages.push(
      { role: "assistant", content: called.content },
      { role: "user", content: [result] },
    );
    const { content: blocks } = await this.messages.create(asked);
    return { name: call.name, arguments: call.input, text: blocks[0].text };
  }

  async count(content) {
    const messages = [{ role: "user", content }];
    return (await this.messages.countTokens({ model: CLAUDE, messages })).input_tokens;
  }

  static status(error) {
    const type = {
      403: Anthropic.PermissionDeniedError,
      404: Anthropic.NotFoundError,
      429: Anthropic.RateLimitError,
      503: Anthropic.InternalServerError,
    }[error.status];
    return type && error instanceof type ? error.status : undefined;
  }

  static interrupted(error) {
    return error instanceof Anthropic.AnthropicError;
  }
}

export class ClaudeVertex extends Claude {
  static id = "node-anthropic-vertex";
  static version = installed("@anthropic-ai/vertex-sdk");

  connected(root, options) {
    return new AnthropicVertex({
      baseURL: `${root}/v1`,
      projectId: PROJECT,
      region: LOCATION,
      authClient: credentials(),
      ...options,
    });
  }
}
