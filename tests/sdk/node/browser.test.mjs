// A headless Chromium with `vertex-gateway --emulator`. Pages of other origins cannot make it send
// a request to Vertex AI. A page of an allowed origin uses the OpenAI SDK.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import { extname, join, normalize, sep } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { Gateway, PATIENCE } from "./gateway.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "chromium";
const PACKAGES = fileURLToPath(new URL("node_modules/", import.meta.url));
const TYPES = { ".mjs": "text/javascript", ".js": "text/javascript" };

/** A web server for pages, to which the pages report their results. */
class Site {
  static async start(t, page, port = 0) {
    const site = new Site(page);
    site.server = createServer((request, response) => void site.answer(request, response));
    site.server.listen(port, "127.0.0.1");
    await once(site.server, "listening");
    site.port = site.server.address().port;
    t.after(() => site.stop());
    return site;
  }

  constructor(page) {
    this.page = page;
    // The page is loaded; it may continue; its results have arrived.
    this.loaded = Promise.withResolvers();
    this.released = Promise.withResolvers();
    this.found = Promise.withResolvers();
  }

  async stop() {
    this.server.closeAllConnections();
    if (this.server.listening) await new Promise((done) => this.server.close(done));
  }

  async answer(request, response) {
    const { pathname } = new URL(request.url, "http://site");
    // A page whose name now resolves to the sidecar must still be able to reach this server.
    response.setHeader("access-control-allow-origin", "*");
    if (pathname === "/loaded") {
      this.loaded.resolve();
      await this.released.promise;
      response.end("continue");
    } else if (pathname === "/found") {
      const chunks = await Array.fromAsync(request);
      this.found.resolve(JSON.parse(Buffer.concat(chunks).toString()));
      response.end();
    } else if (pathname === "/") {
      response.setHeader("content-type", "text/html").end(PAGE);
    } else if (pathname === "/page.mjs") {
      response.setHeader("content-type", "text/javascript").end(this.page);
    } else {
      const path = normalize(join(PACKAGES, pathname));
      const file = path.startsWith(PACKAGES.replace(/[/\\]$/, sep)) && (await readFile(path).catch(() => null));
      response.statusCode = file ? 200 : 404;
      response.setHeader("content-type", TYPES[extname(path)] ?? "text/plain").end(file || "");
    }
  }
}

/** Starts a browser with this page until the end of the test. */
async function browse(t, url) {
  const profile = await mkdtemp(join(tmpdir(), "vertex-gateway-chromium-"));
  const child = spawn(
    CHROMIUM,
    [
      "--headless",
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--disable-dev-shm-usage",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
      "--no-first-run",
      "--no-proxy-server",
      // These host names of the internet resolve to this machine.
      "--host-resolver-rules=MAP *.example 127.0.0.1",
      `--user-data-dir=${profile}`,
      url,
    ],
    { stdio: "ignore", detached: true },
  );
  const ended = once(child, "exit");
  t.after(async () => {
    // The signal goes to all processes of the browser.
    process.kill(-child.pid, "SIGKILL");
    await ended;
    await rm(profile, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  });
  await once(child, "spawn");
}

/** Waits for a result. The test fails at the time limit, with the name of the result. */
async function inTime(what, coming) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`timeout: ${what}`)), 2 * PATIENCE);
  });
  return Promise.race([coming, late]).finally(() => clearTimeout(timer));
}

const CHAT = {
  model: "google/gemini-2.5-flash",
  messages: [{ role: "user", content: "from a page" }],
};

