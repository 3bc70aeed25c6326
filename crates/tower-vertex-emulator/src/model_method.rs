//! The methods that a colon appends to a publisher's model or to a deployed endpoint, such as
//! `publishers/google/models/gemini-2.5-flash:generateContent`.

use http::Method;

use super::models::Surface;

/// A method of a model.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ModelMethod {
    GenerateContent,
    StreamGenerateContent,
    CountTokens,
    ComputeTokens,
    EmbedContent,
    BatchEmbedContents,
    Predict,
    RawPredict,
    StreamRawPredict,
}

impl ModelMethod {
    const ALL: [(&str, Self); 9] = [
        ("generateContent", Self::GenerateContent),
        ("streamGenerateContent", Self::StreamGenerateContent),
        ("countTokens", Self::CountTokens),
        ("computeTokens", Self::ComputeTokens),
        ("embedContent", Self::EmbedContent),
        ("batchEmbedContents", Self::BatchEmbedContents),
        ("predict", Self::Predict),
        ("rawPredict", Self::RawPredict),
        ("streamRawPredict", Self::StreamRawPredict),
    ];

    /// Parses `NAME:METHOD`. The method is after the last colon.
    pub(crate) fn parse<'a>(method: &Method, segment: &'a str) -> Option<(&'a str, Self)> {
        let (name, verb) = segment.rsplit_once(':')?;
        let (_, found) = Self::ALL.iter().find(|(known, _)| *known == verb)?;
        (method == Method::POST && !name.is_empty()).then_some((name, *found))
    }

    /// The word after the colon.
    pub(crate) fn verb(self) -> &'static str {
        Self::ALL.iter().find(|(_, method)| *method == self).map_or("", |(verb, _)| verb)
    }

    /// The service and the name of the method in errors.
    pub(crate) fn rpc(self) -> (&'static str, &'static str) {
        match self {
            Self::GenerateContent => ("PredictionService", "GenerateContent"),
            Self::StreamGenerateContent => ("PredictionService", "StreamGenerateContent"),
            Self::CountTokens => ("PredictionService", "CountTokens"),
            Self::ComputeTokens => ("LlmUtilityService", "ComputeTokens"),
            Self::EmbedContent => ("PredictionService", "EmbedContent"),
            Self::BatchEmbedContents => ("PredictionService", "BatchEmbedContents"),
            Self::Predict => ("PredictionService", "Predict"),
            Self::RawPredict => ("PredictionService", "RawPredict"),
            Self::StreamRawPredict => ("PredictionService", "StreamRawPredict"),
        }
    }

    /// Whether the response is a stream of messages, which the front end writes as one JSON array
    /// unless the query has `alt=sse`.
    pub(crate) fn is_streamed(self) -> bool {
        matches!(self, Self::StreamGenerateContent | Self::StreamRawPredict)
    }

    /// The method that a model must have for this call.
    pub(crate) fn surface(self) -> Surface {
        match self {
            Self::GenerateContent
            | Self::StreamGenerateContent
            | Self::CountTokens
            | Self::ComputeTokens => Surface::GenerateContent,
            Self::EmbedContent | Self::BatchEmbedContents => Surface::EmbedContent,
            Self::Predict => Surface::Predict,
            Self::RawPredict | Self::StreamRawPredict => Surface::RawPredict,
        }
    }
}
