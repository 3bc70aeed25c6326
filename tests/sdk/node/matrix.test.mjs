// Tests of the clients of `clients.mjs` through `vertex-gateway --emulator`. `matrix.json`
// describes each cell; the results are in `target/sdk/`.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, before, describe, test } from "node:test";
import { CLIENTS } from "./clients.mjs";
import { CITY, WEATHER } from "./clients/subjects.mjs";
import { outcomeOf } from "./cures.mjs";
import { Gateway, PATIENCE, withFile } from "./gateway.mjs";

const MATRIX = JSON.parse(readFileSync(new URL("../matrix.json", import.meta.url)));
const RESULTS = new URL("../../../target/sdk/", import.meta.url);

const ECHO = "This is the Vertex AI emulator. You said: ";
// A name without a slash would get its publisher from the gateway.
const MALFORMED = "/gemini-2.5-flash";
// An image of one pixel.
const PNG =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6" +
  "kgAAAABJRU5ErkJggg==";
const TWO_MODELS = `
[[model]]
name = "fast"
model = "gemini-2.5-flash"

[[model]]
name = "vectors"
model = "text-embedding-005"
`;

/** The test of one cell. It starts its own gateways and clients. */
class Cell {
  constructor(t, Client, action, results) {
    Object.assign(this, { t, Client, action, results });
  }

  gateway = (...options) => Gateway.start(this.t, ...options);
  client = ({ url }) => new this.Client({ url });
  /** A client without its retries. */
  once = ({ url }) => new this.Client({ url, retries: 0 });

