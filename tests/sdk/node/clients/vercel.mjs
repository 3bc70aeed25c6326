// The AI SDK of Vercel, with three of its providers for OpenAI's API of chat completions.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { createOpenAICompatible as createOpenAICompatible2 } from "@ai-sdk/openai-compatible-2";
import { APICallError, embedMany, generateText, isStepCount, Output, streamText, tool } from "ai";
import { CITY, EMBEDDING_MODEL, installed, MODEL, TRIP, WEATHER } from "./subjects.mjs";

/** Tools of the AI SDK. Each call that runs is added to `calls`. */
export const toolsOf = (list, calls = []) =>
  Object.fromEntries(
    list.map(({ name, description, arguments: inputSchema, answer }) => {
      const execute = (given) => {
        calls.push({ name, arguments: given });
        return answer;
      };
      return [name, tool({ description, inputSchema, execute })];
    }),
  );

export class VercelAI {
  static id = "vercel-ai";
  static version = installed("ai");
  static lacks = { models: "neither the SDK nor its provider for OpenAI's API has a call for this" };
  static notes = {
    cut_stream: "the error arrives as a part of `stream` and in `onError`; `textStream` ends without an error",
  };

  constructor({ url, key = "unused", retries }) {
    this.provider = this.connect({ baseURL: url, apiKey: key });
    this.options = { maxRetries: retries, telemetry: { isEnabled: false } };
  }

  connect(options) {
    return createOpenAICompatible({
      name: "vertex",
      includeUsage: true,
      supportsStructuredOutputs: true,
      ...options,
    });
  }

  model(name) {
    return this.provider(name);
  }

  #asked(content, model = MODEL) {
    const messages = [{ role: "user", content }];
    return { model: this.model(model), messages, ...this.options };
  }

  /** Reads a stream to its end, and returns its result. An error is a part of the stream. */
  async #read(asked) {
    // By default the SDK also prints the error.
    const result = streamText({ ...asked, onError: () => {} });
    for await (const part of result.stream) {
      if (part.type === "error") throw part.error;
    }
    return result;
  }

  async chat(content, model) {
    const { text, usage } = await generateText(this.#asked(content, model));
    return { text, tokens: usage.totalTokens };
  }

  image(text, url) {
    const [, mediaType, data] = /^data:([^;]+);base64,(.*)$/.exec(url);
    return this.chat([{ type: "text", text }, { type: "file", mediaType, data }]);
  }

  async *stream(content, model) {
    const { stream } = streamText({ ...this.#asked(content, model), onError: () => {} });
    for await (const part of stream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") yield { text: part.text };
      if (part.type === "finish") yield { tokens: part.totalUsage.totalTokens };
    }
  }

  async tools(content) {
    const asked = { ...this.#asked(content), tools: toolsOf([WEATHER]), stopWhen: isStepCount(2) };
    const { steps, text } = await generateText(asked);
    const [{ toolCalls, rawFinishReason: reason }] = steps;
    return { reason, name: toolCalls[0].toolName, arguments: toolCalls[0].input, text };
  }

  async agent(content, { model, stream = false }) {
    const calls = [];
    const stopWhen = isStepCount(10);
    const asked = { ...this.#asked(content, model), tools: toolsOf(TRIP, calls), stopWhen };
    const result = stream ? await this.#read(asked) : await generateText(asked);
    return { text: await result.text, calls };
  }

  async outcome(content, { model, stream = false } = {}) {
    const asked = this.#asked(content, model);
    const result = stream ? await this.#read(asked) : await generateText(asked);
    const { inputTokens: input, outputTokens: output, totalTokens: total } = await result.usage;
    return { text: await result.text, reason: await result.finishReason, usage: { input, output, total } };
  }
  static filtered = "content-filter";

  async object(content, model) {
    const output = Output.object({ schema: CITY, name: "city" });
    return (await generateText({ ...this.#asked(content, model), output })).output;
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

export class VercelAI2 extends VercelAI {
  static id = "vercel-ai-2";
  static version = installed("@ai-sdk/openai-compatible-2");

  connect(options) {
    return createOpenAICompatible2({
      name: "vertex",
      includeUsage: true,
      supportsStructuredOutputs: true,
      ...options,
    });
  }
}

export class VercelOpenAI extends VercelAI {
  static id = "vercel-openai";
  static version = installed("@ai-sdk/openai");

  connect(options) {
    return createOpenAI(options);
  }

  model(name) {
    return this.provider.chat(name);
  }
}
