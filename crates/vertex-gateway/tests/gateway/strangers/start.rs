//! The clients that a sidecar serves with its settings, and errors of unusable settings.

use tower_vertex_emulator::Emulator;

use super::Files;
use crate::common::{
    certificates::Authority,
    gateway::{Gateway, command},
    in_time,
};

#[tokio::test]
async fn without_keys_and_certificates_only_this_machine_is_served() {
    let authority = Authority::new();
    let files = Files::with_keys();
    let (cert, key) = files.write_pair("server", authority.server());
    let ca = files.write("ca", &authority.pem());
    let keys = files.path("keys");
    for listen in ["0.0.0.0:0", "[::]:0"] {
        for args in [&[][..], &["--tls-cert", &cert, "--tls-key", &key]] {
            let args = [&["--emulator", "--listen", listen], args].concat();
            let output = in_time("the end of the process", command(&args).output()).await.unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            for remedy in ["--client-key-file", "--tls-client-ca", "--allow-unauthenticated"] {
                assert!(said.contains(remedy), "{said}");
            }
            assert_eq!(said.trim().lines().count(), 1, "{said}");
            assert!(output.stdout.is_empty());
        }
    }
    for args in [
        &["--client-key-file", &keys][..],
        &["--allow-unauthenticated"],
        &["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &ca],
    ] {
        let args = [&["--emulator", "--listen", "0.0.0.0:0"], args].concat();
        let gateway = Gateway::start(command(&args)).await;
        assert!(gateway.addr.ip().is_unspecified());
    }
}

#[tokio::test]
async fn an_unusable_setting_is_a_sentence_without_secrets() {
    let files = Files::with_keys();
    let (authority, other) = (Authority::new(), Authority::new());
    let (cert, key) = files.write_pair("server", authority.server());
    let (_, other) = files.write_pair("other", other.server());
    let vertex = Emulator::start().await.unwrap();
    let keys = files.path("keys");
    let nothing = files.write("nothing", "");
    let broken = files.write("broken", "-----BEGIN PRIVATE KEY-----\nSECRET\n");
    let bad_key = files
        .write("bad_key", "-----BEGIN PRIVATE KEY-----\nSECRETAA\n-----END PRIVATE KEY-----\n");
    let short = files.write("short", "alice:SECRET");
    let nameless = files.write("nameless", "alice:SECRET-0123456789\nsk-SECRET-0123456789");
    let twice = files.write("twice", "a:SECRET-0123456789\nb:SECRET-0123456789");
    let config = |name: &str, text: &str| files.write(name, text);
    let unknown = config("unknown", "[[client]]\nname = \"alise\"");
    let alice = config("alice", "[[client]]\nname = \"alice\"");
    let alices = config("alices", "[[client]]\nname = \"alice\"\n[[client]]\nname = \"alice\"");
    let pattern = config("pattern", "[[client]]\nname = \"alice\"\nmodels = [\"a*b*\"]");
    for (args, why) in [
        (
            vec!["--client-key-file", "/nowhere"],
            "--client-key-file /nowhere: there is no such file",
        ),
        (vec!["--client-key-file", &nothing], "the file has no keys"),
        (vec!["--client-key-file", &short], "line 1: the key of \"alice\" is shorter than 16"),
        (vec!["--client-key-file", &nameless], "line 2: give `name:key`"),
        (vec!["--client-key-file", &twice], "\"a\" and \"b\" have the same key"),
        (vec!["--client-key-file", &keys, "--config", &unknown], "did you mean \"alice\"?"),
        (
            vec!["--client-key-file", &keys, "--config", &alices],
            "with the name \"alice\" is in line 2 already",
        ),
        (vec!["--client-key-file", &keys, "--config", &pattern], "[[client]] \"alice\": invalid"),
        (vec!["--config", &alice], "[[client]] \"alice\": no client keys are set"),
        (vec!["--tls-cert", &cert], "--tls-cert requires --tls-key"),
        (vec!["--tls-key", &key], "--tls-key requires --tls-cert"),
        (vec!["--tls-client-ca", &cert], "--tls-client-ca requires TLS"),
        (
            vec!["--tls-cert", "/nowhere", "--tls-key", &key],
            "--tls-cert /nowhere: there is no such file",
        ),
        (vec!["--tls-cert", &nothing, "--tls-key", &key], "the file has no certificate"),
        (vec!["--tls-cert", &key, "--tls-key", &key], "the file has no certificate"),
        (vec!["--tls-cert", &cert, "--tls-key", &cert], "the file has no private key"),
        (vec!["--tls-cert", &cert, "--tls-key", &broken], "the file is not PEM"),
        (vec!["--tls-cert", &cert, "--tls-key", &bad_key], "bad_key: cannot be used"),
        (
            vec!["--tls-cert", &cert, "--tls-key", &other],
            "the key does not belong to the certificate",
        ),
        (
            vec!["--tls-cert", &cert, "--tls-key", &key, "--tls-client-ca", &nothing],
            "the file has no certificate",
        ),
        (vec!["--request-header-timeout", "0"], "--request-header-timeout"),
        (vec!["--keepalive-timeout", "0"], "--keepalive-timeout"),
        (vec!["--tls-handshake-timeout", "0"], "--tls-handshake-timeout"),
        (vec!["--http2-ping-interval", "0"], "--http2-ping-interval"),
        (vec!["--http2-ping-timeout", "0"], "--http2-ping-timeout"),
    ] {
        let (mut command, _key) = super::before(&vertex, &vertex.url(), &args);
        let output = in_time("the end of the process", command.output()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(said.contains(why), "{args:?}: {said}");
        assert!(!said.contains("SECRET") && !said.contains("panicked"), "{args:?}: {said}");
        assert!(output.stdout.is_empty(), "{args:?}");
    }
    let (mut command, _key) = super::before(&vertex, &vertex.url(), &[]);
    command.env("VERTEX_GATEWAY_CLIENT_KEYS", "a:sk-SECRET-0123456789,,b:sk-SECRET-x123456789");
    let said = String::from_utf8(
        in_time("the end of the process", command.output()).await.unwrap().stderr,
    )
    .unwrap();
    assert!(said.contains("VERTEX_GATEWAY_CLIENT_KEYS: entry 2: give"), "{said}");
    assert!(!said.contains("SECRET"), "{said}");
}
