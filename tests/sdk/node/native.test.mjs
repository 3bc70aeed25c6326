// Tests of the clients of `native.mjs` through `vertex-gateway --emulator`. `native` in `matrix.json` describes
// each cell; the results are in `target/sdk/`.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { WEATHER } from "./clients/subjects.mjs";
import { Gateway, PATIENCE } from "./gateway.mjs";
import { NATIVE } from "./native.mjs";

const { native: MATRIX } = JSON.parse(readFileSync(new URL("../matrix.json", import.meta.url)));
const RESULTS = new URL("../../../target/sdk/", import.meta.url);

const ECHO = "This is the Vertex AI emulator. You said: ";

/** The test of one cell. It starts its own gateways and clients. */
class Cell {
  constructor(t, Client, action) {
    Object.assign(this, { t, Client, action });
  }

  gateway = () => Gateway.start(this.t);

  /** A client without its retries. */
  once = (gateway) => this.client(gateway, 0);

  async client({ root }, retries) {
    const folder = this.Client.program && (await mkdtemp(join(tmpdir(), "vertex-gateway-")));
    if (folder) {
      this.t.after(() => rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 }));
    }
    return new this.Client({ root, retries, folder });
  }
}

/** The statuses of the requests that reached Vertex AI. None of them is for another project. */
async function statuses(gateway) {
  const requests = await gateway.requests();
  for (const { path } of requests) assert.match(path, /\/projects\/emulator\/locations\/us-central1\//);
  return requests.map((request) => request.status);
}

async function failure(call) {
  try {
    await call;
  } catch (error) {
    return error;
  }
  return assert.fail("the call succeeded");
}

/** Checks the text of the emulator. Beside the prompt, a program sends texts of its own. */
function echoes(Client, text, prompt) {
  if (!Client.program) return assert.equal(text, `${ECHO}${prompt}`);
  assert.ok(text.startsWith(ECHO) && text.includes(prompt), text);
}

/** Tests an error: the client's own one of that status, with Google's sentence. */
const refused = (says, unknown) =>
  async (cell) => {
    const { Client } = cell;
    const gateway = await cell.gateway();
    const status = Number(cell.action);
    if (!unknown) await gateway.setFault({ status });
    const client = await cell.once(gateway);
    const error = await failure(client.chat("hello", unknown ? Client.unknown : undefined));
    assert.equal(Client.status(error), status, `${error}`);
    assert.match(error.message, (unknown && Client.unknownSays) || says);
    const { by_status } = await gateway.stats();
    // Claude Code also looks for another model.
    assert.deepEqual(by_status, { [status]: unknown && Client.program ? by_status[status] : 1 });
  };

/** The same, and with its retries the client succeeds. */
const retried = (says) => async (cell) => {
  await refused(says)(cell);
  const gateway = await cell.gateway();
  const status = Number(cell.action);
  await gateway.setFault({ status, times: 1 });
  const { text } = await (await cell.client(gateway)).chat("again");
  echoes(cell.Client, text, "again");
  assert.deepEqual((await gateway.stats()).by_status, { [status]: 1, 200: 1 });
};

const CELLS = {
  async plain(cell) {
    const gateway = await cell.gateway();
    const { text, tokens } = await (await cell.once(gateway)).chat("Grüße 🦀");
    echoes(cell.Client, text, "Grüße 🦀");
    assert.ok(tokens > 0);
    assert.deepEqual(await statuses(gateway), [200]);
  },

  async stream(cell) {
    const gateway = await cell.gateway();
    const client = await cell.once(gateway);
    const chunks = await Array.fromAsync(client.stream("one two three"));
    const texts = chunks.map((chunk) => chunk.text).filter(Boolean);
    assert.ok(texts.length > 1);
    echoes(cell.Client, texts.join(""), "one two three");
    assert.ok(chunks.some((chunk) => chunk.tokens > 0), "usage");
    assert.deepEqual(await statuses(gateway), [200]);
  },

  async tools(cell) {
    const gateway = await cell.gateway();
    const name = cell.Client.tool ?? WEATHER.name;
    const asked = `Paris? Call the tool ${name}.`;
    const called = await (await cell.once(gateway)).tools(asked);
    assert.equal(called.name, name);
    assert.ok(called.text.startsWith(ECHO), called.text);
    assert.match(called.text, /The tool said: /);
    if (cell.Client.program) assert.ok(called.succeeded);
    else {
      assert.equal(WEATHER.arguments.parse(called.arguments).city, "example");
      assert.ok(called.text.includes(WEATHER.answer), called.text);
    }
    assert.deepEqual(await statuses(gateway), [200, 200]);
  },

  async count_tokens(cell) {
    const gateway = await cell.gateway();
    const client = await cell.once(gateway);
    assert.ok((await client.count("one two three")) > 0);
    const found = await statuses(gateway);
    assert.ok(found.length && found.every((status) => status === 200), `${found}`);
  },

  async "401_healed"(cell) {
    const gateway = await cell.gateway();
    const client = await cell.once(gateway);
    await client.chat("before");
    await gateway.revoke();
    echoes(cell.Client, (await client.chat("after")).text, "after");
    const { by_status, token_mints } = await gateway.stats();
    assert.deepEqual({ by_status, token_mints }, { by_status: { 200: 2, 401: 1 }, token_mints: 2 });
  },

  403: refused(/Permission 'aiplatform.endpoints.predict' denied/),
  404: refused(/was not found or your project does not have access to it/, true),
  429: retried(/Resource exhausted/),
  503: retried(/The service is currently unavailable/),

  async cut_stream(cell) {
    const gateway = await cell.gateway();
    await gateway.setStream({ cut_after: cell.Client.cutAfter ?? 2 });
    const client = await cell.once(gateway);
    const prompt = "one two three four five six";
    if (cell.Client.asksAgain) {
      echoes(cell.Client, (await client.chat(prompt)).text, prompt);
      const sent = (await gateway.requests()).map(({ path, status }) => [path.split(":").at(-1), status]);
      assert.deepEqual(sent, cell.Client.asksAgain);
      return;
    }
    const texts = [];
    const read = async () => {
      for await (const { text } of client.stream(prompt)) texts.push(text);
    };
    const error = await failure(read());
    assert.ok(cell.Client.interrupted(error), `${error.stack}`);
    const text = texts.join("");
    // Before the error, a program may print nothing.
    assert.ok((text || cell.Client.program) && `${ECHO}${prompt}`.startsWith(text) && text.length < ECHO.length, text);
  },
};

function testsOf(Client) {
  const file = new URL(`${Client.id}.json`, RESULTS);
  const { id, version, lacks, notes } = Client;
  const cells = Object.fromEntries(MATRIX.actions.map(({ id }) => [id, lacks[id] ? "none" : "fail"]));
  const results = { client: id, version, cells, notes: { ...notes, ...lacks } };
  before(() => rmSync(file, { force: true }));
  after(() => {
    mkdirSync(RESULTS, { recursive: true });
    writeFileSync(file, `${JSON.stringify(results, null, 2)}\n`);
  });
  for (const { id } of MATRIX.actions) {
    if (lacks[id]) continue;
    test(id, { timeout: 4 * PATIENCE }, async (t) => {
      await CELLS[id](new Cell(t, Client, id));
      cells[id] = "pass";
    });
  }
}

// The clients run concurrently, and the cells of one in turn: a program takes one processor for a second.
describe("the native clients", { concurrency: 4 }, () => {
  for (const Client of NATIVE) describe(Client.id, { concurrency: false }, () => testsOf(Client));
});
