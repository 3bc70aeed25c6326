//! Requests whose bodies the client has compressed.

use async_compression::tokio::write::{GzipEncoder, ZlibEncoder, ZstdEncoder};
use ring::digest::{SHA256, digest};
use tokio::io::AsyncWriteExt as _;

use super::*;

const PLAIN: &str =
    r#"{ "model": "google/gemini-2.5-flash", "messages": [{"role": "user", "content": "hello"}] }"#;

async fn compressed(coding: &str, body: &[u8]) -> Vec<u8> {
    macro_rules! by {
        ($encoder:ident) => {{
            let mut encoder = $encoder::new(Vec::new());
            encoder.write_all(body).await.unwrap();
            encoder.shutdown().await.unwrap();
            encoder.into_inner()
        }};
    }
    match coding {
        "zstd" => by!(ZstdEncoder),
        "gzip" => by!(GzipEncoder),
        "deflate" => by!(ZlibEncoder),
        _ => body.to_vec(),
    }
}

fn request(coding: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    Request::post("/v1/chat/completions")
        .header("content-type", "application/json")
        .header("content-encoding", coding)
        .body(Full::new(body.into()))
        .unwrap()
}

#[tokio::test]
async fn a_compressed_body_is_read_for_its_model_and_reaches_vertex_plain() {
    let vertex = Emulator::start().await.unwrap();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[[model]]\nname = \"fast\"\nmodel = \"gemini-2.5-flash\"\n").unwrap();
    let gateway = Gateway::before(&vertex, &["--config", file.path().to_str().unwrap()]).await;
    let sha256: String = digest(&SHA256, PLAIN.as_bytes())
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for coding in ["zstd", "gzip", "deflate", "identity", "x-gzip"] {
        for model in ["google/gemini-2.5-flash", "gemini-2.5-flash", "fast"] {
            let body = PLAIN.replace("google/gemini-2.5-flash", model);
            let body = compressed(coding.trim_start_matches("x-"), body.as_bytes()).await;
            for http in [Http::One, Http::Two] {
                let response = gateway.call_over(http, &mut request(coding, body.clone())).await;
                assert_eq!(response.status(), StatusCode::OK, "{coding} {model}");
                let record = vertex.requests().pop().unwrap();
                assert_eq!(record.body_sha256.as_ref(), Some(&sha256), "{coding} {model}");
                let described = record.header_names.iter().any(|name| name == "content-encoding");
                assert!(!described, "{coding} {model}");
            }
        }
    }
    // A 401 is healed with the same bytes.
    vertex.revoke_tokens();
    let body = compressed("zstd", PLAIN.as_bytes()).await;
    assert_eq!(gateway.call(request("zstd", body)).await.status(), StatusCode::OK);
    assert_eq!(vertex.requests().pop().unwrap().body_sha256, Some(sha256));
}

#[tokio::test]
async fn a_body_that_cannot_be_decompressed_is_refused_and_goes_nowhere() {
    let vertex = Emulator::start().await.unwrap();
    let gateway = Gateway::before(&vertex, &["--max-request-bytes", "100000"]).await;
    let whole = compressed("zstd", PLAIN.as_bytes()).await;
    let cut = whole[..whole.len() - 5].to_vec();
    let spaces = vec![b' '; 5_000_000];
    for (coding, body, status, code) in [
        ("br", whole.clone(), 415, "unsupported_content_encoding"),
        ("gzip, zstd", whole.clone(), 415, "unsupported_content_encoding"),
        ("gzip", whole.clone(), 400, "invalid_compression"),
        ("zstd", PLAIN.as_bytes().to_vec(), 400, "invalid_compression"),
        ("deflate", PLAIN.as_bytes().to_vec(), 400, "invalid_compression"),
        ("zstd", cut, 400, "invalid_compression"),
        // They are small until they are decompressed.
        ("zstd", compressed("zstd", &spaces).await, 413, "request_too_large"),
        ("gzip", compressed("gzip", &spaces).await, 413, "request_too_large"),
        // The frame demands a window of 2 GiB.
        ("zstd", vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0, 0], 400, "invalid_compression"),
    ] {
        let response = gateway.call(request(coding, body)).await;
        let accepted = response.headers().get("accept-encoding").cloned();
        let (found, found_code, message) = openai_error(response).await;
        assert_eq!((found, found_code.as_str()), (status, code), "{coding}: {message}");
        assert_eq!(accepted.is_some(), status == 415, "{coding}");
    }
    assert_eq!(vertex.stats().api_requests, 0);
}
