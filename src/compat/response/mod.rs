//! Cures of responses.
//!
//! [`cure_body`] cures a complete JSON body, and [`StreamCures`] a stream of server-sent events.
//! Each file is a cure with its evidence and its rule, except for the ones that connect them:
//!
//! | file | what it does |
//! |---|---|
//! | `stream` | divides a stream into events, and puts the edited bytes together |
//! | `events` | events that clients cannot parse |
//! | `chunk` | finds the JSON texts that a cure may be about, and applies the cures to them |
//! | `known` | cures the events that differ from an earlier one only in their content, without a parser |
//! | `body` | applies the cures to a complete body |
//! | `cured_body` | chooses between the two by the headers, and is the body of the response |
//!
//! # Evidence
//!
//! The pages of Google that describe the endpoint are
//! <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/overview> and
//! <https://docs.cloud.google.com/vertex-ai/generative-ai/docs/migrate/openai/examples>. Where a
//! form is not on these pages, the cure names the reports. Most are about the same translation in
//! the Gemini API (`generativelanguage.googleapis.com`), and nothing was measured against Vertex AI.
//!
//! # Cost
//!
//! Every event of a Gemini stream has a `role` that is removed. A parser takes some 32,000
//! instructions for an event of 269 bytes, by callgrind. So an event that differs from an earlier
//! one only in its content is edited by comparing bytes. This takes 1,200 instructions, and 250 more
//! than the same event without a cure. An event without the members that the cures are about is not
//! parsed either.

mod body;
mod chunk;
mod cured_body;
mod embeddings;
mod error_event;
mod events;
mod finish_reason;
mod known;
mod missing_members;
mod observe;
mod role;
mod stream;
mod thoughts;
mod tool_calls;
mod usage;
mod writer;

pub(crate) use self::{body::cure_body, cured_body::CuredBody, stream::StreamCures};

use super::{Cures, SignatureOwner, Signatures};

/// The request that a response is for, and the cures of the response.
#[derive(Clone, Debug)]
pub(crate) struct ResponseContext {
    pub(crate) cures: Cures,
    pub(crate) operation: Operation,
    /// The store of signatures, and the owner of those in this response.
    pub(crate) signatures: Option<(Signatures, SignatureOwner)>,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Chat Completions. `usage_chunk`: the request has `"include_usage": true`.
    Chat { usage_chunk: bool },
    /// Embeddings, with `"encoding_format":"base64"` or in another format.
    Embeddings { base64: bool },
}

impl ResponseContext {
    fn is_on(&self, cure: super::Cure) -> bool {
        self.cures.is_on(cure)
    }
}

#[cfg(test)]
mod tests;
