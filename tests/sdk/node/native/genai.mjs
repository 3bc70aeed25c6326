// Google's SDK, in the form of the Gemini Developer API and in that of Vertex AI.

import { ApiError, GoogleGenAI } from "@google/genai";
import { installed } from "../clients/subjects.mjs";
import { credentials, GEMINI, LOCATION, NO_GEMINI, PROJECT, TOOL } from "./subjects.mjs";

export class GenAI {
  static id = "node-genai";
  static version = installed("@google/genai");
  static lacks = {};
  static notes = {};
  static model = GEMINI;
  static unknown = NO_GEMINI;

  constructor({ root, retries }) {
    // By default it does not retry.
    const retryOptions = retries === 0 ? undefined : {};
    this.models = new GoogleGenAI({
      httpOptions: { baseUrl: root, retryOptions },
      ...this.constructor.access(),
    }).models;
  }

  static access() {
    return { apiKey: "unused" };
  }

  async chat(contents, model = GEMINI) {
    const answer = await this.models.generateContent({ model, contents });
    return { text: answer.text, tokens: answer.usageMetadata.totalTokenCount };
  }

  async *stream(contents) {
    for await (const chunk of await this.models.generateContentStream({ model: GEMINI, contents })) {
      yield { text: chunk.text ?? "", tokens: chunk.usageMetadata?.totalTokenCount };
    }
  }

  async tools(content) {
    const { name, description, schema: parametersJsonSchema, answer } = TOOL;
    const config = { tools: [{ functionDeclarations: [{ name, description, parametersJsonSchema }] }] };
    const contents = [{ role: "user", parts: [{ text: content }] }];
    const called = await this.models.generateContent({ model: GEMINI, contents, config });
    const [call] = called.functionCalls;
    const functionResponse = { name: call.name, response: { result: answer } };
    contents.push(called.candidates[0].content, { role: "user", parts: [{ functionResponse }] });
    const { text } = await this.models.generateContent({ model: GEMINI, contents, config });
    return { name: call.name, arguments: call.args, text };
  }

  async count(contents) {
    return (await this.models.countTokens({ model: GEMINI, contents })).totalTokens;
  }

  /** The status of the client's own error. */
  static status(error) {
    return error instanceof ApiError ? error.status : undefined;
  }

  static interrupted(error) {
    return error instanceof ApiError;
  }
}

export class GenAIVertex extends GenAI {
  static id = "node-genai-vertex";

  static access() {
    const googleAuthOptions = { authClient: credentials() };
    return { vertexai: true, project: PROJECT, location: LOCATION, googleAuthOptions };
  }
}
