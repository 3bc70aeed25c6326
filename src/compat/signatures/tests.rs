use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn signatures(max_bytes: usize) -> (Signatures, SignatureOwner) {
    let signatures = Signatures::with_bounds(max_bytes, HOUR);
    let owner = signatures.owner("key-1", "project", "google/gemini-3.1-pro-preview");
    (signatures, owner)
}

#[test]
fn a_signature_is_found_by_its_owner_only() {
    let (signatures, owner) = signatures(MAX_BYTES);
    assert_eq!(format!("{owner:?}"), "SignatureOwner");
    signatures.remember(owner, "call", "signature");
    assert_eq!(signatures.find(owner, "call").as_deref(), Some("signature"));
    assert_eq!(signatures.find(owner, "other"), None);
    for (caller, project, model, found) in [
        ("key-1", "project", "google/gemini-3-flash", true),
        ("key-1", "project", "gemini-3.6-flash", true),
        ("key-2", "project", "google/gemini-3.1-pro-preview", false),
        ("key-1", "other", "google/gemini-3.1-pro-preview", false),
        ("key-1", "project", "google/gemini-2.5-pro", false),
    ] {
        let other = signatures.owner(caller, project, model);
        assert_eq!(signatures.find(other, "call").is_some(), found, "{caller} {project} {model}");
    }
}

#[test]
fn empty_ids_and_signatures_are_not_remembered() {
    let (signatures, owner) = signatures(MAX_BYTES);
    signatures.remember(owner, "", "signature");
    signatures.remember(owner, "call", "");
    assert_eq!(signatures.find(owner, ""), None);
    assert_eq!(signatures.stats().entries, 0);
}

#[test]
fn a_family_is_a_name_with_its_major_version() {
    for (model, expected) in [
        ("google/gemini-3.1-pro-preview", "gemini-3"),
        ("gemini-3-flash", "gemini-3"),
        ("google/gemini-3", "gemini-3"),
        ("google/gemini-10.2", "gemini-10"),
        ("google/gemini-flash-latest", "gemini-flash-latest"),
        ("", ""),
    ] {
        assert_eq!(family(model), expected);
    }
}

#[test]
fn a_changed_id_is_found_by_function_and_arguments() {
    let (signatures, owner) = signatures(MAX_BYTES);
    let arguments = r#"{"city":"Boston","days":1.0}"#;
    signatures.remember(owner, "call-1", "one");
    signatures.remember_arguments(owner, "call-1", "weather", arguments);
    signatures.remember_arguments(owner, "call-1", "weather", arguments);
    let find = |function, arguments| signatures.find_by_arguments(owner, function, arguments);
    let rewritten = "{ \"days\": 1, \"city\": \"Boston\" }";
    assert_eq!(find("weather", rewritten).as_deref(), Some("one"));
    assert_eq!(find("time", rewritten), None);
    assert_eq!(find("weather", "{}"), None);
    assert_eq!(find("weather", "not JSON"), None);
    let other = signatures.owner("key-2", "project", "google/gemini-3.1-pro-preview");
    assert_eq!(signatures.find_by_arguments(other, "weather", arguments), None);

    signatures.remember(owner, "call-2", "two");
    signatures.remember_arguments(owner, "call-2", "weather", rewritten);
    assert_eq!(find("weather", arguments), None, "two calls have these arguments");
    assert_eq!(signatures.find(owner, "call-2").as_deref(), Some("two"));
}

#[tokio::test(start_paused = true)]
async fn a_signature_expires_after_its_last_use() {
    let (signatures, owner) = signatures(MAX_BYTES);
    signatures.remember(owner, "used", "1");
    signatures.remember(owner, "unused", "2");
    signatures.remember_arguments(owner, "unused", "f", "{}");
    tokio::time::advance(HOUR / 2).await;
    assert!(signatures.find(owner, "used").is_some());
    tokio::time::advance(HOUR / 2).await;
    assert!(signatures.find(owner, "used").is_some());
    assert!(signatures.find(owner, "unused").is_none());
    assert!(signatures.find_by_arguments(owner, "f", "{}").is_none());
    let SignatureStats { entries, expired, evicted, remembered, found, missed, .. } =
        signatures.stats();
    assert_eq!((entries, expired, evicted, remembered, found, missed), (1, 1, 0, 2, 2, 2));
}

#[test]
fn the_least_recently_used_signatures_are_evicted() {
    let (signatures, owner) = signatures(100_000);
    let long = "s".repeat(1000);
    for number in 0..200 {
        signatures.remember(owner, &number.to_string(), &long);
        signatures.remember_arguments(owner, &number.to_string(), "f", &number.to_string());
        assert!(signatures.find(owner, "0").is_some(), "the first one is used all the time");
    }
    let stats = signatures.stats();
    assert!(stats.bytes <= 100_000 && stats.bytes > 90_000, "{stats:?}");
    assert_eq!(stats.entries as u64 + stats.evicted, stats.remembered);
    assert!(signatures.find(owner, "199").is_some());
    assert!(signatures.find(owner, "100").is_none());
    assert!(signatures.find_by_arguments(owner, "f", "100").is_none());
    let store = signatures.store();
    assert!(store.has_consistent_sizes(), "void uses and aliases are removed");
}

