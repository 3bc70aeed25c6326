// The real `openai` package through `vertex-gateway --emulator`, with only its base URL set.

import assert from "node:assert/strict";
import test from "node:test";
import OpenAI from "openai";
import { EMBEDDING_MODEL, GROK, MODEL } from "./clients/subjects.mjs";
import { Gateway, PATIENCE, poll } from "./gateway.mjs";

const ECHO = "This is the Vertex AI emulator. You said: ";

const ask = (text) => ({ model: MODEL, messages: [{ role: "user", content: text }] });

function assertChat(answer, text) {
  assert.equal(answer.object, "chat.completion");
  assert.equal(answer.choices[0].message.content, ECHO + text);
  assert.equal(answer.choices[0].finish_reason, "stop");
  assert.ok(answer.usage.total_tokens > 0);
}

async function read(stream) {
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  return chunks;
}

const joined = (chunks) => chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");

/** A test with its own gateway and client. */
function scenario(name, body) {
  test(name, { timeout: 4 * PATIENCE }, async (t) => {
    const gateway = await Gateway.start(t);
    await body(gateway.client(), gateway);
  });
}

scenario("chat", async (client) => {
  assertChat(await client.chat.completions.create(ask("Grüße 🦀")), "Grüße 🦀");
});

scenario("environment variables alone are enough", async (_, gateway) => {
  process.env.OPENAI_BASE_URL = gateway.url;
  process.env.OPENAI_API_KEY = "unused";
  try {
    const answer = await new OpenAI().chat.completions.create(ask("from the environment"));
    assertChat(answer, "from the environment");
  } finally {
    delete process.env.OPENAI_BASE_URL;
    delete process.env.OPENAI_API_KEY;
  }
});

scenario("Google's own base URL with another host", async (_, gateway) => {
  // The base URL has the form of Google's guide to the OpenAI library.
  const of = "projects/emulator/locations/us-central1/endpoints/openapi";
  const at = (path) => gateway.client({ baseURL: gateway.url.replace(/v1$/, path) });
  for (const version of ["v1", "v1beta1"]) {
    const client = at(`${version}/${of}`);
    assertChat(await client.chat.completions.create(ask("whole")), "whole");
    const stream = await client.chat.completions.create({ ...ask("streamed"), stream: true });
    assert.equal(joined(await read(stream)), ECHO + "streamed");
  }
  const elsewhere = at(`v1/${of.replace("us-central1", "europe-west4")}`);
  await assert.rejects(elsewhere.chat.completions.create(ask("elsewhere")), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.code, "resource_not_served");
    assert.match(error.message, new RegExp(of));
    return true;
  });
});

scenario("streaming", async (client) => {
  const options = { stream: true, stream_options: { include_usage: true } };
  const stream = await client.chat.completions.create({ ...ask("one two three"), ...options });
  const chunks = await read(stream);
  assert.equal(chunks.length, 5);
  assert.equal(joined(chunks), ECHO + "one two three");
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
});

scenario("the streaming helper", async (client) => {
  const answer = await client.chat.completions.stream(ask("events")).finalChatCompletion();
  assertChat(answer, "events");
});

scenario("embeddings", async (client) => {
  const asked = { model: EMBEDDING_MODEL, input: ["first", "second"] };
  // The SDK requests base64 by default, and decodes it.
  const decoded = await client.embeddings.create(asked);
  const floats = await client.embeddings.create({ ...asked, encoding_format: "float" });
  assert.equal(decoded.data.length, 2);
  for (const [index, item] of decoded.data.entries()) {
    assert.equal(item.embedding.length, 768);
    const near = item.embedding.every(
      (value, place) => Math.abs(value - floats.data[index].embedding[place]) < 1e-6,
    );
    assert.ok(near, "both encodings give the same vector");
  }
});

scenario("completions", async (client) => {
  const answer = await client.completions.create({ model: MODEL, prompt: "Once upon a time" });
  assert.equal(answer.choices[0].text, ECHO + "Once upon a time");
});

scenario("responses, complete and streamed", async (client) => {
  const asked = { model: GROK, input: "an input", store: false };
  assert.equal((await client.responses.create(asked)).output_text, ECHO + "an input");
  const events = await read(await client.responses.create({ ...asked, stream: true }));
  const deltas = events.filter((event) => event.type === "response.output_text.delta");
  assert.equal(deltas.map((event) => event.delta).join(""), ECHO + "an input");
  assert.equal(events.at(-1).type, "response.completed");
});

scenario("fifty concurrent calls share one token", async (client, gateway) => {
  const texts = Array.from({ length: 50 }, (_, number) => `call ${number}`);
  const calls = texts.map((text) => client.chat.completions.create(ask(text)));
  for (const [index, answer] of (await Promise.all(calls)).entries()) {
    assertChat(answer, texts[index]);
  }
  const stats = await gateway.stats();
  assert.deepEqual(stats.by_status, { 200: 50 });
  assert.equal(stats.token_mints, 1);
});

scenario("a bare model gets its publisher", async (client) => {
  const answer = await client.chat.completions.create({ ...ask("hi"), model: "gemini-2.5-flash" });
  assertChat(answer, "hi");
});

