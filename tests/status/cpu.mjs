// Measures what an open page costs: `node cpu.mjs [REQUESTS_PER_SECOND] [SECONDS]`, run by hand. It prints the
// processor time of a gateway at a steady rate of requests, in turns without and with a page.

import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { request as httpRequest, Agent } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Process, control } from "./gateway.mjs";

const [rate, seconds] = [Number(process.argv[2] ?? 1000), Number(process.argv[3] ?? 10)];
const TURNS = 6;

const emulator = await Process.start(["emulator listening"], "emulator", "--listen", "127.0.0.1:0");
const upstream = emulator.found["emulator listening"];
const key = join(await mkdtemp(join(tmpdir(), "vertex-gateway-cpu-")), "key.json");
const file = await control(upstream, "GET", "service_account_key");
await writeFile(key, JSON.stringify(file), { mode: 0o600 });
const gateway = await Process.start(
  ["listening", "admin"],
  ...["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", "--credentials", key],
  ...["--upstream", upstream, "--project", "p", "--location", "us-central1"],
);
const { listening, admin } = gateway.found;

/** The processor time of the gateway, in seconds. */
async function cpu() {
  const stat = await readFile(`/proc/${gateway.child.pid}/stat`, "utf8");
  const [user, system] = stat.slice(stat.lastIndexOf(")") + 2).split(" ").slice(11, 13);
  return (Number(user) + Number(system)) / 100;
}

const agent = new Agent({ keepAlive: true, maxSockets: 32 });
const body = JSON.stringify({ model: "google/gemini-2.5-flash", messages: [{ role: "user", content: "x" }] });
const headers = { "content-type": "application/json", "content-length": body.length };
let inFlight = 0;
function send() {
  inFlight += 1;
  const request = httpRequest(`${listening}/v1/chat/completions`, { method: "POST", agent, headers }, (response) => {
    response.resume().on("end", () => (inFlight -= 1));
  });
  request.on("error", (error) => { throw error; });
  request.end(body);
}

/** Sends requests at the rate for some seconds, and returns the processor time of the gateway per second. */
async function load() {
  const [began, before] = [performance.now(), await cpu()];
  let sent = 0;
  while (performance.now() - began < seconds * 1000) {
    const due = Math.floor(((performance.now() - began) / 1000) * rate);
    for (; sent < due; sent += 1) send();
    await sleep(2);
  }
  while (inFlight) await sleep(2);
  const took = (performance.now() - began) / 1000;
  return { cpu: ((await cpu()) - before) / took, rate: sent / took };
}

await load();
const sums = { without: 0, with: 0 };
for (let turn = 0; turn < TURNS; turn += 1) {
  const page = turn % 2 ? "with" : "without";
  const closing = new AbortController();
  let bytes = 0;
  let events;
  if (page === "with") {
    const response = await fetch(`${admin}/status/events`, { signal: closing.signal });
    events = (async () => {
      for await (const chunk of response.body) bytes += chunk.length;
    })().catch(() => {});
  }
  const measured = await load();
  closing.abort();
  await events;
  sums[page] += measured.cpu;
  const received = bytes ? `, ${Math.round(bytes / seconds / 100) / 10} kB of events a second` : "";
  console.log(`${page} a page: ${(measured.cpu * 100).toFixed(1)} % of a processor at ${Math.round(measured.rate)} requests/s${received}`);
}
const half = TURNS / 2;
const [without, withPage] = [(sums.without / half) * 100, (sums.with / half) * 100];
console.log(`mean: ${without.toFixed(2)} % without a page, ${withPage.toFixed(2)} % with it: ${(withPage - without).toFixed(2)} % of a processor more`);
await gateway.stop();
await emulator.stop();
