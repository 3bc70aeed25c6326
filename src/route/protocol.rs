//! The protocol that a client speaks.

/// The protocol of a request, which decides about the form of its errors.
///
/// Vertex AI has all three: OpenAI's at the `openapi` endpoint and at `publishers/openai`, Google's own
/// for Gemini and for models that you deployed, and Anthropic's for Claude.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Protocol {
    /// OpenAI's Chat Completions, Completions, Embeddings and Responses. The default.
    #[default]
    OpenAi,
    /// Google's own: `…/models/{model}:generateContent` and the other methods after a colon.
    Gemini,
    /// Anthropic's Messages: `/v1/messages`, and every path of a model of Anthropic's.
    Anthropic,
}

impl Protocol {
    /// Returns the protocol that has a path like this one. The path need not be one that an upstream
    /// has, so that an error about it can have the right form too. A path that no protocol has is
    /// OpenAI's.
    ///
    /// ```
    /// use tower_vertex::route::Protocol;
    ///
    /// assert_eq!(Protocol::of("/v1/chat/completions"), Protocol::OpenAi);
    /// assert_eq!(Protocol::of("/v1beta/models/gemini-2.5-flash:countTokens"), Protocol::Gemini);
    /// assert_eq!(Protocol::of("/v1/messages"), Protocol::Anthropic);
    /// ```
    pub fn of(path: &str) -> Self {
        let mut segments = path.split('/').filter(|segment| !segment.is_empty()).peekable();
        let version = segments.next_if(|segment| is_version(segment));
        // Only Google's APIs have these versions.
        let is_google = version.is_some_and(|version| version != "v1");
        let mut before = "";
        for segment in segments {
            match (before, segment) {
                ("", "messages") => return Self::Anthropic,
                ("publishers", "anthropic") => return Self::Anthropic,
                ("publishers", "openai") => return Self::OpenAi,
                ("publishers", _) => return Self::Gemini,
                ("models" | "endpoints", name) if name.contains(':') => return Self::Gemini,
                ("endpoints", _) => return Self::OpenAi,
                _ => {}
            }
            before = segment;
        }
        if is_google { Self::Gemini } else { Self::OpenAi }
    }
}

/// The versions of Vertex AI's and of the Gemini API.
fn is_version(segment: &str) -> bool {
    matches!(segment, "v1" | "v1beta" | "v1beta1" | "v1alpha")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_path_has_the_protocol_of_its_clients() {
        const IN_PROJECT: &str = "/v1/projects/p/locations/l";
        for (path, expected) in [
            ("/v1/chat/completions", Protocol::OpenAi),
            ("/chat/completions", Protocol::OpenAi),
            ("/v1/models", Protocol::OpenAi),
            ("/v1/models/google/gemini-2.5-flash", Protocol::OpenAi),
            ("/nothing", Protocol::OpenAi),
            ("", Protocol::OpenAi),
            ("{P}/endpoints/openapi/chat/completions", Protocol::OpenAi),
            ("{P}/endpoints/7/chat/completions", Protocol::OpenAi),
            ("/v1beta1/projects/p/locations/l/endpoints/7/chat/completions", Protocol::OpenAi),
            ("{P}/publishers/openai/v1/responses", Protocol::OpenAi),
            ("/v1beta/models", Protocol::Gemini),
            ("/v1beta/models/m:generateContent", Protocol::Gemini),
            ("/v1/models/m:generateContent", Protocol::Gemini),
            ("/models/m:generateContent", Protocol::Gemini),
            ("/v1beta1/nothing", Protocol::Gemini),
            ("{P}/publishers/google/models/m:generateContent", Protocol::Gemini),
            ("{P}/publishers/google/models", Protocol::Gemini),
            ("/v1/publishers/google/models/m:generateContent", Protocol::Gemini),
            ("{P}/endpoints/7:rawPredict", Protocol::Gemini),
            ("/v1/messages", Protocol::Anthropic),
            ("/messages", Protocol::Anthropic),
            ("/v1/messages/", Protocol::Anthropic),
            ("/v1/messages/count_tokens", Protocol::Anthropic),
            ("{P}/publishers/anthropic/models/m:streamRawPredict", Protocol::Anthropic),
            ("/v1/publishers/anthropic/models/count-tokens:rawPredict", Protocol::Anthropic),
        ] {
            let path = path.replace("{P}", IN_PROJECT);
            assert_eq!(Protocol::of(&path), expected, "{path}");
        }
    }
}
