//! [`Exchange`]: a request from its cures to the cures of its response.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header, request::Parts};
use http_body::Body;
use tower::Service;

use super::{
    AppliedCures, CompatBody, Cure, Cures, RequestBody, SignatureOwner,
    applied::HEADER,
    json::Value,
    layer::CompatSettings,
    request::{self, Cured, Found, Remembered, Texts, Triggers},
    request_body::Gathering,
    response::{Operation, ResponseContext},
    service::{Case, Method, is_googles},
};
use crate::{
    BoxError,
    body_headers::{describe_anew, is_encoded},
    body_reader::contiguous,
    model::find_model,
    replay::{Chunks, Coalesced, SavedHead},
    route::Upstream,
};

/// A request that was sent, and what its response needs.
pub(super) struct Exchange<S> {
    settings: Arc<CompatSettings>,
    operation: Operation,
    model: Arc<str>,
    owner: SignatureOwner,
    applied: AppliedCures,
    /// The request for a resend, if there can be one.
    kept: Option<Kept<S>>,
    /// The resend, as it was planned.
    next: Option<(S, Request<Chunks>)>,
}

/// A request that may be sent again after a refusal.
struct Kept<S> {
    service: S,
    head: SavedHead,
    body: KeptBody,
}

struct KeptBody {
    /// The body as it was sent.
    sent: Bytes,
    /// The body before its cures, if signatures were restored in it.
    original: Option<Bytes>,
    triggers: Triggers,
    trailers: Option<HeaderMap>,
}

impl<S> Exchange<S> {
    /// Cures a request and sends it. The body was read, to its end if it `is_whole`. `service` must
    /// be ready. There is no exchange if the response needs none.
    pub(super) fn begin<B>(
        service: &mut S,
        settings: &Arc<CompatSettings>,
        case: Case,
        mut head: Parts,
        gathering: Gathering<B>,
        is_whole: bool,
    ) -> (S::Future, Option<Box<Self>>)
    where
        S: Service<Request<RequestBody<B>>> + Clone,
    {
        if !is_whole {
            // The body is longer than the limit.
            return (service.call(Request::from_parts(head, gathering.into_body())), None);
        }
        let mut chunks = gathering.into_chunks();
        let model = case.model.map(Arc::from);
        let model = model.or_else(|| find_model(&chunks.data).map(Arc::from));
        let model = model.filter(|model| case.method == Method::Embeddings || is_googles(model));
        let Some(model) = model else {
            return (service.call(Request::from_parts(head, RequestBody::read(chunks))), None);
        };
        if settings.has_cures_of_responses {
            head.headers.remove(header::ACCEPT_ENCODING);
        }
        let project = case.upstream.as_ref().and_then(Upstream::project).unwrap_or_default();
        let mut exchange = Box::new(Self {
            owner: settings.signatures.owner(case.scope.as_str(), project, &model),
            settings: Arc::clone(settings),
            operation: Operation::Chat { usage_chunk: false },
            model,
            applied: AppliedCures::none(),
            kept: None,
            next: None,
        });
        let kept = match case.method {
            Method::Chat => exchange.cure_chat(&mut chunks, &mut head.headers),
            Method::Embeddings => {
                let base64 = wants_base64(&chunks.data);
                exchange.operation = Operation::Embeddings { base64 };
                None
            }
        };
        let request = Request::from_parts(head, RequestBody::read(chunks));
        exchange.kept = kept.map(|body| {
            let (service, head) = (service.clone(), SavedHead::of(&request));
            Kept { service, head, body }
        });
        (service.call(request), Some(exchange))
    }

    /// Cures a request. Returns what is to be kept of it for a resend.
    fn cure_chat(&mut self, chunks: &mut Chunks, headers: &mut HeaderMap) -> Option<KeptBody> {
        let cures = self.settings.cures;
        let triggers = Triggers::of(&Texts::of(&chunks.data));
        self.operation = Operation::Chat { usage_chunk: triggers.include_usage };
        let may_resend = triggers.tool_calls
            && (cures.is_on(Cure::PlaceholderSignature) || cures.is_on(Cure::BlankContent));
        let may_cure = triggers.any(cures);
        if !may_cure && !may_resend {
            return None;
        }
        let original = whole(&chunks.data);
        let mut found = Found::default();
        let cured = if may_cure { self.cure(&original, triggers, cures, &mut found) } else { None };
        let sent = match cured {
            Some(Cured { body, applied }) => {
                self.applied.cures = applied;
                describe_anew(headers, body.len());
                body
            }
            None => original.clone(),
        };
        chunks.data = sent.clone().into();
        self.applied.restored = found.restored;
        let counters = &self.settings.counters;
        counters.restored.fetch_add(found.restored, Relaxed);
        if request::generation(&self.model).is_some_and(|major| major >= 3) {
            counters.missing.fetch_add(found.missing, Relaxed);
        }
        may_resend.then(|| KeptBody {
            original: (found.restored > 0).then_some(original),
            sent,
            triggers,
            trailers: chunks.trailers.clone(),
        })
    }

