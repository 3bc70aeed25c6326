// The actions that depend on the sidecar's cures, by any client; `matrix.json` describes them.

import { isDeepStrictEqual } from "node:util";
import { CITY, GEMINI_3, TRIP } from "./clients/subjects.mjs";

const ECHO = "This is the Vertex AI emulator. You said: ";

/** A result that is not what the user needs. Its message is a sentence of the table. */
class Wrong extends Error {}

const shown = (value) => JSON.stringify(value) ?? "undefined";

function expectEqual(what, found, expected) {
  if (!isDeepStrictEqual(found, expected)) {
    throw new Wrong(`${what}: ${shown(found)} instead of ${shown(expected)}`);
  }
}

const [WEATHER, TRAIN, ROOM] = TRIP;
const IN_TURN = [WEATHER, TRAIN, ROOM];
const AT_ONCE = [WEATHER, TRAIN];

/** Runs an agent that has to call these tools once each, and then to return a text. */
async function calls(client, prompt, tools, stream) {
  const { text, calls } = await client.agent(prompt, { model: GEMINI_3, stream });
  const names = calls.map((call) => call.name);
  // The model reads why a call cannot run, and the user does not.
  const [, result] = (text ?? "").split(" The tool said: ");
  if (result && names.length < tools.length) throw new Wrong(`a call does not run, and the model reads: ${result}`);
  expectEqual("the called tools", names, tools.map((tool) => tool.name));
  for (const [place, { arguments: schema }] of tools.entries()) {
    const { success } = schema.safeParse(calls[place].arguments);
    if (!success) throw new Wrong(`the arguments of a call: ${shown(calls[place].arguments)}`);
  }
  expectEqual("the text", text, `${ECHO}${prompt} The tool said: ${tools.at(-1).answer}`);
}

/** Every signature that was due came back, and none was a placeholder. */
async function signaturesCameBack(gateway, count) {
  const { signatures } = await gateway.control("GET", "chat");
  expectEqual("the signatures", signatures, { valid: count, placeholder: 0, missing: 0, wrong: 0 });
}

export async function inTurn(client, gateway, stream) {
  const steps = IN_TURN.map((tool) => `call the tool ${tool.name}`);
  await calls(client, `Please ${steps.join(", then ")}.`, IN_TURN, stream);
  // After the first call each request has one signature more.
  await signaturesCameBack(gateway, 1 + 2 + 3);
}

const NAMES_AT_ONCE = AT_ONCE.map((tool) => tool.name).join(" and ");

export async function atOnce(client, gateway, stream) {
  await calls(client, `Please call the tools ${NAMES_AT_ONCE} at once.`, AT_ONCE, stream);
  // Only the first of several calls at once has a signature.
  await signaturesCameBack(gateway, 1);
}

/** Reads a stream to its end or its error. The texts that arrived before are added to `texts`. */
async function readTexts(client, texts) {
  for await (const { text } of client.stream("one two three", GEMINI_3)) if (text) texts.push(text);
}

/** `run` gets a client of a gateway whose emulator has the behaviour `chat`. It throws if the action fails. */
const ACTIONS = {
  tool_loop: { run: (client, gateway) => inTurn(client, gateway, false) },
  tool_loop_streamed: { run: (client, gateway) => inTurn(client, gateway, true) },
  parallel_calls: { run: (client, gateway) => atOnce(client, gateway, false) },
  parallel_calls_streamed: { run: (client, gateway) => atOnce(client, gateway, true) },

  streamed_arguments: {
    // This action is about the shape of the calls, and the four actions above are about signatures.
    chat: { tool_stream: "as_documented", demand_signatures: false },
    run: (client) => calls(client, `Please call the tools ${NAMES_AT_ONCE} at once.`, AT_ONCE, true),
  },

  thinking: {
    async run(client, gateway) {
      const billed = await usageOf(gateway, "think");
      for (const stream of [false, true]) {
        const { input, output, total } = (await client.outcome("think", { model: GEMINI_3, stream })).usage;
        expectEqual("the total of the usage", total, billed.total_tokens);
        expectEqual("the output tokens", output, total - input);
      }
    },
  },

  gemini_object: {
    async run(client) {
      const object = await client.object("Paris", GEMINI_3);
      const { success, data } = CITY.safeParse(object);
      if (!success) throw new Wrong(`the object: ${shown(object)}`);
      expectEqual("the name in the object", data.name, "Paris");
    },
  },

  blocked: {
    chat: { finish_reason: "content_filter: PROHIBITED_CONTENT" },
    async run(client) {
      for (const stream of [false, true]) {
        const { reason } = await client.outcome("hello", { model: GEMINI_3, stream });
        expectEqual("the finish reason", reason, client.constructor.filtered);
      }
    },
  },

  stream_error: {
    chat: { stream_events: ["error"] },
    async run(client) {
      const texts = [];
      const error = await readTexts(client, texts).then(
        () => undefined,
        (error) => error,
      );
      if (!error) throw new Wrong("the stream ends without an error");
      if (!/service is currently unavailable/.test(error.message)) throw error;
      if (!texts.length) throw new Wrong("no text arrived before the error");
    },
  },

  keep_alive: {
    chat: { stream_events: ["keep_alive"] },
    async run(client) {
      const texts = [];
      await readTexts(client, texts);
      expectEqual("the text", texts.join(""), `${ECHO}one two three`);
    },
  },

  float_embeddings: {
    async run(client, gateway) {
      const expected = await client.embed(["first", "second"]);
      await gateway.setChat({ embeddings: "floats" });
      const found = await client.embed(["first", "second"]);
      for (const [place, vector] of found.entries()) {
        const { length } = expected[place];
        if (vector.length === length && vector.every((value, at) => near(value, expected[place][at]))) continue;
        const what = vector.every((value) => value === 0) ? "zeros" : "other numbers";
        throw new Wrong(`each vector has ${vector.length} ${what} instead of its ${length} numbers`);
      }
    },
  },
};

// base64 has numbers of 32 bits.
const near = (one, other) => Math.abs(one - other) < 1e-6;

/** The usage of a response as Vertex AI states it. */
async function usageOf(gateway, content) {
  const body = JSON.stringify({ model: GEMINI_3, messages: [{ role: "user", content }] });
  const headers = { "content-type": "application/json" };
  const response = await fetch(`${gateway.url}/chat/completions`, { method: "POST", headers, body });
  return (await response.json()).usage;
}

/** Runs an action. Returns its result for the table. */
export async function outcomeOf(action, client, gateway) {
  const { chat = {}, run } = ACTIONS[action];
  await gateway.control("DELETE", "chat");
  await gateway.setChat(chat);
  try {
    await run(client, gateway);
    return { result: "pass" };
  } catch (error) {
    return { result: "fail", says: said(error) };
  }
}

const LONGEST = 200;

/** An error as the user reads it, without what differs between runs, and shortened. */
function said(error) {
  const text = error instanceof Wrong ? error.message : `${error.name}: ${error.message}`;
  const plain = text
    .replaceAll(/\s+/g, " ")
    .replaceAll(/ Learn more: \S+/g, "")
    .replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "…")
    .replaceAll(/127\.0\.0\.1:\d+/g, "127.0.0.1")
    .replaceAll(/(file:\/\/)?\/[\w./@-]+\/node_modules\/[\w./@-]+/g, "…");
  return plain.length > LONGEST ? `${plain.slice(0, LONGEST).trimEnd()}…` : plain;
}