scenario("an error of the service has OpenAI's format", async (client, gateway) => {
  await gateway.control("PUT", "faults", { api: { status: 403, times: 1 } });
  await assert.rejects(client.chat.completions.create(ask("hello")), (error) => {
    assert.ok(error instanceof OpenAI.PermissionDeniedError);
    assert.match(error.message, /Permission 'aiplatform.endpoints.predict' denied/);
    assert.equal(error.type, "invalid_request_error");
    assert.equal(error.code, "403");
    return true;
  });
});

scenario("an interrupted stream is an error", async (client, gateway) => {
  await gateway.control("PUT", "faults", { stream: { cut_after: 2 } });
  let chunks = 0;
  const read = async () => {
    const stream = await client.chat.completions.create({ ...ask("hello"), stream: true });
    for await (const _ of stream) chunks += 1;
  };
  await assert.rejects(read(), (error) => {
    assert.equal(error.code, "stream_interrupted");
    return true;
  });
  assert.equal(chunks, 2);
});

scenario("an unsupported path is not found", async (client, gateway) => {
  await assert.rejects(client.files.list(), (error) => {
    assert.ok(error instanceof OpenAI.NotFoundError);
    assert.equal(error.status, 404);
    assert.equal(error.code, "unsupported_path");
    assert.equal(error.type, "invalid_request_error");
    assert.match(error.message, /"\/v1\/files" is not served by this Vertex AI endpoint/);
    return true;
  });
  const { api_requests } = await gateway.stats();
  assert.equal(api_requests, 0, "the request did not reach Vertex AI");
});

// Sends calls of every kind for about eight seconds. In that time tokens with a lifetime of three
// seconds expire, and are revoked three times. The gateway forces at most three refreshes within 30
// s.
scenario("no call fails while tokens expire and are revoked", async (client, gateway) => {
  // Each stream lasts longer than the token that it began with.
  await gateway.setStream({ chunks: 40, chunk_delay_ms: 100 });
  let succeeded = 0;
  let over = false;

  const calls = async (call) => {
    while (!over) {
      await call();
      succeeded += 1;
    }
  };
  const chat = async () => {
    assertChat(await client.chat.completions.create(ask("chat")), "chat");
  };
  const stream = async () => {
    const chunks = await read(
      await client.chat.completions.create({ ...ask("stream"), stream: true }),
    );
    assert.equal(joined(chunks), ECHO + "stream");
  };
  const embed = async () => {
    const answer = await client.embeddings.create({ model: EMBEDDING_MODEL, input: "embed" });
    assert.equal(answer.data[0].embedding.length, 768);
  };
  const nextToken = (after) =>
    poll(async () => {
      const newest = await gateway.newestTokenAtWork();
      return newest > after && newest;
    }, 100);
  const trouble = async () => {
    let token = await nextToken(0);
    await gateway.setToken({ expires_in: 3 });
    for (let round = 0; round < 3; round += 1) {
      // The revocation comes right after a new token came into use, when no other token is being
      // fetched. Such a token would be revoked on arrival, and a request is sent at most twice.
      await gateway.revoke();
      token = await nextToken(token);
      // This token is fetched because the previous one is close to its expiry.
      token = await nextToken(token);
    }
  };

  const workers = [chat, chat, stream, stream, embed].map(calls);
  try {
    // A failed call ends the test immediately, and not at the end of the wait.
    await Promise.race([trouble(), Promise.all(workers)]);
  } finally {
    over = true;
  }
  await Promise.all(workers);

  const stats = await gateway.stats();
  // Every call of the SDK ended with 200, and the SDK saw none of the 401s.
  assert.deepEqual(Object.keys(stats.by_status), ["200", "401"]);
  assert.equal(stats.by_status[200], succeeded);
  assert.ok(stats.by_status[401] >= 3, "each revocation caused a 401");
  // The first token, three after a revocation, and three after an expiry.
  assert.ok(stats.token_mints >= 7);
  assert.ok(stats.streams.completed >= 4);
  assert.equal(stats.streams.aborted, 0);
});

scenario("the first chunk arrives before the second is sent", async (client, gateway) => {
  await gateway.setStream({ chunks: 3, chunk_delay_ms: 60_000 });
  const stream = await client.chat.completions.create({ ...ask("slowly"), stream: true });
  for await (const chunk of stream) {
    const text = ECHO + "slowly";
    assert.equal(chunk.choices[0].delta.content, text.slice(0, text.length / 3));
    const [request] = await gateway.requests();
    assert.equal(request.chunks_sent, 1);
    break;
  }
});

scenario("a disconnect of the client ends the upstream stream", async (client, gateway) => {
  await gateway.setStream({ chunks: 3, chunk_delay_ms: 60_000 });
  const stream = await client.chat.completions.create({ ...ask("slowly"), stream: true });
  for await (const _ of stream) {
    assert.deepEqual((await gateway.stats()).streams, { open: 1, completed: 0, aborted: 0 });
    stream.controller.abort();
  }
  await poll(async () => (await gateway.stats()).streams.aborted);
  assert.deepEqual((await gateway.stats()).streams, { open: 0, completed: 0, aborted: 1 });
});
