// The `openai` package, in its two newest major versions.

import OpenAI7 from "openai";
import * as zod7 from "openai/helpers/zod";
import OpenAI6 from "openai-6";
import * as zod6 from "openai-6/helpers/zod";
import { CITY, EMBEDDING_MODEL, installed, MODEL, TRIP, WEATHER } from "./subjects.mjs";

const USAGE = { include_usage: true };

export class NodeOpenAI {
  static id = "node-openai";
  static version = installed("openai");
  static lacks = {};
  static notes = {};
  static OpenAI = OpenAI7;
  static zod = zod7;

  constructor({ url, key = "unused", retries }) {
    const { OpenAI, zod } = this.constructor;
    this.client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: retries });
    this.completions = this.client.chat.completions;
    this.zod = zod;
  }

  #asked(content, model = MODEL) {
    return { model, messages: [{ role: "user", content }] };
  }

  async chat(content, model) {
    const answer = await this.completions.create(this.#asked(content, model));
    return { text: answer.choices[0].message.content, tokens: answer.usage.total_tokens };
  }

  image(text, url) {
    const image = { type: "image_url", image_url: { url } };
    return this.chat([{ type: "text", text }, image]);
  }

  async *stream(content, model) {
    const stream = await this.completions.create({
      ...this.#asked(content, model),
      stream: true,
      stream_options: USAGE,
    });
    for await (const chunk of stream) {
      yield { text: chunk.choices[0]?.delta.content ?? "", tokens: chunk.usage?.total_tokens };
    }
  }

  async tools(content) {
    const { name, description, arguments: parameters, answer } = WEATHER;
    const tools = [this.zod.zodFunction({ name, description, parameters })];
    const asked = { ...this.#asked(content), tools };
    const { message, finish_reason: reason } = (await this.completions.parse(asked)).choices[0];
    const [call] = message.tool_calls;
    asked.messages.push(message, { role: "tool", tool_call_id: call.id, content: answer });
    const told = await this.completions.parse(asked);
    return {
      reason,
      name: call.function.name,
      arguments: call.function.parsed_arguments,
      text: told.choices[0].message.content,
    };
  }

  async agent(content, { model, stream = false }) {
    const calls = [];
    const tools = TRIP.map(({ name, description, arguments: parameters, answer }) =>
      this.zod.zodFunction({
        name,
        description,
        parameters,
        function: (given) => {
          calls.push({ name, arguments: given });
          return answer;
        },
      }),
    );
    const runner = this.completions.runTools({ ...this.#asked(content, model), tools, stream });
    return { text: await runner.finalContent(), calls };
  }

  /** The text, the finish reason and the usage of a response. A stream is read by the SDK's helper. */
  async outcome(content, { model, stream = false } = {}) {
    const asked = this.#asked(content, model);
    const { choices, usage } = stream
      ? await this.completions.stream({ ...asked, stream_options: USAGE }).finalChatCompletion()
      : await this.completions.create(asked);
    const [{ message, finish_reason: reason }] = choices;
    return {
      text: message.content,
      reason,
      usage: usage && {
        input: usage.prompt_tokens,
        output: usage.completion_tokens,
        total: usage.total_tokens,
      },
    };
  }
  static filtered = "content_filter";

  async object(content, model) {
    const answer = await this.completions.parse({
      ...this.#asked(content, model),
      response_format: this.zod.zodResponseFormat(CITY, "city"),
    });
    return answer.choices[0].message.parsed;
  }

  async embed(input) {
    const { data } = await this.client.embeddings.create({ model: EMBEDDING_MODEL, input });
    return data.map((item) => item.embedding);
  }

  async models() {
    return (await Array.fromAsync(this.client.models.list())).map((model) => model.id);
  }

  /** The fields of an error besides its message, if it is the client's own error for this status. */
  static told(error, status) {
    const { OpenAI } = this;
    const type = {
      400: OpenAI.BadRequestError,
      403: OpenAI.PermissionDeniedError,
      404: OpenAI.NotFoundError,
      // The SDK has no class of its own for this status.
      413: OpenAI.APIError,
      429: OpenAI.RateLimitError,
      500: OpenAI.InternalServerError,
      503: OpenAI.InternalServerError,
    }[status];
    if (!(error instanceof type)) return undefined;
    return {
      status: error.status,
      type: error.type,
      code: error.code,
      retryAfter: error.headers.get("retry-after"),
    };
  }
}

export class NodeOpenAI6 extends NodeOpenAI {
  static id = "node-openai-6";
  static version = installed("openai-6");
  static OpenAI = OpenAI6;
  static zod = zod6;
}
