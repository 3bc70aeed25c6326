// The models, tools and schemas of the tests, for every client.

import { readFileSync } from "node:fs";
import { z } from "zod";

export const MODEL = "google/gemini-2.5-flash";
/** A model that thinks, and whose calls have signatures that must come back. */
export const GEMINI_3 = "google/gemini-3.1-pro-preview";
/** A model that Vertex AI documents for the Responses API. */
export const GROK = "xai/grok-4.1-fast-reasoning";
export const EMBEDDING_MODEL = "google/text-embedding-005";

/** The tool that a model may call. */
export const WEATHER = {
  name: "weather",
  description: "The weather in a city",
  arguments: z.strictObject({ city: z.string(), unit: z.enum(["celsius", "fahrenheit"]) }),
  answer: "22 degrees",
};

const DAY = z.strictObject({ city: z.string(), day: z.int().min(1) });

/** The tools of an agent. */
export const TRIP = [
  WEATHER,
  { name: "find_train", description: "A train to a city", arguments: DAY, answer: "at 9:40" },
  { name: "book_room", description: "A room in a city", arguments: DAY, answer: "room 7" },
];

/** The schema of a structured response. */
export const CITY = z.strictObject({
  name: z.string(),
  inhabitants: z.int().min(1),
  languages: z.array(z.string()),
});

/** The version of an installed package. */
export const installed = (name) =>
  JSON.parse(readFileSync(new URL(`../node_modules/${name}/package.json`, import.meta.url))).version;
