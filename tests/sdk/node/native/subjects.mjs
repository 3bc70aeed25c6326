// The models and the access of the tests, for every client.

import { OAuth2Client } from "google-auth-library";
import { z } from "zod";
import { WEATHER } from "../clients/subjects.mjs";

export const GEMINI = "gemini-2.5-flash";
export const CLAUDE = "claude-sonnet-4-6";
// Models that do not exist.
export const NO_GEMINI = "gemini-0";
export const NO_CLAUDE = "claude-0";

/** The client's project and location. The sidecar replaces both with its own. */
export const PROJECT = "another-project";
export const LOCATION = "europe-west1";

const { name, description, arguments: parameters, answer } = WEATHER;
/** The tool, with its arguments as a JSON schema. */
export const TOOL = { name, description, schema: z.toJSONSchema(parameters), answer };

/** Google credentials with a token that means nothing. */
export function credentials() {
  const client = new OAuth2Client();
  client.setCredentials({ access_token: "unused", expiry_date: Date.now() + 3_600_000 });
  return client;
}

/** The options of a client that takes a number of retries. */
export const retried = (retries) => (retries === undefined ? {} : { maxRetries: retries });
