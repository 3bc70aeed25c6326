// Starts `vertex-gateway`, and sends it requests. It needs no package.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

// The time limit for operations that normally take milliseconds.
export const PATIENCE = 30_000;

const BINARY =
  process.env.VERTEX_GATEWAY ??
  fileURLToPath(new URL("../../target/release/vertex-gateway", import.meta.url));

// The gateway must not get the settings of the person who runs the tests.
const FOREIGN = /^(GOOGLE_|GCLOUD_|VERTEX_|(CLOUD_ML_REGION|PROJECT_ID|LOCATION|ENDPOINT)$)|_proxy$/i;

/** A process of the binary, with the addresses that it printed, by the words before them. */
export class Process {
  /** Starts it, and returns once all of these words were printed with an address. */
  static async start(words, ...options) {
    const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !FOREIGN.test(name)));
    const child = spawn(BINARY, options, {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...env, VERTEX_GATEWAY_LOG: "error" },
    });
    const found = {};
    for await (const line of createInterface({ input: child.stdout })) {
      const [, which, url] = /^(.*) on (http:\S+?)\/?$/.exec(line) ?? [];
      if (url) found[which] = url;
      if (words.every((word) => found[word])) break;
    }
    assert.ok(words.every((word) => found[word]), `vertex-gateway ended without: ${words}`);
    child.stdout.resume();
    return new Process(child, found);
  }

  constructor(child, found) {
    this.child = child;
    this.ended = once(child, "exit");
    this.found = found;
  }

  /** Ends it. It must end with the code 0. */
  async stop() {
    this.child.kill("SIGTERM");
    const watchdog = setTimeout(() => this.child.kill("SIGKILL"), PATIENCE);
    const [code, signal] = await this.ended;
    clearTimeout(watchdog);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, "how vertex-gateway ended");
  }
}

/** Calls the control API of an emulator. */
export async function control(emulator, method, name, body) {
  const response = await fetch(`${emulator}/__emulator/${name}`, {
    method,
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  assert.equal(response.status, 200, JSON.stringify(answer));
  return answer;
}

/** Sends a chat, and returns the status of the response and its text. */
export async function chat(gateway, text, { key = "unused", model = "google/gemini-2.5-flash" } = {}) {
  const response = await fetch(`${gateway}/v1/chat/completions`, {
    method: "POST",
    headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
    body: JSON.stringify({ model, messages: [{ role: "user", content: text }] }),
  });
  return { status: response.status, text: await response.text() };
}

/** Waits for the first true value of `what()`, and returns it with the milliseconds that it took. */
export async function poll(name, what, pause = 10) {
  const began = performance.now();
  for (;;) {
    const value = await what();
    const took = performance.now() - began;
    if (value) return { value, took: Math.round(took) };
    assert.ok(took < PATIENCE, `still not after ${PATIENCE} ms: ${name}`);
    await sleep(pause);
  }
}
