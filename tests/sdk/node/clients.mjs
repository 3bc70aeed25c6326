// One adapter for each client, with the same methods.
//
// `new Client({ url, key, retries })`: without `retries` the client uses its default. Timeouts are always the
// client's defaults. A call that fails throws the client's own error.
//
// `lacks` of a client has the reason for each action that it does not have. `agent` runs the client's own loop
// of tools, and returns the calls that were run; each of its tools returns its `answer`.

import { LangChain } from "./clients/langchain.mjs";
import { NodeOpenAI, NodeOpenAI6 } from "./clients/openai.mjs";
import { VercelAI, VercelAI2, VercelOpenAI } from "./clients/vercel.mjs";

export const CLIENTS = [NodeOpenAI, NodeOpenAI6, LangChain, VercelAI, VercelAI2, VercelOpenAI];
