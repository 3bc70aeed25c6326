// Runs a program that is a client, with a home and a working folder of its own.

import { execFile } from "node:child_process";
import { PATIENCE } from "../gateway.mjs";

/** The error of a program. `lines` are the JSON values that it printed. */
export class Failed extends Error {
  constructor(message, { status, lines = [] } = {}) {
    super(message);
    Object.assign(this, { status, lines });
  }
}

/** Runs a program with only these variables. Returns its output, and whether it succeeded. */
export function run(file, args, { folder, env }) {
  const options = {
    cwd: folder,
    env: { HOME: folder, PATH: process.env.PATH, TERM: "dumb", ...env },
    timeout: 2 * PATIENCE,
    maxBuffer: 64 << 20,
  };
  return new Promise((resolve) => {
    const child = execFile(file, args, options, (error, stdout, stderr) => {
      resolve({ succeeded: !error, stdout, stderr });
    });
    // These programs also read a prompt from their standard input.
    child.stdin.end();
  });
}

/** The lines of an output that are JSON. */
export const jsonLines = (text) =>
  text.split("\n").flatMap((line) => {
    try {
      return line.startsWith("{") ? [JSON.parse(line)] : [];
    } catch {
      return [];
    }
  });