    fn cure(
        &self,
        body: &[u8],
        triggers: Triggers,
        cures: Cures,
        found: &mut Found,
    ) -> Option<Cured> {
        let remembered = Remembered { signatures: &self.settings.signatures, owner: self.owner };
        request::cure(body, triggers, cures, &self.model, remembered, found)
    }

    /// Whether the body of this response may be a reason to send the request again.
    pub(super) fn may_resend<R>(&self, response: &Response<R>) -> bool {
        self.kept.is_some()
            && response.status() == StatusCode::BAD_REQUEST
            && !is_encoded(response.headers())
    }

    /// Plans the resend after a refusal with this body. Returns whether there will be one.
    pub(super) fn plan_resend(&mut self, error: &[u8]) -> bool {
        let Some(Kept { service, head, body }) = self.kept.take() else { return false };
        let KeptBody { sent, original, triggers, trailers } = body;
        let cures = self.settings.cures;
        let mut applied = self.applied;
        // A signature that was restored and is wrong gives way to the placeholder.
        let body = match original.filter(|_| request::is_invalid_signature(error)) {
            Some(original) => {
                let cures = cures.signatures(false);
                let cured = self.cure(&original, triggers, cures, &mut Found::default());
                applied.restored = 0;
                applied.cures = cured.as_ref().map(|cured| cured.applied).unwrap_or(Cures::none());
                cured.map_or(original, |cured| cured.body)
            }
            None => sent,
        };
        let refused = request::cure_refused(&body, error, cures);
        let (Some((cured, placed)), Some(request)) = (refused, head.into_request(())) else {
            return false;
        };
        applied.cures = cured.applied.iter().fold(applied.cures, |all, cure| all.with(cure, true));
        applied.placeholders = placed;
        self.settings.counters.placeholders.fetch_add(placed, Relaxed);
        self.applied = applied;
        tracing::info!(cures = ?cured.applied, placeholders = placed, "sending again after a 400");
        let (mut head, ()) = request.into_parts();
        describe_anew(&mut head.headers, cured.body.len());
        let chunks = Chunks { data: cured.body.into(), trailers };
        self.next = Some((service, Request::from_parts(head, chunks)));
        true
    }

    /// Ready when the service for the resend is.
    pub(super) fn poll_ready<B>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        match &mut self.next {
            Some((service, _)) => service.poll_ready(cx),
            None => Poll::Ready(Ok(())),
        }
    }

    /// Sends the request again, as it was planned. The service must be ready.
    pub(super) fn resend<B>(&mut self) -> Option<S::Future>
    where
        S: Service<Request<RequestBody<B>>>,
    {
        let (mut service, request) = self.next.take()?;
        Some(service.call(request.map(RequestBody::read)))
    }

    /// Cures the response.
    pub(super) fn finish<R>(self, response: Response<R>) -> Response<CompatBody<R>>
    where
        R: Body<Data = Bytes>,
        R::Error: Into<BoxError>,
    {
        let Self { settings, operation, owner, .. } = &self;
        let cures = settings.cures;
        let response = if settings.has_cures_of_responses && response.status().is_success() {
            let signatures =
                cures.is_on(Cure::Signatures).then(|| (settings.signatures.clone(), *owner));
            CompatBody::cured(
                response,
                ResponseContext { cures, operation: *operation, signatures },
            )
        } else {
            response.map(CompatBody::inner)
        };
        self.mark(response)
    }

    /// Says on the response what was done to its request.
    pub(super) fn mark<R>(&self, mut response: Response<R>) -> Response<R> {
        response.headers_mut().remove(HEADER);
        if !self.applied.cures.is_empty() {
            self.applied.put_on(response.headers_mut());
            response.extensions_mut().insert(self.applied);
        }
        response
    }
}

/// All bytes in one piece, which is a copy only if there are several. The pieces must be sealed.
fn whole(data: &Coalesced) -> Bytes {
    match (data.get(0), data.get(1)) {
        (Some(only), None) => only.clone(),
        _ => contiguous(data).into_owned().into(),
    }
}

/// Whether a request for embeddings wants base64.
fn wants_base64(data: &Coalesced) -> bool {
    let wants = |body: &[u8]| {
        let format = Value::parse_bytes(body)?.get("encoding_format")?;
        Some(format.is_string("base64"))
    };
    request::may_want_base64(&Texts::of(data)) && wants(&contiguous(data)).unwrap_or(false)
}
