//! The binary `vertex-gateway`, from a user's view.

mod compressed;
mod credentials;
mod errors;
mod models;
mod start;
mod streams;

use std::{
    io::Write as _,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    net::{TcpSocket, TcpStream},
};
use tower_vertex::replay::ReplayBody;
use tower_vertex_emulator::{
    ApiFault, Emulator, EndpointInfo, ErrorShape, Faults, StreamBehavior, TokenBehavior, TokenFault,
};

use crate::common::{
    Http, chat, chat_stream, client,
    door::ClosedPort,
    eventually,
    gateway::{Gateway, Log, command, openai_error},
    in_time,
    metadata::{self, Reply},
    text,
};
