// Codex works at the first attempt with the sidecar as its base URL. The requests that it sends to
// `openai_base_url` are the same as those that it sends to OpenAI.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { GROK } from "./clients/subjects.mjs";
import { Gateway, PATIENCE } from "./gateway.mjs";

const CODEX = fileURLToPath(new URL("node_modules/@openai/codex/bin/codex.js", import.meta.url));

/** Runs Codex with an empty home and working folder. Returns its output, parsed from JSON lines. */
async function codex(config, prompt) {
  const folder = await mkdtemp(join(tmpdir(), "vertex-gateway-codex-"));
  try {
    await writeFile(join(folder, "config.toml"), config);
    const options = {
      cwd: folder,
      env: { ...process.env, CODEX_HOME: folder, CODEX_API_KEY: "unused", HOME: folder },
      timeout: 3 * PATIENCE,
      maxBuffer: 64 << 20,
    };
    const args = [CODEX, "exec", "--skip-git-repo-check", "--json", prompt];
    const out = await new Promise((resolve, reject) => {
      const child = execFile(process.execPath, args, options, (error, stdout, stderr) =>
        error ? reject(new Error(`${error}\n${stdout}\n${stderr}`)) : resolve(stdout),
      );
      // Codex also reads a prompt from its standard input.
      child.stdin.end();
    });
    return out.trim().split("\n").map((line) => JSON.parse(line));
  } finally {
    await rm(folder, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 });
  }
}

/** Runs Codex with a gateway. Returns its events, and the requests that reached the emulator. */
async function run(t, prompt) {
  const gateway = await Gateway.start(t);
  const config = `model = "${GROK}"\nopenai_base_url = "${gateway.url}"\n`;
  const events = await codex(config, prompt);
  const text = JSON.stringify(events);
  assert.equal(events.at(-1).type, "turn.completed", text);
  assert.ok(!events.some((event) => event.type === "error"), text);
  const sent = (await gateway.requests()).map(({ method, path, status }) => {
    return `${method} ${path.split("/").at(-1)} ${status}`;
  });
  const items = events.filter((event) => event.type === "item.completed").map((event) => event.item);
  return { said: items.filter((item) => item.type === "agent_message").map((item) => item.text), items, sent };
}

const ECHO = "This is the Vertex AI emulator. You said: ";

test("Codex responds at the first attempt", { timeout: 4 * PATIENCE }, async (t) => {
  const { said, sent } = await run(t, "say hello");
  assert.deepEqual(said, [`${ECHO}say hello`]);
  // Codex attempts no WebSocket handshake, and sends no request twice.
  assert.deepEqual(sent, ["POST responses 200"]);
});

test("Codex runs a command, and sends its output", { timeout: 4 * PATIENCE }, async (t) => {
  // The emulator's text for any argument is `example`. There is no such command.
  // Codex waits 250 ms for its output.
  const { said, items, sent } = await run(t, "call the tool exec_command");
  const [command] = items.filter((item) => item.type === "command_execution");
  assert.match(command.command, /example/);
  assert.equal(command.exit_code, 127);
  assert.match(said.at(-1), /^This is the Vertex AI emulator.* The tool said: .*(exited with code 127|Process running with session ID)/s);
  assert.deepEqual(sent, ["POST responses 200", "POST responses 200"]);
});