/** Runs in a page: tries every method by which it can make the browser send a request to `target`. */
async function attack(target, chat) {
  const url = `${target}/v1/chat/completions`;
  const results = {};
  const attempt = async (name, way) => {
    const late = new Promise((done) => setTimeout(done, 5000, "no end"));
    results[name] = await Promise.race([way(), late]).catch((error) => String(error));
  };
  const load = (tag, attributes) =>
    new Promise((done) => {
      const element = Object.assign(document.createElement(tag), attributes);
      element.onload = () => done("loaded");
      element.onerror = () => done("error");
      document.body.append(element);
    });
  const status = async (init) => (await fetch(url, { method: "POST", body: chat, ...init })).status;
  const json = { "content-type": "application/json" };
  await attempt("fetch no-cors", () => status({ mode: "no-cors" }));
  await attempt("fetch of a form", () =>
    status({ mode: "no-cors", headers: { "content-type": "application/x-www-form-urlencoded" } }),
  );
  await attempt("fetch", () => status({}));
  await attempt("fetch of JSON", () => status({ headers: json }));
  await attempt("fetch with credentials", () => status({ mode: "no-cors", credentials: "include" }));
  await attempt("beacon", async () => navigator.sendBeacon(url, chat));
  await attempt("XMLHttpRequest", () =>
    new Promise((done) => {
      const request = new XMLHttpRequest();
      request.onloadend = () => done(request.status);
      request.open("POST", url);
      request.send(chat);
    }),
  );
  for (const enctype of ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"]) {
    await attempt(`form ${enctype}`, () =>
      new Promise((done) => {
        const name = `${target} ${enctype}`;
        const frame = Object.assign(document.createElement("iframe"), { name });
        const form = Object.assign(document.createElement("form"), {
          method: "post",
          action: url,
          enctype,
          target: name,
        });
        const input = Object.assign(document.createElement("input"), { name: chat, value: "" });
        form.append(input);
        document.body.append(frame, form);
        frame.onload = () => done("loaded");
        form.submit();
      }),
    );
  }
  const get = `${target}/v1/responses/resp_1`;
  await attempt("img", () => load("img", { src: get }));
  await attempt("script", () => load("script", { src: get }));
  await attempt("style sheet", () => load("link", { rel: "stylesheet", href: get }));
  await attempt("iframe", () => load("iframe", { src: get }));
  await attempt("EventSource", () =>
    new Promise((done) => {
      const events = new EventSource(get);
      events.onerror = () => (events.close(), done("error"));
    }),
  );
  await attempt("WebSocket", () =>
    new Promise((done) => {
      const socket = new WebSocket(`${target.replace("http", "ws")}/v1/responses`);
      socket.onopen = () => done("open");
      socket.onerror = () => done("error");
    }),
  );
  // An opaque origin.
  await attempt("sandbox", () => {
    const script = `fetch(${JSON.stringify(url)}, { method: "POST", mode: "no-cors", body: ${JSON.stringify(chat)} })`;
    const done = `.finally(() => parent.postMessage("done", "*"))`;
    return new Promise((resolve) => {
      window.addEventListener("message", () => resolve("sent"), { once: true });
      const frame = document.createElement("iframe");
      frame.sandbox = "allow-scripts";
      frame.srcdoc = `<script>${script}${done}</script>`;
      document.body.append(frame);
    });
  });
  return results;
}

/** A page that runs `main` when it is released, and reports the result. */
const pageOf = (report, main) => `
const attack = ${attack};
const main = ${main};
await fetch("${report}/loaded", { method: "POST" });
const found = await main().catch((error) => ({ failed: String(error.stack ?? error) }));
await fetch("${report}/found", { method: "POST", body: JSON.stringify(found) });
`;

const PAGE = `<!doctype html>
<script type="importmap">{ "imports": { "openai": "/openai/index.mjs" } }</script>
<body><script type="module" src="/page.mjs"></script></body>`;

