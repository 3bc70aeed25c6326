use std::{
    fmt,
    future::Future,
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Request, request::Parts};
use http_body::Body;
use pin_project::pin_project;
use tower::Service;

use super::{
    ModelBody, ModelTable, RequestedModel, UpstreamModel,
    body::{Edit, Gathering, splice},
    message::route_message,
    named::{Form, route_by_published},
    scan::{Model, Vacancy},
    service::{ReadModel, StoredReferences, say_json},
};
use crate::{
    BoxError,
    body_headers::describe_anew,
    error::{Error, ModelError},
    polled::AFTER_READY,
    replay::Chunks,
};

/// The future of [`VertexModel`](super::VertexModel).
#[must_use = "futures do nothing unless polled"]
#[pin_project]
pub struct ResponseFuture<S, B>
where
    S: Service<Request<ModelBody<B>>>,
{
    #[pin]
    state: State<S, B, S::Future>,
}

#[pin_project(project = StateProj)]
enum State<S, B, F> {
    Failed(Option<BoxError>),
    /// The body is being read. The service that was ready is kept for it.
    Reading(#[pin] B, Option<Box<Waiting<S>>>),
    Sending(#[pin] F),
    Done,
}

struct Waiting<S> {
    service: S,
    table: ModelTable,
    form: Form,
    head: Parts,
    gathering: Gathering,
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<ModelBody<B>>>,
{
    pub(super) fn failed(error: ModelError) -> Self {
        Self { state: State::Failed(Some(Error::from(error).into())) }
    }

    pub(super) fn sending(future: S::Future) -> Self {
        Self { state: State::Sending(future) }
    }

    /// `service` must be ready.
    pub(super) fn reading(
        service: S,
        table: ModelTable,
        form: Form,
        limit: usize,
        request: Request<B>,
    ) -> Self {
        let (head, body) = request.into_parts();
        let gathering = Gathering::new(limit);
        let waiting = Box::new(Waiting { service, table, form, head, gathering });
        Self { state: State::Reading(body, Some(waiting)) }
    }
}

impl<S> Waiting<S> {
    /// Picks the upstream once the body is complete, and sends the request.
    fn send<B>(self) -> Result<S::Future, ModelError>
    where
        S: Service<Request<ModelBody<B>>>,
    {
        let Self { mut service, table, form, mut head, gathering } = self;
        if let Some(stored) = head.extensions.get_mut::<StoredReferences>() {
            *stored = match gathering.refers_to_stored() {
                None => StoredReferences::Unread,
                Some(false) => StoredReferences::None,
                Some(true) => StoredReferences::Found,
            };
        }
        let body = match form {
            Form::Message => {
                let (body, message) = gathering.finish_message()?;
                say_json(&mut head.headers, true);
                route_message(&table, &mut head, body, message)?
            }
            Form::Body | Form::Path | Form::Nowhere => {
                let (body, read) = gathering.finish()?;
                if read.is_json {
                    let strictly = head.extensions.get::<ReadModel>().is_some()
                        || head.extensions.get::<StoredReferences>().is_some();
                    say_json(&mut head.headers, strictly);
                }
                match read.model {
                    None => match read.vacancy.zip(table.default_for_request(&head, "")) {
                        Some((vacancy, default)) => {
                            add_model(&table, &mut head, body, &vacancy, &default)
                        }
                        None => {
                            table.settle(&mut head.extensions);
                            body
                        }
                    },
                    Some(model) => route_by_body(&table, &mut head, body, &model)?,
                }
            }
        };
        Ok(service.call(Request::from_parts(head, ModelBody::read(body))))
    }
}

/// Routes a request by the model in its body, whose name is changed there.
fn route_by_body(
    table: &ModelTable,
    head: &mut Parts,
    body: Chunks,
    model: &Model,
) -> Result<Chunks, ModelError> {
    let name = match route_by_published(table, head, &model.name)? {
        Some(Some(name)) => name,
        Some(None) => return Ok(body),
        None => match table.default_for_request(head, &model.name) {
            Some(default) => route_to_default(table, head, &model.name, &default),
            None => {
                let requested = RequestedModel::new(&model.name);
                head.extensions.insert(requested.clone());
                match table.apply(&model.name, &mut head.extensions, &mut head.headers) {
                    Some(name) => {
                        head.extensions.insert(UpstreamModel::new(name.as_str()));
                        name
                    }
                    None => {
                        head.extensions.insert(UpstreamModel::from(requested));
                        return Ok(body);
                    }
                }
            }
        },
    };
    Ok(write_model(head, body, &model.spans, "", name))
}

/// Routes a request to the default model, and returns the name of that model at its upstream.
fn route_to_default(
    table: &ModelTable,
    head: &mut Parts,
    requested: &str,
    default: &Arc<str>,
) -> String {
    head.extensions.insert(RequestedModel::served_by(requested, default));
    let name = table.apply(default, &mut head.extensions, &mut head.headers);
    let name = name.unwrap_or_else(|| default.to_string());
    head.extensions.insert(UpstreamModel::new(name.as_str()));
    name
}

/// Routes a request without a model to the default model, whose name is added to the body.
fn add_model(
    table: &ModelTable,
    head: &mut Parts,
    body: Chunks,
    vacancy: &Vacancy,
    default: &Arc<str>,
) -> Chunks {
    let name = route_to_default(table, head, "", default);
    write_model(head, body, &vacancy.ranges, vacancy.before, name)
}

/// Writes the name of the model into the body, after the text `before`.
fn write_model(
    head: &mut Parts,
    body: Chunks,
    ranges: &[Range<usize>],
    before: &str,
    name: String,
) -> Chunks {
    let json = [before, &serde_json::Value::String(name).to_string()].concat();
    let body = splice(body, &Edit::each(ranges, &Bytes::from(json)));
    describe_anew(&mut head.headers, body.data.len());
    body
}

impl<S, B> Future for ResponseFuture<S, B>
where
    S: Service<Request<ModelBody<B>>>,
    S::Error: Into<BoxError>,
    B: Body,
    B::Error: Into<BoxError>,
{
    type Output = Result<S::Response, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let sent = match state.as_mut().project() {
                StateProj::Failed(error) => match error.take() {
                    Some(error) => return Poll::Ready(Err(error)),
                    None => panic!("{AFTER_READY}"),
                },
                StateProj::Reading(body, waiting) => match ready!(body.poll_frame(cx)) {
                    Some(Ok(frame)) => {
                        let Some(waiting) = waiting else { panic!("{AFTER_READY}") };
                        match waiting.gathering.push(frame) {
                            Ok(()) => continue,
                            Err(error) => Err(Error::from(error).into()),
                        }
                    }
                    Some(Err(error)) => Err(error.into()),
                    None => {
                        let Some(waiting) = waiting.take() else { panic!("{AFTER_READY}") };
                        waiting.send().map_err(|error| Error::from(error).into())
                    }
                },
                StateProj::Sending(future) => {
                    let result = ready!(future.poll(cx)).map_err(Into::into);
                    state.set(State::Done);
                    return Poll::Ready(result);
                }
                StateProj::Done => panic!("{AFTER_READY}"),
            };
            state.set(match sent {
                Ok(future) => State::Sending(future),
                // Setting the state drops the bytes that were read, and the service.
                Err(error) => State::Failed(Some(error)),
            });
        }
    }
}

impl<S, B> fmt::Debug for ResponseFuture<S, B>
where
    S: Service<Request<ModelBody<B>>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
