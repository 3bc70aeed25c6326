// With the cures, an agent of each client ends its turn with every shape of streamed calls, and sends back the
// model's own signatures.

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { CLIENTS } from "./clients.mjs";
import { GEMINI_3 } from "./clients/subjects.mjs";
import { atOnce, inTurn } from "./cures.mjs";
import { Gateway, PATIENCE } from "./gateway.mjs";

const STREAMS = ["whole", "openai", "no_index", "null_index", "index_zero", "empty_ids", "as_documented"];
const PLACES = ["trailing", "trailing_call"];
const EVENTS = ["empty_data", "multi_line_data", "single_newlines", "no_done"];
const SHAPES = [
  ...STREAMS.map((tool_stream) => ({ tool_stream })),
  ...PLACES.map((signature) => ({ signature })),
  // The signature comes after calls without an index.
  ...PLACES.map((signature) => ({ signature, tool_stream: "no_index" })),
  ...[true, "two_chunks"].map((stop_after_calls) => ({ stop_after_calls })),
  ...EVENTS.map((event) => ({ stream_events: [event] })),
  { usage: "missing" },
  { usage: "without_counts" },
];

test("a stream without a role and a text is empty, and no error", { timeout: 4 * PATIENCE }, async (t) => {
  const gateway = await Gateway.start(t);
  await gateway.setChat({ choice: "without_message" });
  for (const Client of CLIENTS) {
    const client = new Client({ url: gateway.url, retries: 0 });
    const { text, reason } = await client.outcome("hello", { model: GEMINI_3, stream: true });
    assert.deepEqual({ text: text || "", reason }, { text: "", reason: "stop" }, Client.id);
  }
});

describe("every shape of streamed calls", { concurrency: true }, () => {
  for (const Client of CLIENTS) {
    test(Client.id, { timeout: 4 * PATIENCE }, async (t) => {
      const gateway = await Gateway.start(t);
      for (const shape of SHAPES) {
        // The place of the signature matters in each of several steps, and the other shapes for calls at once.
        for (const run of shape.signature ? [atOnce, inTurn] : [atOnce]) {
          await gateway.control("DELETE", "chat");
          await gateway.setChat(shape);
          const client = new Client({ url: gateway.url, retries: 0 });
          await run(client, gateway, true).catch((error) => {
            assert.fail(`${run.name} with ${JSON.stringify(shape)}: ${error.stack}`);
          });
        }
      }
    });
  }
});
