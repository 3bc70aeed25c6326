// The status page in a headless Chromium, in front of `vertex-gateway --emulator`.
//
// SCREENSHOTS=../../docs writes the pictures of the manual.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { chromium } from "playwright-core";
import { PATIENCE, Process, chat, control, poll } from "./gateway.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const AXE = await readFile(new URL("node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const REQUESTS = 1000;

// Texts that must be nowhere on the page.
const PROMPT = "prompt-c0ffee-of-a-client";
const KEY = "key-5ec4e7-of-a-client-0123456789";
const OTHER_KEY = "key-0ther5-of-a-client-0123456789";
const CONFIG = `
[[model]]
name = "two-locations"
model = "gemini-2.5-flash"
locations = ["us-central1", "us-east4"]
`;

const VIEWS = [
  { name: "light", colorScheme: "light", viewport: { width: 1280, height: 900 } },
  { name: "dark", colorScheme: "dark", viewport: { width: 1280, height: 900 } },
  { name: "narrow", colorScheme: "light", viewport: { width: 390, height: 844 } },
];

/** A gateway with keys and a list of locations, and its emulator. */
async function startGateway(t) {
  const folder = await mkdtemp(join(tmpdir(), "vertex-gateway-status-"));
  t.after(() => rm(folder, { recursive: true }));
  const [keys, config] = [join(folder, "keys"), join(folder, "gateway.toml")];
  await writeFile(keys, `team-a:${KEY}\nteam-b:${OTHER_KEY}\n`, { mode: 0o600 });
  await writeFile(config, CONFIG);
  const words = ["emulator listening", "listening", "status page"];
  const options = ["--listen", "127.0.0.1:0", "--client-key-file", keys, "--config", config];
  const started = await Process.start(words, "--emulator", ...options, "--max-attempts", "2");
  t.after(() => started.stop());
  const [emulator, url, page] = words.map((word) => started.found[word]);
  return { emulator, url, page: `${page}/`, process: started };
}

async function startBrowser(t) {
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    args: ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-proxy-server"],
  });
  t.after(() => browser.close());
  return browser;
}

/** Opens the page, and collects all that it receives, and all of its errors. */
async function open(browser, url, view) {
  const { name, ...options } = view;
  const context = await browser.newContext({ ...options, locale: "en-GB", timezoneId: "UTC" });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const seen = { bytes: [], errors: [], hosts: new Set() };
  page.on("console", (message) => message.type() === "error" && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(String(error)));
  page.on("request", (request) => seen.hosts.add(new URL(request.url()).host));
  const cdp = await context.newCDPSession(page);
  await cdp.send("Network.enable");
  cdp.on("Network.eventSourceMessageReceived", ({ data }) => seen.bytes.push(data));
  const response = await page.goto(url);
  seen.bytes.push(await response.text(), JSON.stringify(await response.allHeaders()));
  await page.getByText("live", { exact: true }).waitFor();
  await page.locator("#now dd").first().waitFor();
  return { page, context, seen };
}

/** The text of a description in a list of terms. */
const described = (page, term) =>
  page.locator("dt", { hasText: term }).locator("xpath=following-sibling::dd").first().innerText();

async function axe(page, name) {
  await page.evaluate(AXE);
  const { violations, passes } = await page.evaluate(() => globalThis.axe.run(document));
  const found = violations.map(({ id, help, nodes }) => ({ id, help, nodes: nodes.map(({ html }) => html) }));
  assert.deepEqual(found, [], name);
  assert.ok(passes.length > 20, `${name}: only ${passes.length} rules of axe apply`);
}

function assertNothingSecret(name, text) {
  // Each access token of the emulator, as of Google, begins with `ya29.`.
  for (const secret of [PROMPT, KEY, OTHER_KEY, "ya29.", "PRIVATE KEY"]) {
    assert.ok(!text.includes(secret), `${secret.slice(0, 10)}… is in ${name}`);
  }
}