#[test]
fn ten_thousand_conversations_at_once_stay_within_the_bound() {
    let signatures = Signatures::new();
    let barrier = Arc::new(std::sync::Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (signatures, barrier) = (signatures.clone(), Arc::clone(&barrier));
            std::thread::spawn(move || {
                let signature = "s".repeat(4 << 10);
                let owner = |conversation: usize| {
                    let caller = format!("key-{conversation}");
                    signatures.owner(&caller, "project", "google/gemini-3-pro")
                };
                for step in 0..4 {
                    let id = |conversation| format!("function-call-{conversation}-{step}");
                    for conversation in (thread..10_000).step_by(8) {
                        let (owner, id) = (owner(conversation), id(conversation));
                        signatures.remember(owner, &id, &signature);
                        signatures.remember_arguments(owner, &id, "f", &format!("[{step}]"));
                        assert!(signatures.stats().bytes <= MAX_BYTES);
                    }
                    // All conversations have their call before one of them continues.
                    barrier.wait();
                    for conversation in (thread..10_000).step_by(8) {
                        let found = signatures.find(owner(conversation), &id(conversation));
                        assert!(found.is_some());
                    }
                    barrier.wait();
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    let stats = signatures.stats();
    assert_eq!((stats.remembered, stats.found, stats.missed), (40_000, 40_000, 0));
    assert!(stats.entries >= 10_000, "each conversation has its last step: {stats:?}");
}

#[test]
fn a_signature_that_would_take_an_eighth_of_the_memory_is_not_kept() {
    let (signatures, owner) = signatures(8000);
    signatures.remember(owner, "call", &"s".repeat(1000));
    signatures.remember(owner, "other", &"s".repeat(500));
    assert_eq!(signatures.stats().entries, 1);
    let (none, owner) = self::signatures(0);
    none.remember(owner, "call", "s");
    assert_eq!(none.stats().entries, 0);
}

#[test]
fn eight_signatures_of_an_eighth_fill_the_memory() {
    // A signature takes some 384 bytes more than its own length.
    let (signatures, owner) = signatures(8 * 400);
    signatures.remember(owner, "too long", &"s".repeat(17));
    assert_eq!(signatures.stats().entries, 0);
    for call in 0..8 {
        signatures.remember(owner, &call.to_string(), &"s".repeat(16));
    }
    let SignatureStats { entries, bytes, evicted, .. } = signatures.stats();
    assert_eq!((entries, bytes, evicted), (8, 8 * 400, 0));
    signatures.remember(owner, "8", &"s".repeat(16));
    assert_eq!((signatures.stats().entries, signatures.stats().evicted), (8, 1));
}

#[tokio::test(start_paused = true)]
async fn a_signature_is_kept_for_a_day_by_default() {
    let signatures = Signatures::new();
    let owner = signatures.owner("key-1", "project", "google/gemini-3-pro");
    for (wait, found) in [(24 * HOUR - Duration::from_millis(1), true), (24 * HOUR, false)] {
        signatures.remember(owner, "call", "signature");
        tokio::time::advance(wait).await;
        assert_eq!(signatures.find(owner, "call").is_some(), found, "{wait:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn uses_take_no_more_memory_than_entries_do() {
    for others in [0, 100] {
        let (signatures, owner) = signatures(MAX_BYTES);
        let find = |times: usize| {
            for _ in 0..times {
                assert!(signatures.find(owner, "one").is_some());
                assert!(signatures.store().has_consistent_sizes());
            }
        };
        signatures.remember(owner, "one", "1");
        for call in 0..others {
            signatures.remember(owner, &call.to_string(), "1");
        }
        tokio::time::advance(HOUR / 2).await;
        signatures.remember(owner, "two", "2");
        find(150);
        // The others expire, and many uses stay behind that of `two`.
        tokio::time::advance(HOUR / 2).await;
        find(150);
        assert_eq!(signatures.stats().entries, 2);
    }
}

#[test]
fn another_signature_of_the_same_call_replaces_the_first() {
    let (signatures, owner) = signatures(MAX_BYTES);
    signatures.remember(owner, "call", "first");
    signatures.remember(owner, "call", "second one");
    assert_eq!(signatures.find(owner, "call").as_deref(), Some("second one"));
    let bytes = signatures.stats().bytes;
    signatures.remember(owner, "call", "second one");
    assert_eq!((signatures.stats().entries, signatures.stats().bytes), (1, bytes));
}

#[test]
fn debug_shows_no_content() {
    let (signatures, owner) = signatures(MAX_BYTES);
    signatures.remember(owner, "secret-id", "secret-signature");
    let shown = format!("{signatures:?} {owner:?}");
    assert!(!shown.contains("secret") && shown.contains("entries: 1"), "{shown}");
}
