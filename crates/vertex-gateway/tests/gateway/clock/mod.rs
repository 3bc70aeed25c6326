//! Steps of the machine's clock while `vertex-gateway` serves: by two hours, forward and back.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    process::Stdio,
    sync::Arc,
};

use tempfile::TempDir;
use tower_vertex_emulator::Emulator;

use crate::common::{
    eventually,
    gateway::{Gateway, command},
    load::Load,
    vitals::Admin,
};

const TWO_HOURS: i64 = 7200;

/// The owner of the tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Key,
    User,
    /// A service account that such a user impersonates.
    Impersonated,
}

/// A sidecar with a clock of its own. Google's clock and the monotonic clock are always right.
struct Stepped {
    vertex: Emulator,
    gateway: Arc<Gateway>,
    admin: Admin,
    clock: File,
    folder: TempDir,
}

impl Stepped {
    async fn start(whose: Whose, ahead: i64) -> Self {
        let vertex = Emulator::builder().tls(true).start().await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("authority.pem"), vertex.certificate_pem().unwrap()).unwrap();
        let text = match whose {
            Whose::Key => vertex.service_account_key(),
            Whose::User | Whose::Impersonated => vertex.authorized_user(),
        };
        fs::write(path("credentials.json"), text).unwrap();
        fs::write(path("clock"), ahead.to_ne_bytes()).unwrap();
        let clock = File::options().write(true).open(path("clock")).unwrap();

        let (credentials, url) = (path("credentials.json"), vertex.url());
        let place = ["--listen", "127.0.0.1:0", "--project", "p1", "--location", "us-central1"];
        let more = ["--upstream", &url, "--credentials", credentials.to_str().unwrap()];
        let sight = ["--admin-listen", "127.0.0.1:0", "--log-format", "json"];
        let iam = vertex.control_url();
        let account = "impersonated@emulator-project.iam.gserviceaccount.com";
        let impersonate = ["--impersonate-service-account", account, "--iam-endpoint", &iam];
        let options = if whose == Whose::Impersonated { &impersonate[..] } else { &[] };
        let mut command = command(&[&place[..], &more, &sight, options].concat());
        command.env("SSL_CERT_FILE", path("authority.pem"));
        command.env("LD_PRELOAD", library(folder.path().join("step.so")));
        command.env("STEPPED_CLOCK", path("clock"));
        command.stderr(Stdio::from(File::create(path("log")).unwrap()));
        let mut gateway = Gateway::start(command).await;
        let admin = Admin::of(&mut gateway).await;
        Self { vertex, gateway: Arc::new(gateway), admin, clock, folder }
    }

    /// Waits until the tokens that each start fetches are minted.
    async fn has_tokens(&self, number: u64) {
        eventually("a token", || self.vertex.stats().token_mints == number).await;
    }

    fn step(&self, ahead: i64) {
        self.clock.write_all_at(&ahead.to_ne_bytes(), 0).unwrap();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// Steps the clock under load, and returns how many tokens were minted and how many requests
    /// the token endpoint got meanwhile. No request fails.
    async fn steps(&self, what: &str, ahead: i64) -> (u64, u64) {
        let before = self.vertex.stats();
        let mut load = Load::start(&self.gateway);
        load.more(what, |status| status == 200).await;
        self.step(ahead);
        for _ in 0..3 {
            load.more(what, |status| status == 200).await;
        }
        let seen = load.end().await;
        assert!(seen.all_succeeded(), "{what}: {seen:?}");
        let after = self.vertex.stats();
        let (mints, asked) =
            (after.token_mints - before.token_mints, after.token_requests - before.token_requests);
        println!("{what}: {seen:?}, {mints} tokens in {asked} token requests");
        (mints, asked)
    }
}

/// The library that steps a clock, built by the C compiler that links every Rust program.
fn library(path: PathBuf) -> PathBuf {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gateway/clock/step.c");
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut compile = std::process::Command::new(compiler);
    compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&path).arg(source);
    assert!(compile.status().unwrap().success());
    path
}

