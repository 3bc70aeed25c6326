//! Google's headers, chunks without a length, and gzip.

use std::io::{Read as _, Write as _};

use flate2::{read::GzDecoder, write};

use super::*;

impl Bench {
    async fn chat_with_gzip(&self, body: &Value) -> http::Response<Incoming> {
        let request = self.request(Method::POST, CHAT).header("accept-encoding", "br, gzip");
        self.open(request.body(full(body.to_string())).unwrap()).await
    }
}

fn decompress(data: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(data).read_to_string(&mut text).unwrap();
    text
}

fn streamed() -> Value {
    let mut body = hello();
    body["stream"] = true.into();
    body
}

#[tokio::test]
async fn responses_have_the_headers_of_google() {
    let bench = Bench::new().await;
    let broken = bench.post(CHAT, "{").await;
    let unauthenticated = {
        let request = Request::post(bench.emulator.url() + CHAT);
        bench.send(request.body(full("")).unwrap()).await
    };
    for answer in [bench.chat().await, bench.post(CHAT, streamed()).await, broken, unauthenticated]
    {
        let values = |name| -> Vec<_> { answer.headers.get_all(name).iter().collect() };
        assert_eq!(values("vary"), ["Origin", "X-Origin", "Referer"]);
        assert_eq!(values("server"), ["scaffolding on HTTPServer2"]);
        assert_eq!(values("x-xss-protection"), ["0"]);
        assert_eq!(values("x-frame-options"), ["SAMEORIGIN"]);
        assert_eq!(values("x-content-type-options"), ["nosniff"]);
        assert!(values("server-timing")[0].to_str().unwrap().starts_with("gfet4t7; dur="));
        assert_eq!(values("transfer-encoding"), ["chunked"]);
        assert!(values("content-length").is_empty() && values("content-encoding").is_empty());
    }
    let page = bench.get("/v1/nothing").await;
    assert!(page.is_front_end_page());
    assert_eq!(page.headers["content-length"], "1561");
}

#[tokio::test]
async fn a_response_is_compressed_for_a_client_that_accepts_gzip() {
    for version in [Version::HTTP_11, Version::HTTP_2] {
        let bench = Bench::over(Emulator::start().await.unwrap(), version);
        for (body, status) in [(hello(), 200), (streamed(), 200), (json!({}), 400)] {
            let response = bench.chat_with_gzip(&body).await;
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["content-encoding"], "gzip");
            let text = decompress(&response.into_body().collect().await.unwrap().to_bytes());
            if status == 400 {
                assert!(text.contains("Malformed publisher model"), "{text}");
            } else if body["stream"] == true {
                assert!(text.ends_with("data: [DONE]\n\n"), "{text}");
            } else {
                assert!(text.contains(ECHO), "{text}");
            }
        }
    }
}

#[tokio::test]
async fn each_compressed_event_arrives_before_the_next_is_sent() {
    let bench = Bench::new().await;
    let chunk_delay = Duration::from_secs(3600);
    bench.set_stream(StreamBehavior { chunk_delay, ..StreamBehavior::default() });
    let mut body = bench.chat_with_gzip(&streamed()).await.into_body();
    let mut decoder = write::GzDecoder::new(Vec::new());
    let event = async {
        while !decoder.get_ref().ends_with(b"\n\n") {
            let frame = body.frame().await.unwrap().unwrap();
            decoder.write_all(&frame.into_data().unwrap()).unwrap();
            decoder.flush().unwrap();
        }
    };
    soon("the first event", event).await;
    assert_eq!(decoder.get_ref().windows(6).filter(|bytes| bytes == b"data: ").count(), 1);
}

#[tokio::test]
async fn a_compressed_stream_that_a_fault_cuts_is_incomplete() {
    let bench = Bench::new().await;
    bench.set_stream(StreamBehavior { cut_after: Some(2), ..StreamBehavior::default() });
    let response = bench.chat_with_gzip(&streamed()).await;
    assert!(response.into_body().collect().await.is_err());
    until("the stream is counted", || bench.emulator.stats().streams.aborted == 1).await;
}
