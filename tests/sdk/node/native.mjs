// One adapter for each client of Gemini's or Anthropic's protocol, with the same methods.
//
// `new Client({ root, retries, folder })`: `root` is the sidecar's address. Without `retries` the client uses its
// default. `folder` is the home and the working folder of a program. A call that fails throws the client's own error.
//
// `lacks` of a client has the reason for each action that it does not have.

import { Claude, ClaudeVertex } from "./native/anthropic.mjs";
import { ClaudeCode, ClaudeCodeVertex } from "./native/claude_code.mjs";
import { GeminiCLI } from "./native/gemini_cli.mjs";
import { GenAI, GenAIVertex } from "./native/genai.mjs";
import { OpenAIVertex } from "./native/openai.mjs";
import { VercelClaude, VercelVertex } from "./native/vercel.mjs";

export const NATIVE = [
  GenAI,
  GenAIVertex,
  VercelVertex,
  GeminiCLI,
  Claude,
  ClaudeVertex,
  VercelClaude,
  ClaudeCode,
  ClaudeCodeVertex,
  OpenAIVertex,
];
