use http::HeaderValue;

use super::*;

const ONE: &str = "sk-one-0123456789";
const TWO: &str = "sk-two-0123456789";

fn keys(entries: &[String]) -> Result<Keys, String> {
    let mut keys = Keys::new().unwrap();
    entries.iter().try_for_each(|entry| keys.add(entry)).map(|()| keys)
}

#[test]
fn the_error_of_an_entry_does_not_contain_its_key() {
    for (entries, why) in [
        (vec![ONE.to_owned()], "give `name:key`"),
        (vec![format!(":{ONE}")], "is not a name"),
        (vec![format!("a b:{ONE}")], "is not a name"),
        (vec![format!("{}:{ONE}", "a".repeat(65))], "is not a name"),
        (vec!["one:0123456789abcde".to_owned()], "shorter than 16"),
        (vec![format!("one:{ONE} {TWO}")], "has a space"),
        (vec![format!("one:{ONE}é")], "has a space"),
        (vec![format!("one:{ONE}"), format!("one:{TWO}")], "has a key already"),
        (vec![format!("one:{ONE}"), format!("two:{ONE}")], "\"one\" and \"two\" have the same"),
    ] {
        let error = keys(&entries).unwrap_err();
        assert!(error.contains(why), "{error}");
        assert!(!error.contains("0123456789"), "{error}");
    }
}

#[test]
fn the_longest_name_and_the_shortest_key_are_accepted() {
    let (name, key) = ("n".repeat(64), "k".repeat(16));
    assert_eq!(keys(&[format!("{name}:{key}")]).unwrap().names().collect::<Vec<_>>(), [name]);
}

#[test]
fn debug_shows_names_and_no_key() {
    let keys = keys(&[format!("one:{ONE}")]).unwrap();
    assert_eq!(format!("{keys:?}"), "Keys { names: [\"one\"], .. }");
    assert_eq!(format!("{:?}", OwnKey::generate().unwrap()), "OwnKey(..)");
}

#[test]
fn each_key_has_its_name_and_other_keys_are_rejected() {
    let keys = keys(&[format!("one:{ONE}"), format!("two : {TWO}")]).unwrap();
    let owner = |values: &[&str]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("authorization", HeaderValue::from_str(value).unwrap());
        }
        let owner = keys.owner(&headers, None, Protocol::OpenAi);
        owner.map(str::to_owned).map_err(|refusal| refusal.to_string())
    };
    assert_eq!(owner(&[&format!("Bearer {ONE}")]).unwrap(), "one");
    assert_eq!(owner(&[&format!("bearer  {TWO} ")]).unwrap(), "two");
    for (values, why) in [
        (vec![], "no API key"),
        (vec![String::new()], "is not `Bearer KEY`"),
        (vec![ONE.to_owned()], "is not `Bearer KEY`"),
        (vec![format!("Basic {ONE}")], "is not `Bearer KEY`"),
        (vec![format!("Bearer{ONE}")], "is not `Bearer KEY`"),
        (vec!["Bearer".to_owned()], "not a key of this gateway"),
        (vec![format!("Bearer {ONE}x")], "not a key of this gateway"),
        (vec![format!("Bearer {}", &ONE[1..])], "not a key of this gateway"),
        (vec![format!("Bearer {}", ONE.to_uppercase())], "not a key of this gateway"),
        (vec![format!("Bearer {ONE}"), format!("Bearer {ONE}")], "more than one"),
    ] {
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        let error = owner(&values).unwrap_err();
        assert!(error.contains(why) && !error.contains("0123456789"), "{values:?}: {error}");
    }
}