#[tokio::test]
async fn a_step_costs_one_token_of_each_account_at_most() {
    // Two hours after its last reading, this clock cannot know whether the machine slept. One token
    // is the user's, one the impersonated account's.
    let stepped = Stepped::start(Whose::Impersonated, 0).await;
    stepped.has_tokens(2).await;
    assert_eq!(stepped.steps("no step", 0).await, (0, 0));
    assert_eq!(stepped.steps("two hours ahead", TWO_HOURS).await, (2, 2));
    // The tokens are as old as the monotonic clock says.
    assert_eq!(stepped.steps("and back", 0).await, (0, 0));
    assert_eq!(stepped.steps("two hours back", -TWO_HOURS).await, (0, 0));
    assert_eq!(stepped.steps("and ahead", 0).await, (0, 0));
    assert_eq!(stepped.steps("four hours ahead at once", 2 * TWO_HOURS).await, (2, 2));
    let metrics = stepped.admin.metrics().await;
    let refreshes = |labels: &str| metrics.sum("vertex_gateway_token_refreshes_total", labels);
    assert_eq!((refreshes("expired"), refreshes("failed")), (2.0, 0.0));
    let left = metrics.sum("vertex_gateway_token_expires_in_seconds", "");
    assert!((3000.0..=3600.0).contains(&left), "{left}");
}

#[tokio::test]
async fn a_step_costs_a_user_one_token() {
    let stepped = Stepped::start(Whose::User, 0).await;
    stepped.has_tokens(1).await;
    for (what, ahead, tokens) in [
        ("two hours ahead", TWO_HOURS, 1),
        ("four hours back", -TWO_HOURS, 0),
        ("right again", 0, 0),
    ] {
        assert_eq!(stepped.steps(what, ahead).await, (tokens, tokens), "{what}");
    }
}

#[tokio::test]
async fn with_a_wrong_clock_a_key_gets_no_new_token_and_the_previous_one_is_still_used() {
    let stepped = Stepped::start(Whose::Key, 0).await;
    stepped.has_tokens(1).await;
    // An assertion signed by a wrong clock is from the future. The sidecar gets no new token, but
    // the previous one is still valid.
    let (mints, asked) = stepped.steps("two hours ahead", TWO_HOURS).await;
    assert_eq!(mints, 0);
    // After each failure there is a pause, which doubles.
    assert!((1..=8).contains(&asked), "{asked} requests for a token");
    assert!(stepped.log().contains("could not fetch an access token"), "{}", stepped.log());
    // When the clock is right again, no token is fetched.
    stepped.step(0);
    assert_eq!(stepped.steps("and back", 0).await, (0, 0));
    assert_eq!(stepped.steps("two hours back", -TWO_HOURS).await, (0, 0));
    assert_eq!(stepped.steps("and ahead", 0).await, (0, 0));
    // A token that Google revokes is replaced as soon as the pause after the failures is over.
    let mut load = Load::start(&stepped.gateway);
    stepped.vertex.revoke_tokens();
    stepped.has_tokens(2).await;
    load.more("replaced", |status| status == 200).await;
    let seen = load.end().await;
    // Until that pause is over, Vertex AI refuses the revoked token with 401.
    assert!(seen.has_only(&[200, 401]), "{seen:?}");
    assert_eq!(stepped.steps("revoked", 0).await, (0, 0));
    assert_eq!(stepped.vertex.stats().token_mints, 2);
}

#[tokio::test]
async fn a_sidecar_gets_its_first_token_once_the_clock_is_set_right() {
    // This is the state of a machine that starts before it knows the time.
    let stepped = Stepped::start(Whose::Key, -TWO_HOURS).await;
    let refused = Load::start(&stepped.gateway);
    eventually("a refusal", || stepped.log().contains("could not fetch an access token")).await;
    stepped.step(0);
    stepped.has_tokens(1).await;
    let seen = refused.end().await;
    assert!(seen.has_only(&[200, 503]), "{seen:?}");
    assert_eq!(stepped.steps("after", 0).await, (0, 0));
}