  /** Asserts that a call fails with the client's own error for this status. Its message must match and not be JSON. */
  async fails(call, status, says) {
    const error = await failure(call);
    const told = this.Client.told(error, status);
    assert.ok(told, `the client's own error of a ${status}, not ${error}`);
    assert.match(error.message, says);
    assert.doesNotMatch(error.message, /[[{]\s*["{]/);
    return told;
  }

  /** Saves the text of the error for this model: without the gateway, and through it. */
  async sees(gateway, model) {
    const key = await gateway.token();
    const raw = new this.Client({ url: gateway.vertex, key, retries: 0 });
    this.results.sees[this.action] = {
      raw: this.printed(await failure(raw.chat("hello", model))),
      layer: this.printed(await failure(this.once(gateway).chat("hello", model))),
    };
  }

  printed(error) {
    const { status, type, code } = this.Client.told(error, Number(this.action));
    const told = Object.entries({ status, type, code }).filter(([, value]) => value != null);
    const attributes = told.map(([name, value]) => `${name}=${value}`).join(", ");
    return `${error.name}: ${error.message} (${attributes})`;
  }
}

async function failure(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  return assert.fail("the call succeeded");
}

/** Tests a fault that the client retries: an error without its retries, a success with them. */
const retried = (says, fault = {}) =>
  async (cell) => {
    const gateway = await cell.gateway();
    const status = Number.parseInt(cell.action);
    await gateway.setFault({ status, ...fault });
    const told = await cell.fails(cell.once(gateway).chat("hello"), status, says);
    assert.deepEqual((await gateway.stats()).by_status, { [status]: 1 });
    if (MATRIX.errors.includes(cell.action)) await cell.sees(gateway);

    await gateway.control("DELETE", "stats");
    await gateway.setFault({ status, times: 1, ...fault });
    if (cell.Client.unretried?.includes(cell.action)) {
      await cell.fails(cell.client(gateway).chat("again"), status, says);
      assert.deepEqual((await gateway.stats()).by_status, { [status]: 1 });
      return {};
    }
    const began = performance.now();
    assert.equal((await cell.client(gateway).chat("again")).text, `${ECHO}again`);
    const took = performance.now() - began;
    assert.deepEqual((await gateway.stats()).by_status, { [status]: 1, 200: 1 });
    return { told, took };
  };

/** Tests an error that no client retries. The model causes it or, without a model, a fault. */
const refused = (says, model) =>
  async (cell) => {
    const gateway = await cell.gateway();
    const status = Number(cell.action);
    if (!model) await gateway.setFault({ status });
    await cell.fails(cell.client(gateway).chat("hello", model), status, says);
    assert.deepEqual((await gateway.stats()).by_status, { [status]: 1 });
    await cell.sees(gateway, model);
  };

const CELLS = {
  async chat(cell) {
    const { text, tokens } = await cell.once(await cell.gateway()).chat("Grüße 🦀");
    assert.equal(text, `${ECHO}Grüße 🦀`);
    assert.ok(tokens > 0);
  },

  async streaming(cell) {
    await readsStream(cell.once(await cell.gateway()));
  },

  async tools(cell) {
    const asked = `Paris? Call the tool ${WEATHER.name}.`;
    const called = await cell.once(await cell.gateway()).tools(asked);
    assert.equal(called.reason, "tool_calls");
    assert.equal(called.name, WEATHER.name);
    assert.equal(WEATHER.arguments.parse(called.arguments).city, "example");
    assert.equal(called.text, `${ECHO}${asked} The tool said: ${WEATHER.answer}`);
  },

  async structured_output(cell) {
    const object = await cell.once(await cell.gateway()).object("Paris");
    assert.equal(CITY.parse(object).name, "Paris");
  },

  async image(cell) {
    const { text } = await cell.once(await cell.gateway()).image("Look:", PNG);
    assert.equal(text, `${ECHO}Look: [image/png, 70 bytes]`);
  },

  async embeddings(cell) {
    const client = cell.once(await cell.gateway());
    const both = await client.embed(["first", "second"]);
    const [[first], [second]] = [await client.embed(["first"]), await client.embed(["second"])];
    assert.deepEqual(both, [first, second]);
    assert.equal(first.length, 768);
    assert.notDeepEqual(first, second);
  },

  async models(cell) {
    const listed = await withFile("gateway.toml", TWO_MODELS, async (file) => {
      return cell.once(await cell.gateway("--config", file)).models();
    });
    assert.deepEqual(listed.slice(0, 2), ["fast", "vectors"]);
    assert.ok(listed.includes("google/gemini-2.5-flash"));
  },

  400: refused(/Malformed publisher model/, MALFORMED),

  async "401_healed"(cell) {
    const gateway = await cell.gateway();
    const client = cell.once(gateway);
    await client.chat("before");
    await gateway.revoke();
    assert.equal((await client.chat("after")).text, `${ECHO}after`);
    const { by_status, token_mints } = await gateway.stats();
    assert.deepEqual({ by_status, token_mints }, { by_status: { 200: 2, 401: 1 }, token_mints: 2 });
  },

  403: refused(/Permission 'aiplatform.endpoints.predict' denied/),
  404: refused(/Publisher Model `.*` was not found/, "google/no-such-model"),

  async 413(cell) {
    const gateway = await cell.gateway("--max-request-bytes", `${1024 * 1024}`);
    const call = cell.once(gateway).chat("x".repeat(8 * 1024 * 1024));
    await cell.fails(call, 413, /1048576 bytes/);
    assert.equal((await gateway.stats()).api_requests, 0);
  },

  429: retried(/Resource exhausted/),

  async "429_retry_info"(cell) {
    const run = retried(/Resource exhausted/, { retry_delay: "2s" });
    const { told, took } = await run(cell);
    assert.equal(told.retryAfter, "2");
    assert.ok(took >= 2000, `the second request came ${took} ms after the first`);
  },

  500: retried(/Internal error/),
  503: retried(/The service is currently unavailable/),

  async cut_stream(cell) {
    const gateway = await cell.gateway();
    await gateway.setStream({ cut_after: 2 });
    const texts = [];
    const read = async () => {
      for await (const { text } of cell.once(gateway).stream("hello")) texts.push(text);
    };
    const error = await failure(read());
    assert.equal(error.code, "stream_interrupted");
    assert.match(error.message, /broke in the middle of the response/);
    assert.equal(texts.length, 2);
    assert.ok(`${ECHO}hello`.startsWith(texts.join("")));
  },

  async silence(cell) {
    const gateway = await cell.gateway();
    await gateway.setStream({ first_byte_delay_ms: 30_000 });
    await readsStream(cell.once(gateway));
    assert.deepEqual((await gateway.stats()).by_status, { 200: 1 });
  },
};

async function readsStream(client) {
  const chunks = [];
  for await (const chunk of client.stream("one two three")) chunks.push(chunk);
  const texts = chunks.map((chunk) => chunk.text).filter(Boolean);
  assert.equal(texts.length, 5);
  assert.equal(texts.join(""), `${ECHO}one two three`);
  assert.ok(chunks.some((chunk) => chunk.tokens > 0), "usage");
}

/** The tests of a client, for the tables that it is in. */
function testsOf(Client) {
  const file = new URL(`${Client.id}.json`, RESULTS);
  const { id, version, lacks, notes } = Client;
  const results = { client: id, version, notes: { ...notes, ...lacks } };
  before(() => rmSync(file, { force: true }));
  after(() => {
    mkdirSync(RESULTS, { recursive: true });
    writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  });

  const named = ({ clients }) => clients.find((client) => client.id === Client.id);
  if (named(MATRIX)) matrixOf(Client, results);
  const cured = named(MATRIX.cures);
  if (cured) {
    results.cures = {};
    curesOf(Client, "off", cured.red, results);
    curesOf(Client, "on", cured.uncured ?? [], results);
  }
}

function matrixOf(Client, results) {
  results.cells = Object.fromEntries(MATRIX.actions.map(({ id }) => [id, "fail"]));
  results.sees = {};
  for (const { id } of MATRIX.actions) {
    if (Client.lacks[id]) {
      results.cells[id] = "none";
      continue;
    }
    test(id, { timeout: 4 * PATIENCE }, async (t) => {
      await CELLS[id](new Cell(t, Client, id, results));
      results.cells[id] = "pass";
    });
  }
}

/** One gateway, with or without its cures, for all actions. Exactly those of `red` fail. */
function curesOf(Client, column, red, results) {
  const found = (results.cures[column] = {});
  test(`cures ${column}`, { timeout: 4 * PATIENCE }, async (t) => {
    const gateway = await Gateway.start(t, "--compat", column === "off" ? "off" : MATRIX.cures.compat);
    for (const { id } of MATRIX.cures.actions) {
      if (Client.lacks[id]) {
        found[id] = { result: "none" };
        continue;
      }
      await t.test(id, async () => {
        const client = new Client({ url: gateway.url, retries: 0 });
        found[id] = await outcomeOf(id, client, gateway);
        const expected = red.includes(id) ? "fail" : "pass";
        assert.equal(found[id].result, expected, found[id].says);
      });
    }
  });
}

// All cells run concurrently, because one of them waits for 30 s.
describe("the matrix", { concurrency: true }, () => {
  for (const Client of CLIENTS) {
    describe(Client.id, { concurrency: true }, () => testsOf(Client));
  }
});
