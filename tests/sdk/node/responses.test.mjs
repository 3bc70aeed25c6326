// The Responses API by three clients. Vertex AI documents it for the models of xAI alone, and stores none of
// their responses. So each client sends the whole conversation, and has a setting that makes it do this.

import assert from "node:assert/strict";
import test from "node:test";
import { createOpenAI } from "@ai-sdk/openai";
import { HumanMessage, ToolMessage } from "@langchain/core/messages";
import { ChatOpenAI } from "@langchain/openai";
import { generateText, isStepCount, Output, streamText } from "ai";
import OpenAI from "openai";
import { zodResponsesFunction, zodTextFormat } from "openai/helpers/zod";
import { toolOf } from "./clients/langchain.mjs";
import { CITY, GROK, MODEL, TRIP, WEATHER } from "./clients/subjects.mjs";
import { toolsOf } from "./clients/vercel.mjs";
import { Gateway, PATIENCE } from "./gateway.mjs";

const ECHO = "This is the Vertex AI emulator. You said: ";
const STEPS = TRIP.map((tool) => `call the tool ${tool.name}`).join(", then ");
const NAMES = TRIP.map((tool) => tool.name);
const AT_LAST = `${ECHO}${STEPS} The tool said: ${TRIP.at(-1).answer}`;

/** A test with its own gateway. */
function scenario(name, body) {
  test(name, { timeout: 4 * PATIENCE }, async (t) => {
    const gateway = await Gateway.start(t);
    await body(gateway);
    // The client sent no request twice, and none to another path.
    for (const { path, status } of await gateway.requests()) {
      assert.match(path, /\/responses$/);
      assert.equal(status, 200);
    }
  });
}

for (const stream of [false, true]) {
  const how = stream ? "streamed" : "complete";

  scenario(`openai calls three tools in turn, ${how}`, async (gateway) => {
    const client = gateway.client();
    const tools = TRIP.map(({ name, description, arguments: parameters }) =>
      zodResponsesFunction({ name, description, parameters }),
    );
    const input = [{ role: "user", content: STEPS }];
    const called = [];
    for (;;) {
      const asked = { model: GROK, input, tools, store: false };
      const answer = stream
        ? await client.responses.stream(asked).finalResponse()
        : await client.responses.parse(asked);
      const calls = answer.output.filter((item) => item.type === "function_call");
      if (!calls.length) {
        assert.equal(answer.output_text, AT_LAST);
        break;
      }
      for (const { type, call_id, name, arguments: given } of calls) {
        const tool = TRIP.find((tool) => tool.name === name);
        tool.arguments.parse(JSON.parse(given));
        called.push(name);
        input.push({ type, call_id, name, arguments: given });
        input.push({ type: "function_call_output", call_id, output: tool.answer });
      }
    }
    assert.deepEqual(called, NAMES);
  });

  scenario(`the AI SDK's default calls three tools in turn, ${how}`, async (gateway) => {
    const calls = [];
    const asked = { ...vercel(gateway, STEPS), tools: toolsOf(TRIP, calls), stopWhen: isStepCount(10) };
    const result = stream ? await readAll(streamText(asked)) : await generateText(asked);
    assert.deepEqual(calls.map((call) => call.name), NAMES);
    assert.equal(await result.text, AT_LAST);
    assert.ok((await result.usage).totalTokens > 0);
  });
}

scenario("openai returns an object", async (gateway) => {
  const answer = await gateway.client().responses.parse({
    model: GROK,
    input: "Paris",
    store: false,
    text: { format: zodTextFormat(CITY, "city") },
  });
  assert.equal(answer.output_parsed.name, "Paris");
});

scenario("the AI SDK's default returns an object", async (gateway) => {
  const output = Output.object({ schema: CITY, name: "city" });
  const { output: city } = await generateText({ ...vercel(gateway, "Paris"), output });
  assert.equal(city.name, "Paris");
});

scenario("LangChain.js with useResponsesApi calls a tool, streams and returns an object", async (gateway) => {
  const model = new ChatOpenAI({
    model: GROK,
    apiKey: "unused",
    configuration: { baseURL: gateway.url },
    maxRetries: 0,
    useResponsesApi: true,
    // With this, LangChain sends the items of the conversation in place of references to them.
    zdrEnabled: true,
  });
  const messages = [new HumanMessage(`call the tool ${WEATHER.name}`)];
  const bound = model.bindTools([toolOf(WEATHER)]);
  const asked = await bound.invoke(messages);
  const [call] = asked.tool_calls;
  assert.equal(call.name, WEATHER.name);
  WEATHER.arguments.parse(call.args);
  messages.push(asked, new ToolMessage({ tool_call_id: call.id, content: WEATHER.answer }));
  assert.equal((await bound.invoke(messages)).text, `${ECHO}${messages[0].text} The tool said: ${WEATHER.answer}`);

  const texts = [];
  for await (const chunk of await model.stream("one two three")) texts.push(chunk.text);
  assert.equal(texts.join(""), `${ECHO}one two three`);

  const city = await model.withStructuredOutput(CITY, { name: "city" }).invoke("Paris");
  assert.equal(city.name, "Paris");
});

test("Gemini is not served there, and the client's error says so", { timeout: 4 * PATIENCE }, async (t) => {
  const gateway = await Gateway.start(t);
  await assert.rejects(gateway.client().responses.create({ model: MODEL, input: "hello" }), (error) => {
    assert.ok(error instanceof OpenAI.BadRequestError);
    assert.match(error.message, /does not support Responses/);
    return true;
  });
});

/** The provider's default model, which speaks the Responses API. */
function vercel(gateway, prompt) {
  return {
    model: createOpenAI({ baseURL: gateway.url, apiKey: "unused" })(GROK),
    prompt,
    maxRetries: 0,
    telemetry: { isEnabled: false },
    // Without this, the SDK refers to items of earlier responses.
    providerOptions: { openai: { store: false } },
  };
}

async function readAll(result) {
  for await (const part of result.stream) if (part.type === "error") throw part.error;
  return result;
}
