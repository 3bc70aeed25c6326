// LangChain.js: ChatOpenAI, and the agent of LangChain, which LangGraph runs.

import { tool } from "@langchain/core/tools";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { createAgent } from "langchain";
import { CITY, EMBEDDING_MODEL, installed, MODEL, TRIP, WEATHER } from "./subjects.mjs";

/** A tool of LangChain. Each call that runs is added to `calls`. */
export const toolOf = ({ name, description, arguments: schema, answer }, calls = []) => {
  const call = (given) => {
    calls.push({ name, arguments: given });
    return answer;
  };
  return tool(call, { name, description, schema });
};

/** The errors are those of the `openai` package that it depends on. */
const OWN = {
  400: "BadRequestError",
  403: "PermissionDeniedError",
  404: "NotFoundError",
  413: "APIError",
  429: "RateLimitError",
  500: "InternalServerError",
  503: "InternalServerError",
};

export class LangChain {
  static id = "langchain-js";
  static version = installed("@langchain/openai");
  static lacks = { models: "it has no call that lists models" };
  static notes = { 429: "it retries a 429 only with Retry-After, which Google's 429 lacks without RetryInfo" };
  /** Errors that its own retries do not repeat, which `notes` explains. */
  static unretried = ["429"];

  constructor({ url, key = "unused", retries }) {
    this.options = { apiKey: key, configuration: { baseURL: url }, maxRetries: retries };
  }

  model(model = MODEL, options = {}) {
    return new ChatOpenAI({ model, streamUsage: true, ...options, ...this.options });
  }

  async chat(content, model) {
    const answer = await this.model(model).invoke([{ role: "user", content }]);
    return { text: answer.text, tokens: answer.usage_metadata.total_tokens };
  }

  image(text, url) {
    const image = { type: "image_url", image_url: { url } };
    return this.chat([{ type: "text", text }, image]);
  }

  async tools(content) {
    const messages = [{ role: "user", content }];
    const model = this.model().bindTools([toolOf(WEATHER)]);
    const asked = await model.invoke(messages);
    const [call] = asked.tool_calls;
    messages.push(asked, await toolOf(WEATHER).invoke({ ...call, type: "tool_call" }));
    return {
      reason: asked.response_metadata.finish_reason,
      name: call.name,
      arguments: call.args,
      text: (await model.invoke(messages)).text,
    };
  }

  async *stream(content, model) {
    for await (const chunk of await this.model(model).stream(content)) {
      yield { text: chunk.text, tokens: chunk.usage_metadata?.total_tokens };
    }
  }

  /** Streams a response, and returns the sum of its chunks. */
  async #read(content, model) {
    let sum;
    for await (const chunk of await this.model(model).stream(content)) sum = sum?.concat(chunk) ?? chunk;
    return sum;
  }

  async agent(content, { model, stream = false }) {
    const calls = [];
    const agent = createAgent({
      model: this.model(model),
      tools: TRIP.map((each) => toolOf(each, calls)),
    });
    const asked = { messages: [{ role: "user", content }] };
    if (!stream) return { text: (await agent.invoke(asked)).messages.at(-1).text, calls };
    // In this mode LangGraph streams the responses of the model. The other mode gives the whole messages.
    let last;
    for await (const [mode, part] of await agent.stream(asked, { streamMode: ["messages", "values"] })) {
      if (mode === "values") last = part.messages.at(-1);
    }
    return { text: last.text, calls };
  }

  async outcome(content, { model, stream = false } = {}) {
    const answer = await (stream ? this.#read(content, model) : this.model(model).invoke(content));
    const { usage_metadata: usage, response_metadata: metadata } = answer;
    return {
      text: answer.text,
      reason: metadata.finish_reason,
      usage: usage && { input: usage.input_tokens, output: usage.output_tokens, total: usage.total_tokens },
    };
  }
  static filtered = "content_filter";

  object(content, model) {
    return this.model(model).withStructuredOutput(CITY, { name: "city" }).invoke(content);
  }

  embed(texts) {
    return new OpenAIEmbeddings({ model: EMBEDDING_MODEL, ...this.options }).embedDocuments(texts);
  }
  static told(error, status) {
    if (error.constructor.name !== OWN[status] || error.status !== status) return undefined;
    const { type, code } = error;
    return { status, type, code, retryAfter: error.headers.get("retry-after") };
  }
}
