// The `openai` package with its own provider for Vertex AI.

import OpenAI from "openai";
import { vertex } from "openai/providers/vertex";
import { installed } from "../clients/subjects.mjs";
import { retried, TOOL } from "./subjects.mjs";

const MODEL = "gpt-5.4";

export class OpenAIVertex {
  static id = "node-openai-vertex";
  static version = installed("openai");
  static lacks = { count_tokens: "Vertex AI does not have OpenAI's call for it" };
  static notes = {};
  static model = MODEL;
  /** The first events of a stream have no text. */
  static cutAfter = 6;
  static unknown = "gpt-0";

  constructor({ root, retries }) {
    const baseURL = `${root}/v1/publishers/openai/v1`;
    const provider = vertex({ baseURL, tokenProvider: () => "unused" });
    this.responses = new OpenAI({ provider, ...retried(retries) }).responses;
  }

  async chat(input, model = MODEL) {
    const { output_text: text, usage } = await this.responses.create({ model, input });
    return { text, tokens: usage.total_tokens };
  }

  async *stream(input) {
    for await (const event of await this.responses.create({ model: MODEL, input, stream: true })) {
      if (event.type === "response.output_text.delta") yield { text: event.delta };
      if (event.type === "response.completed") {
        yield { text: "", tokens: event.response.usage.total_tokens };
      }
    }
  }

  async tools(content) {
    const { name, description, schema: parameters, answer } = TOOL;
    const tools = [{ type: "function", name, description, parameters, strict: false }];
    const asked = { model: MODEL, tools, input: [{ role: "user", content }] };
    const { output } = await this.responses.create(asked);
    const call = output.find((item) => item.type === "function_call");
    const result = { type: "function_call_output", call_id: call.call_id, output: answer };
    asked.input.push(...output, result);
    const { output_text: text } = await this.responses.create(asked);
    return { name: call.name, arguments: JSON.parse(call.arguments), text };
  }

  static status(error) {
    const type = {
      403: OpenAI.PermissionDeniedError,
      404: OpenAI.NotFoundError,
      429: OpenAI.RateLimitError,
      503: OpenAI.InternalServerError,
    }[error.status];
    return type && error instanceof type ? error.status : undefined;
  }

  static interrupted(error) {
    return error instanceof OpenAI.APIError;
  }
}
