// A separate `vertex-gateway --emulator` for each test, and the control API of its emulator.

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

// The time limit for operations that normally take milliseconds.
export const PATIENCE = 30_000;

const BINARY =
  process.env.VERTEX_GATEWAY ??
  fileURLToPath(new URL("../../../target/release/vertex-gateway", import.meta.url));

// The gateway and the SDK under test must not get the settings of the person who runs the tests.
const FOREIGN =
  /^(ANTHROPIC_|CLAUDE_|GEMINI_|GOOGLE_|GCLOUD_|VERTEX_|OPENAI_|LANGCHAIN_|LANGSMITH_|(CLOUD_ML_REGION|PROJECT_ID|LOCATION|ENDPOINT)$)|_proxy$/i;
for (const name of Object.keys(process.env)) {
  if (FOREIGN.test(name)) delete process.env[name];
}

export class Gateway {
  /** Starts a gateway that ends with the test `t`. The test fails if its exit code is not 0. */
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
    this.root = gateway;
    this.url = `${gateway}/v1`;
    // The base URL of Vertex AI, as in Google's guide for a client without a gateway.
    const project = "projects/emulator/locations/us-central1";
    this.vertex = `${emulator}/v1/${project}/endpoints/openapi`;
  }

  /** The SDK. It does not retry, because a retry would hide a failure. */
  client(options) {
    return new OpenAI({ baseURL: this.url, apiKey: "unused", maxRetries: 0, ...options });
  }

  // The control API of the emulator, which is called without the gateway.

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
  setChat = (behavior) => this.control("PUT", "chat", behavior);

  /** An access token for a client without the gateway. */
  async token() {
    const key = await this.control("GET", "service_account_key");
    return withFile("key.json", JSON.stringify(key), async (file) => {
      const { stdout } = await promisify(execFile)(BINARY, ["token", "--credentials", file]);
      return stdout.trim();
    });
  }

  /**
   * The number of the newest token, if a request has been served with it, else 0. In the first case
   * the gateway uses that token, and is not fetching another one.
   */
  async newestTokenAtWork() {
    const served = (await this.requests()).filter((request) => request.status === 200);
    const newest = served.reduce((most, request) => Math.max(most, request.token_generation), 0);
    return newest === (await this.stats()).token_mints ? newest : 0;
  }
}

/** Calls `body` with a temporary file with this text, and returns its result. */
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

/** Returns the first true value of `what()`. */
export async function poll(what, pause = 10) {
  const end = Date.now() + PATIENCE;
  for (;;) {
    const value = await what();
    if (value) return value;
    assert.ok(Date.now() < end, `still ${value} after ${PATIENCE} ms`);
    await sleep(pause);
  }
}
