// The AI SDK of Vercel with its provider for Vertex AI, for Gemini and for Claude.

import { createGoogleVertex } from "@ai-sdk/google-vertex";
import { createGoogleVertexAnthropic } from "@ai-sdk/google-vertex/anthropic";
import { APICallError, generateText, isStepCount, streamText } from "ai";
import { installed, WEATHER } from "../clients/subjects.mjs";
import { toolsOf } from "../clients/vercel.mjs";
import { CLAUDE, credentials, GEMINI, LOCATION, NO_CLAUDE, NO_GEMINI, PROJECT, retried } from "./subjects.mjs";

export class VercelVertex {
  static id = "vercel-vertex";
  static version = installed("@ai-sdk/google-vertex");
  static lacks = { count_tokens: "it has no call for it" };
  static notes = {};
  static model = GEMINI;
  static unknown = NO_GEMINI;

  constructor({ root, retries }) {
    const googleAuthOptions = { authClient: credentials() };
    const access = { project: PROJECT, location: LOCATION, googleAuthOptions };
    this.provider = this.connect(root, access);
    this.options = { ...retried(retries), telemetry: { isEnabled: false } };
  }

  connect(root, access) {
    return createGoogleVertex({ baseURL: `${root}/v1/publishers/google`, ...access });
  }

  #asked(prompt, model = this.constructor.model) {
    return { model: this.provider(model), prompt, ...this.options };
  }

  async chat(prompt, model) {
    const { text, usage } = await generateText(this.#asked(prompt, model));
    return { text, tokens: usage.totalTokens };
  }

  async *stream(prompt) {
    const { stream } = streamText({ ...this.#asked(prompt), onError: () => {} });
    for await (const part of stream) {
      if (part.type === "error") throw part.error;
      if (part.type === "text-delta") yield { text: part.text };
      if (part.type === "finish") yield { text: "", tokens: part.totalUsage.totalTokens };
    }
  }

  async tools(prompt) {
    const tools = toolsOf([WEATHER]);
    const { steps, text } = await generateText({ ...this.#asked(prompt), tools, stopWhen: isStepCount(2) });
    const [{ toolCalls }] = steps;
    return { name: toolCalls[0].toolName, arguments: toolCalls[0].input, text };
  }

  static status(error) {
    return APICallError.isInstance(error) ? error.statusCode : undefined;
  }

  static interrupted(error) {
    return error instanceof Error;
  }
}

export class VercelClaude extends VercelVertex {
  static id = "vercel-claude";
  static model = CLAUDE;
  /** The first events of a stream have no text. */
  static cutAfter = 6;
  static unknown = NO_CLAUDE;

  connect(root, access) {
    return createGoogleVertexAnthropic({ baseURL: `${root}/v1/publishers/anthropic/models`, ...access });
  }
}
