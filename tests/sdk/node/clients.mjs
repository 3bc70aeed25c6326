// One adapter for each client, with the same methods.
//
// `new Client({ url, key, retries })`: without `retries` the client uses its default. Timeouts are always the
// client's defaults. A call that fails throws the client's own error.

import { readFileSync } from "node:fs";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, embedMany, generateText, isStepCount, Output, streamText, tool } from "ai";
import OpenAI from "openai";
import { zodFunction, zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

export const MODEL = "google/gemini-2.5-flash";
export const EMBEDDING_MODEL = "google/text-embedding-005";

/** The tool that a model may call. */
export const WEATHER = {
  name: "weather",
  description: "The weather in a city",
  arguments: z.strictObject({ city: z.string(), unit: z.enum(["celsius", "fahrenheit"]) }),
  answer: "22 degrees",
};

/** The schema of a structured response. */
export const CITY = z.strictObject({
  name: z.string(),
  inhabitants: z.int().min(1),
  languages: z.array(z.string()),
});

const installed = (name) =>
  JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url))).version;

class NodeOpenAI {
  static id = "node-openai";
  static version = installed("openai");
  static none = [];
  static notes = {};
  static types = {
    400: OpenAI.BadRequestError,
    403: OpenAI.PermissionDeniedError,
    404: OpenAI.NotFoundError,
    // The SDK has no class of its own for this status.
    413: OpenAI.APIError,
    429: OpenAI.RateLimitError,
    500: OpenAI.InternalServerError,
    503: OpenAI.InternalServerError,
  };

  constructor({ url, key = "unused", retries }) {
    this.client = new OpenAI({ baseURL: url, apiKey: key, maxRetries: retries });
  }

  async chat(content, model = MODEL) {
    const messages = [{ role: "user", content }];
    const answer = await this.client.chat.completions.create({ model, messages });
    return { text: answer.choices[0].message.content, tokens: answer.usage.total_tokens };
  }

  image(text, url) {
    const image = { type: "image_url", image_url: { url } };
    return this.chat([{ type: "text", text }, image]);
  }

  async *stream(content) {
    const stream = await this.client.chat.completions.create({
      model: MODEL,
      messages: [{ role: "user", content }],
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      yield { text: chunk.choices[0].delta.content, tokens: chunk.usage?.total_tokens };
    }
  }

  async tools(content) {
    const { name, description, arguments: parameters, answer } = WEATHER;
    const tools = [zodFunction({ name, description, parameters })];
    const messages = [{ role: "user", content }];
    const asked = await this.client.chat.completions.parse({ model: MODEL, messages, tools });
    const { message, finish_reason: reason } = asked.choices[0];
    const [call] = message.tool_calls;
    messages.push(message, { role: "tool", tool_call_id: call.id, content: answer });
    const told = await this.client.chat.completions.parse({ model: MODEL, messages, tools });
    return {
      reason,
      name: call.function.name,
      arguments: call.function.parsed_arguments,
      text: told.choices[0].message.content,
    };
  }

  async object(content) {
    const answer = await this.client.chat.completions.parse({
      model: MODEL,
      messages: [{ role: "user", content }],
      response_format: zodResponseFormat(CITY, "city"),
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
    if (!(error instanceof NodeOpenAI.types[status])) return undefined;
    return {
      status: error.status,
      type: error.type,
      code: error.code,
      retryAfter: error.headers.get("retry-after"),
    };
  }
}

class VercelAI {
  static id = "vercel-ai";
  static version = installed("ai");
  static none = ["models"];
  static notes = {
    models: "neither the SDK nor its provider for OpenAI's API has a call for this",
    cut_stream: "the error arrives as a part of `stream` and in `onError`; `textStream` ends without an error",
  };

  constructor({ url, key = "unused", retries }) {
    this.provider = createOpenAICompatible({
      name: "vertex",
      baseURL: url,
      apiKey: key,
      includeUsage: true,
      supportsStructuredOutputs: true,
    });
    this.options = { maxRetries: retries, telemetry: { isEnabled: false } };
  }

  async #generate(content, model, options) {
    const messages = [{ role: "user", content }];
    const asked = { model: this.provider(model), messages, ...this.options, ...options };
    return generateText(asked);
  }

  async chat(content, model = MODEL) {
    const { text, usage } = await this.#generate(content, model);
    return { text, tokens: usage.totalTokens };
  }

  image(text, url) {
    const [, mediaType, data] = /^data:([^;]+);base64,(.*)$/.exec(url);
    return this.chat([{ type: "text", text }, { type: "file", mediaType, data }]);
  }

  async *stream(content) {
    const { stream } = streamText({
      model: this.provider(MODEL),
      prompt: content,
      // The error is a part of the stream, too. By default the SDK also prints it.
      onError: () => {},
      ...this.options,
    });
    for await (const part of stream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") yield { text: part.text };
      if (part.type === "finish") yield { tokens: part.totalUsage.totalTokens };
    }
  }

  async tools(content) {
    const { name, description, arguments: inputSchema, answer } = WEATHER;
    const tools = { [name]: tool({ description, inputSchema, execute: () => answer }) };
    const stopWhen = isStepCount(2);
    const { steps, text } = await this.#generate(content, MODEL, { tools, stopWhen });
    const [{ toolCalls, rawFinishReason: reason }] = steps;
    return { reason, name: toolCalls[0].toolName, arguments: toolCalls[0].input, text };
  }

  async object(content) {
    const output = Output.object({ schema: CITY, name: "city" });
    return (await this.#generate(content, MODEL, { output })).output;
  }

  async embed(values) {
    const model = this.provider.embeddingModel(EMBEDDING_MODEL);
    return (await embedMany({ model, values, ...this.options })).embeddings;
  }

  static told(error, status) {
    if (!APICallError.isInstance(error) || error.statusCode !== status) return undefined;
    return { status, retryAfter: error.responseHeaders["retry-after"] ?? null };
  }
}

export const CLIENTS = [NodeOpenAI, VercelAI];
