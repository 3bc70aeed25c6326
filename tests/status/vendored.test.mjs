// The files of uPlot in the binary are those of its npm package, in the version that package.json names.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import test from "node:test";

const OURS = new URL("../../crates/vertex-gateway/src/status/uplot/", import.meta.url);
const PACKAGE = new URL("node_modules/uplot/", import.meta.url);

test("the files of uPlot are those of its package", async () => {
  for (const [ours, theirs] of [
    ["uPlot.iife.min.js", "dist/uPlot.iife.min.js"],
    ["uPlot.min.css", "dist/uPlot.min.css"],
    ["LICENSE", "LICENSE"],
  ]) {
    const [own, published] = await Promise.all([readFile(new URL(ours, OURS)), readFile(new URL(theirs, PACKAGE))]);
    assert.ok(own.equals(published), `${ours} differs from the package's ${theirs}`);
  }
  const { version, license } = JSON.parse(await readFile(new URL("package.json", PACKAGE), "utf8"));
  const noted = await readFile(new URL("VERSION", OURS), "utf8");
  assert.match(noted, new RegExp(`^uplot ${version}, ${license} licence`));
});
