// A `vertex-gateway --emulator` of its own for each test, and a way to talk to its emulator.

import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import OpenAI from "openai";

// As long as anything here may take that normally takes milliseconds.
export const PATIENCE = 30_000;

const BINARY =
  process.env.VERTEX_GATEWAY ??
  fileURLToPath(new URL("../../../target/release/vertex-gateway", import.meta.url));

// Settings of the person who runs the tests are not for the gateway or the SDK under test.
const FOREIGN = /^(GOOGLE_|GCLOUD_|VERTEX_|OPENAI_|(PROJECT_ID|LOCATION|ENDPOINT)$)|_proxy$/i;
for (const name of Object.keys(process.env)) {
  if (FOREIGN.test(name)) delete process.env[name];
}

export class Gateway {
  /** Starts one that ends with the test `t`, which fails if it does not end well. */
  static async start(t, ...options) {
    const listen = options.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
    const child = spawn(BINARY, ["--emulator", ...listen, ...options], {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, VERTEX_GATEWAY_LOG: "warn" },
    });
    const ended = once(child, "exit");
    t.after(async () => {
      child.kill("SIGTERM");
      const watchdog = setTimeout(() => child.kill("SIGKILL"), PATIENCE);
      const [code, signal] = await ended;
      clearTimeout(watchdog);
      assert.deepEqual({ code, signal }, { code: 0, signal: null }, "how vertex-gateway ended");
    });
    const found = {};
    for await (const line of createInterface({ input: child.stdout })) {
      const [, which, url] = /^(emulator |admin )?(?:listening )?on (http:\S+)$/.exec(line) ?? [];
      if (url) found[which?.trim() ?? "gateway"] = url;
      if (found.gateway && (found.admin || !options.includes("--admin-listen"))) break;
    }
    assert.ok(found.emulator && found.gateway, "vertex-gateway ended without its addresses");
    child.stdout.resume();
    return new Gateway(found);
  }

  constructor({ emulator, gateway, admin }) {
    this.emulator = emulator;
    this.admin = admin;
    this.url = `${gateway}/v1`;
    // What the gateway stands before, as Google's guide has it for a client without a gateway.
    const project = "projects/emulator/locations/us-central1";
    this.vertex = `${emulator}/v1/${project}/endpoints/openapi`;
  }

  /** The SDK. Without retries of its own, which would hide a failure. */
  client(options) {
    return new OpenAI({ baseURL: this.url, apiKey: "unused", maxRetries: 0, ...options });
  }

  // The emulator's control. None of it goes through the gateway.

  async control(method, name, body) {
    const response = await fetch(`${this.emulator}/__emulator/${name}`, {
      method,
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(PATIENCE),
    });
    const answer = await response.json();
    assert.equal(response.status, 200, JSON.stringify(answer));
    return answer;
  }

  stats = () => this.control("GET", "stats");
  requests = () => this.control("GET", "requests");
  revoke = () => this.control("POST", "revoke");
  setToken = (behavior) => this.control("PUT", "token", behavior);
  setStream = (stream) => this.control("PUT", "faults", { stream });
  setFault = (api) => this.control("PUT", "faults", { api });

  /** An access token, as a client without a gateway needs one. */
  async token() {
    const key = await this.control("GET", "service_account_key");
    return withFile("key.json", JSON.stringify(key), async (file) => {
      const { stdout } = await promisify(execFile)(BINARY, ["token", "--credentials", file]);
      return stdout.trim();
    });
  }

  /**
   * The number of the newest token, if a request has been served with it, else 0. If so, the
   * gateway holds it, and no other one is on its way for now.
   */
  async newestTokenAtWork() {
    const served = (await this.requests()).filter((request) => request.status === 200);
    const newest = served.reduce((most, request) => Math.max(most, request.token_generation), 0);
    return newest === (await this.stats()).token_mints ? newest : 0;
  }
}

/** What `body` makes of a file with this text, which is gone afterwards. */
export async function withFile(name, text, body) {
  const folder = await mkdtemp(join(tmpdir(), "vertex-gateway-"));
  try {
    const file = join(folder, name);
    await writeFile(file, text, { mode: 0o600 });
    return await body(file);
  } finally {
    await rm(folder, { recursive: true });
  }
}

/** The first value of `what()` that is true. */
export async function poll(what, pause = 10) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const value = await what();
    if (value) return value;
    assert.ok(Date.now() < end, `still ${value} after ${PATIENCE} ms`);
    await sleep(pause);
  }
}