test("the page follows a gateway live, and shows no secret", { timeout: 4 * PATIENCE }, async (t) => {
  const gateway = await startGateway(t);
  const browser = await startBrowser(t);
  const { page, context, seen } = await open(browser, gateway.page, VIEWS[0]);
  const timing = await page.evaluate(() => performance.getEntriesByType("navigation")[0].toJSON());
  const size = Math.round(timing.transferSize / 1000);
  t.diagnostic(`loaded in ${Math.round(timing.loadEventEnd)} ms, ${size} kB`);

  // A thousand requests, twenty at a time.
  let left = REQUESTS;
  const client = async () => {
    while (left-- > 0) {
      const { status, text } = await chat(gateway.url, PROMPT, { key: left % 3 ? KEY : OTHER_KEY });
      assert.equal(status, 200, text);
      assert.ok(text.includes(PROMPT), "the emulator repeats the prompt");
    }
  };
  await Promise.all(Array.from({ length: 20 }, client));
  const total = async () => Number((await described(page, "requests since the start")).replaceAll(",", ""));
  const followed = await poll("a thousand requests", async () => (await total()) >= REQUESTS);
  t.diagnostic(`${REQUESTS} requests: shown ${followed.took} ms after the last one`);
  assert.equal(await page.locator("#requests tbody tr").count(), 100);
  assert.equal(await page.locator("#keys tbody tr").count(), 2);

  const seenAfter = async (name, what) => {
    const { took } = await poll(name, what);
    t.diagnostic(`${name}: shown ${took} ms after the response`);
  };
  await control(gateway.emulator, "POST", "revoke");
  assert.equal((await chat(gateway.url, PROMPT, { key: KEY })).status, 200);
  const refreshed = page.locator("#refreshes tr", { hasText: /rejected\s*new token/ });
  await seenAfter("a revoked token", async () => {
    return (await described(page, "rejected by Vertex AI")) === "1" && (await refreshed.count()) === 1;
  });
  const fault = { status: 429, location: "us-central1" };
  await control(gateway.emulator, "PUT", "faults", { api: fault });
  assert.equal((await chat(gateway.url, PROMPT, { key: KEY, model: "two-locations" })).status, 200);
  const opened = page.locator("#circuits tr", { hasText: /us-central1\s*open/ });
  await seenAfter("an open circuit", async () => (await opened.count()) === 1);
  await control(gateway.emulator, "PUT", "faults", { api: { status: 429, times: 2 } });
  assert.equal((await chat(gateway.url, PROMPT, { key: KEY })).status, 429);
  const refused = page.locator("#requests tbody tr", { hasText: "429" });
  await seenAfter("a 429", async () => (await refused.count()) === 1);
  await control(gateway.emulator, "DELETE", "faults");

  await page.getByRole("button", { name: "Run the checks" }).click();
  await page.getByText(/^all passed at/).waitFor();
  assert.ok((await page.locator("#checks li").count()) > 5);

  assertNothingSecret("the document", await page.content());
  assertNothingSecret("the responses and the events", seen.bytes.join("\n"));
  assertNothingSecret("/status.json", await (await fetch(`${gateway.page}status.json`)).text());
  assert.ok(seen.bytes.length > 3, "events were collected");

  // A visitor without a key is refused, and one with a key sees the response, which the events do not have.
  await page.getByLabel("Message").fill(PROMPT);
  await page.getByRole("button", { name: "Send" }).click();
  await page.getByText(/status 401/).waitFor();
  await page.getByLabel("Client key", { exact: true }).fill(KEY);
  await page.getByRole("button", { name: "Send" }).click();
  await page.locator("#answer", { hasText: PROMPT }).waitFor();
  assert.equal(await page.getByLabel("Client key", { exact: true }).inputValue(), "");
  const after = await total();
  await poll("the request of the visitor", async () => (await total()) > after || seen.bytes.join("").includes('"status":401'));
  assertNothingSecret("the events after a visitor's request", seen.bytes.join("\n"));

  await page.getByRole("button", { name: "Pause" }).click();
  const before = await page.locator("#requests tbody tr").first().innerText();
  assert.equal((await chat(gateway.url, PROMPT, { key: "wrong" })).status, 401);
  await poll("the event while paused", async () => seen.bytes.at(-1).includes('"invalid_api_key"'));
  assert.equal(await page.locator("#requests tbody tr").first().innerText(), before);

  assert.deepEqual(seen.errors, []);
  assert.deepEqual([...seen.hosts], [new URL(gateway.page).host]);
  await context.close();
});

test("axe finds nothing in light, dark and narrow", { timeout: 4 * PATIENCE }, async (t) => {
  const gateway = await startGateway(t);
  const browser = await startBrowser(t);
  await control(gateway.emulator, "PUT", "faults", { stream: { first_byte_delay_ms: 60 } });
  const load = async (until) => {
    while (!until.reached) {
      const options = { key: Math.random() < 0.7 ? KEY : OTHER_KEY };
      if (Math.random() < 0.3) options.model = "two-locations";
      if (Math.random() < 0.02) options.key = "wrong";
      await chat(gateway.url, PROMPT, options);
      await new Promise((done) => setTimeout(done, Math.random() * 120));
    }
  };
  const until = { reached: false };
  const clients = [1, 2, 3, 4, 5, 6].map(() => load(until));
  try {
    const pages = [];
    for (const view of VIEWS) pages.push({ view, ...(await open(browser, gateway.page, view)) });
    const { page: first } = pages[0];
    await first.getByRole("button", { name: "Run the checks" }).click();
    await first.getByText(/^all passed at/).waitFor();
    // Enough for curves.
    await first.locator("#requests tbody tr").nth(99).waitFor();
    await control(gateway.emulator, "PUT", "faults", {
      api: { status: 429, location: "us-central1" },
      stream: { first_byte_delay_ms: 60 },
    });
    // A request for the model with two locations opens the circuit of the first one.
    await first.locator("#circuits", { hasText: "open" }).waitFor();
    await control(gateway.emulator, "PUT", "faults", { stream: { first_byte_delay_ms: 60 } });
    for (const { view, page, seen } of pages) {
      await axe(page, view.name);
      assert.deepEqual(seen.errors, [], view.name);
      const wide = await page.evaluate(() => document.documentElement.scrollWidth > innerWidth);
      assert.ok(!wide, `${view.name}: the page is wider than its window`);
    }
    const folder = process.env.SCREENSHOTS;
    for (const { view, page } of folder ? pages : []) {
      await page.evaluate(() => scrollTo(0, 0));
      await page.screenshot({ path: join(folder, `status-${view.name}.png`) });
    }
  } finally {
    until.reached = true;
    await Promise.all(clients);
  }
});
