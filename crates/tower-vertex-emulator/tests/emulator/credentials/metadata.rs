//! The metadata server, as Google's libraries call it.

use super::*;

const V1: &str = "/computeMetadata/v1";

#[tokio::test]
async fn the_metadata_server_returns_its_account_and_universe() {
    let bench = Bench::new().await;
    let of = |account: &str, what: &str| format!("{V1}/instance/service-accounts/{account}/{what}");
    for (path, body) in [
        ("/computeMetadata/v1/universe/universe-domain", "googleapis.com"),
        (&of("default", "email"), MACHINE),
        (&of(MACHINE, "email"), MACHINE),
        (&of("default", "scopes"), &format!("{SCOPE}\n")),
        ("/computeMetadata/v1/instance/zone", "projects/123456789012/zones/us-central1-a"),
        ("/computeMetadata/v1/project/numeric-project-id", "123456789012"),
    ] {
        let answer = bench.metadata(path).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, body), "{path}");
        assert_eq!(answer.headers["content-type"], "application/text");
        assert_eq!(bench.get(path).await.status, StatusCode::FORBIDDEN);
    }
    for path in [
        of("default", "token"),
        of(MACHINE, "token"),
        of(&MACHINE.replace('@', "%40"), &format!("token?scopes={SCOPE},email")),
    ] {
        let token = bench.metadata(&path).await.access_token();
        assert_eq!(bench.principal(&token).await, MACHINE);
    }
    assert_eq!(bench.metadata(&of(ACCOUNT, "token")).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_probes_of_googles_libraries_find_the_server() {
    let bench = Bench::new().await;
    // google-auth for Python, and `curl metadata.google.internal -i` of the manual.
    for answer in [bench.metadata("/").await, bench.get("/").await] {
        assert_eq!(answer.status, StatusCode::OK);
        assert_eq!(answer.headers["metadata-flavor"], "Google");
        assert_eq!(answer.headers["server"], "Metadata Server for VM");
    }
    // google-auth-library for Node.js.
    let answer = bench.metadata("/computeMetadata/v1/instance").await;
    assert_eq!(answer.status, StatusCode::MOVED_PERMANENTLY);
    assert_eq!(answer.headers["metadata-flavor"], "Google");
    assert_eq!(answer.headers["location"], "/computeMetadata/v1/instance/");
    let request = Request::get(bench.url("/computeMetadata/v1/instance/"))
        .header("metadata-flavor", "Google")
        .header("x-forwarded-for", "192.0.2.1");
    let answer = bench.send(request, String::new()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(answer.headers["metadata-flavor"], "Google");
}

#[tokio::test]
async fn a_folder_is_a_list_or_with_recursive_an_object() {
    let bench = Bench::new().await;
    for (folder, list) in [
        ("", "instance/\nproject/\nuniverse/\n"),
        ("instance/", "attributes/\nhostname\nid\nmachine-type\nname\nservice-accounts/\nzone\n"),
        ("instance/attributes/", ""),
        (
            "instance/service-accounts/",
            "123456789012-compute@developer.gserviceaccount.com/\ndefault/\n",
        ),
        ("instance/service-accounts/default/", "aliases\nemail\nidentity\nscopes\ntoken\n"),
        ("project/", "attributes/\nnumeric-project-id\nproject-id\n"),
    ] {
        let answer = bench.metadata(&format!("{V1}/{folder}")).await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, list), "{folder}");
    }
    let account = json!({ "aliases": ["default"], "email": MACHINE, "scopes": [SCOPE] });
    let path = format!("{V1}/instance/service-accounts/default/?recursive=true");
    assert_eq!(bench.metadata(&path).await.json(), account);
    let project = json!({
        "attributes": {}, "numericProjectId": 123_456_789_012_u64, "projectId": "emulator-project",
    });
    assert_eq!(bench.metadata(&format!("{V1}/project/?recursive=true")).await.json(), project);
    let all = bench.metadata(&format!("{V1}/?recursive=true")).await.json();
    assert_eq!(all["instance"]["serviceAccounts"][MACHINE], account);
    assert_eq!(all["universe"], json!({ "universeDomain": "googleapis.com" }));
    for path in ["other", "instance/other", "instance/zone/", "instance/attributes/x"] {
        let answer = bench.metadata(&format!("{V1}/{path}")).await;
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
    }
}

#[tokio::test]
async fn too_many_requests_are_refused_in_plain_text() {
    let bench = Bench::new().await;
    let fail = Some(TokenFault { status: 429, times: Some(1) });
    bench.behave(TokenBehavior { fail, ..TokenBehavior::default() });
    let answer = bench.metadata(METADATA_TOKEN).await;
    assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(answer.headers["content-type"], "text/plain; charset=utf-8");
    assert_eq!(answer.headers["metadata-flavor"], "Google");
    bench.metadata(METADATA_TOKEN).await.access_token();
}