#[test]
fn a_key_is_found_in_every_place_and_other_values_beside_it_are_ignored() {
    let keys = keys(&[format!("one:{ONE}"), format!("two:{TWO}")]).unwrap();
    let owner = |values: &[(&'static str, &str)], query: Option<&str>| {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, value.replace("ONE", ONE).replace("TWO", TWO).parse().unwrap());
        }
        let query = query.map(|text| text.replace("ONE", ONE).replace("TWO", TWO));
        let owner = keys.owner(&headers, query.as_deref(), Protocol::OpenAi);
        owner.map(str::to_owned).map_err(|refusal| refusal.to_string())
    };
    const AUTH: &str = "authorization";
    const ANTHROPIC: &str = "x-api-key";
    const GOOGLE: &str = "x-goog-api-key";
    for (values, query, expected) in [
        (&[(ANTHROPIC, "ONE")][..], None, "one"),
        (&[(ANTHROPIC, " TWO ")], None, "two"),
        (&[(GOOGLE, "ONE")], None, "one"),
        (&[], Some("key=ONE"), "one"),
        (&[], Some("alt=sse&key=TWO&x=1"), "two"),
        (&[], Some("key=sk%2Done%2d0123456789"), "one"),
        (&[(AUTH, "Bearer ya29.token"), (ANTHROPIC, "ONE")], None, "one"),
        (&[(AUTH, "Basic dTpw"), (GOOGLE, "ONE")], None, "one"),
        (&[(AUTH, "Bearer ONE"), (ANTHROPIC, "dummy")], Some("key=unknown"), "one"),
        (&[(AUTH, "Bearer ONE"), (ANTHROPIC, "ONE"), (GOOGLE, "ONE")], Some("key=ONE"), "one"),
        (&[(ANTHROPIC, ""), (GOOGLE, "TWO")], Some("key="), "two"),
    ] {
        assert_eq!(owner(values, query).as_deref(), Ok(expected), "{values:?} {query:?}");
    }
    for (values, query, why) in [
        (&[(AUTH, "Bearer ONE"), (ANTHROPIC, "TWO")][..], None, "two clients"),
        (&[(ANTHROPIC, "ONE"), (GOOGLE, "TWO")], None, "two clients"),
        (&[(GOOGLE, "ONE")], Some("key=TWO"), "two clients"),
        (&[(ANTHROPIC, "ONE"), (ANTHROPIC, "ONE")], None, "more than one `x-api-key`"),
        (&[(GOOGLE, "ONE"), (GOOGLE, "x")], None, "more than one `x-goog-api-key`"),
        (&[(AUTH, "Bearer x"), (AUTH, "Bearer y"), (GOOGLE, "ONE")], None, "more than one `Auth"),
        (&[], Some("key=ONE&key=ONE"), "more than one parameter"),
        (&[(AUTH, "Bearer ONE")], Some("key=a&key=b"), "more than one parameter"),
        (&[(ANTHROPIC, "Bearer ONE")], None, "not a key of this gateway"),
        (&[(ANTHROPIC, "")], None, "not a key of this gateway"),
        (&[(ANTHROPIC, "ONE, ONE")], None, "not a key of this gateway"),
        (&[("api-key", "ONE")], None, "no API key"),
        (&[], Some("KEY=ONE"), "no API key"),
        (&[], Some("k%65y=ONE"), "no API key"),
        (&[], Some("x=key=ONE"), "no API key"),
        (&[], Some("x;key=ONE"), "no API key"),
        (&[], Some("keys=ONE&akey=ONE"), "no API key"),
        (&[], Some("key=ONE;x"), "not a key of this gateway"),
        (&[], Some("key=ONE%00"), "not a key of this gateway"),
        (&[(AUTH, "Basic ONE")], Some("alt=sse"), "is not `Bearer KEY`"),
    ] {
        let error = owner(values, query).unwrap_err();
        assert!(error.contains(why) && !error.contains("0123456789"), "{values:?}: {error}");
    }
}

#[test]
fn the_response_without_a_key_names_the_header_of_the_protocol() {
    let keys = keys(&[format!("one:{ONE}")]).unwrap();
    for (protocol, header) in [
        (Protocol::OpenAi, "`Authorization: Bearer KEY`"),
        (Protocol::Gemini, "`x-goog-api-key: KEY`"),
        (Protocol::Anthropic, "`x-api-key: KEY`"),
    ] {
        let refusal = keys.owner(&HeaderMap::new(), None, protocol).unwrap_err();
        assert!(refusal.to_string().contains(header), "{refusal}");
    }
}
