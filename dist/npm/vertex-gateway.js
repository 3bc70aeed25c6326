#!/usr/bin/env node
// Starts the binary from the package of this platform, with the same arguments and environment.
"use strict";

const { spawn } = require("node:child_process");

const platform = `${process.platform}-${process.arch}`;
let binary;
try {
  binary = require.resolve(`@vertex-gateway/${platform}/bin/vertex-gateway`);
} catch {
  const lost = ["linux-x64", "linux-arm64"].includes(platform);
  console.error(
    lost
      ? `vertex-gateway: the package @vertex-gateway/${platform} is missing: install with --include=optional`
      : `vertex-gateway: there is no binary for ${platform}: build it with cargo, or use the container`,
  );
  process.exit(1);
}

const args = process.argv.slice(2);
// Since Node.js 22.15 the gateway can take the place of this process, which then needs no memory.
if (process.execve) process.execve(binary, [binary, ...args], process.env);

const child = spawn(binary, args, { stdio: "inherit" });
// A terminal sends its signals to both processes. The gateway counts two within 100 ms as one.
const signals = ["SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM"];
for (const signal of signals) process.on(signal, () => child.kill(signal));
child.on("error", (error) => {
  console.error(`vertex-gateway: ${error.message}`);
  process.exit(1);
});
child.on("exit", (code, signal) => {
  if (signal === null) process.exit(code);
  for (const name of signals) process.removeAllListeners(name);
  process.kill(process.pid, signal);
});