/** The number of requests with this status, from the metrics of the admin listener. */
async function answered(admin, status) {
  const metrics = await (await fetch(`${admin}/metrics`)).text();
  const lines = metrics.split("\n").filter((line) => /^vertex_gateway_requests_total\{/.test(line));
  const matching = lines.filter((line) => line.includes(`status="${status}"`));
  assert.ok(lines.length, metrics);
  return matching.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/** Asserts that all requests of pages were refused, and that a program that is not a browser is served. */
async function assertNothingWasSent(gateway, ways) {
  assert.deepEqual(await gateway.requests(), []);
  const refused = await answered(gateway.admin, 403);
  assert.ok(refused >= ways, `${refused} refused of ${ways}`);
  assert.equal(await answered(gateway.admin, 200), 0);
  const body = JSON.stringify(CHAT);
  const answer = await fetch(`${gateway.url}/chat/completions`, { method: "POST", body });
  assert.equal(answer.status, 200);
}

const WAYS = 17;

test("a page of another origin makes a sidecar without keys send nothing", { timeout: 6 * PATIENCE }, async (t) => {
  const gateway = await Gateway.start(t, "--admin-listen", "127.0.0.1:0");
  const { port } = new URL(gateway.url);
  const targets = ["127.0.0.1", "localhost", "evil.example"].map((host) => `http://${host}:${port}`);
  for (const origin of ["127.0.0.1", "evil.example"]) {
    const report = await Site.start(t);
    const main = `async () => {
      const all = {};
      for (const target of ${JSON.stringify(targets)}) {
        all[target] = await attack(target, ${JSON.stringify(JSON.stringify(CHAT))});
      }
      return all;
    }`;
    report.page = pageOf(`http://127.0.0.1:${report.port}`, main);
    report.released.resolve();
    await browse(t, `http://${origin}:${report.port}/`);
    const found = await inTime("the results of the page", report.found.promise);
    assert.deepEqual(Object.keys(found), targets, JSON.stringify(found));
    for (const results of Object.values(found)) {
      assert.equal(Object.keys(results).length, WAYS);
      assert.ok(!Object.values(results).includes("open"), JSON.stringify(results));
      assert.ok(!Object.values(results).includes(200), JSON.stringify(results));
    }
  }
  await assertNothingWasSent(gateway, 2 * targets.length * 10);
});

test("a page whose name is pointed at the sidecar makes it send nothing", { timeout: 6 * PATIENCE }, async (t) => {
  const report = await Site.start(t);
  const main = `() => attack(location.origin, ${JSON.stringify(JSON.stringify(CHAT))})`;
  const site = await Site.start(t, pageOf(`http://127.0.0.1:${report.port}`, main));
  await browse(t, `http://evil.example:${site.port}/`);
  await inTime("the page", report.loaded.promise);
  // From now on the sidecar listens at the origin of the page.
  await site.stop();
  const gateway = await Gateway.start(
    t, "--listen", `127.0.0.1:${site.port}`, "--admin-listen", "127.0.0.1:0",
  );
  report.released.resolve();
  const found = await inTime("the results of the page", report.found.promise);
  assert.equal(Object.keys(found).length, WAYS, JSON.stringify(found));
  // The browser treats the sidecar as the page's own origin, so the page could have read the
  // response.
  for (const way of ["fetch", "fetch of JSON", "fetch no-cors", "XMLHttpRequest"]) {
    assert.equal(found[way], 403, way);
  }
  await assertNothingWasSent(gateway, 10);
});

test("the OpenAI SDK works in a page of an allowed origin", { timeout: 6 * PATIENCE }, async (t) => {
  for (const origin of ["127.0.0.1", "app.example"]) {
    const site = await Site.start(t);
    const allowed = `http://${origin}:${site.port}`;
    const gateway = await Gateway.start(t, "--cors-origin", allowed, "--list-models", "off");
    const main = `async () => {
      const { default: OpenAI } = await import("openai");
      const options = { baseURL: "${gateway.url}", apiKey: "unused", dangerouslyAllowBrowser: true, maxRetries: 0 };
      const client = new OpenAI(options);
      const request = ${JSON.stringify(CHAT)};
      const completion = await client.chat.completions.create(request);
      let streamed = "";
      for await (const chunk of await client.chat.completions.create({ ...request, stream: true })) {
        streamed += chunk.choices[0]?.delta.content ?? "";
      }
      const { response } = await client.models.list().withResponse();
      const error = await client.files.list().catch((error) => error);
      return {
        said: completion.choices[0].message.content,
        streamed,
        id: response.headers.get("x-request-id"),
        error: { status: error.status, code: error.code, id: error.requestID },
      };
    }`;
    site.page = pageOf(allowed, main);
    site.released.resolve();
    await browse(t, `${allowed}/`);
    const found = await inTime("the results of the page", site.found.promise);
    const said = "This is the Vertex AI emulator. You said: from a page";
    assert.equal(found.said, said, JSON.stringify(found));
    assert.equal(found.streamed, said);
    assert.match(found.id, /^req_/);
    assert.match(found.error.id, /^req_/);
    assert.deepEqual([found.error.status, found.error.code], [404, "unsupported_path"]);
    const sent = (await gateway.requests()).map(({ method, status }) => `${method} ${status}`);
    assert.deepEqual(sent, ["POST 200", "POST 200"]);
  }
});
