use proptest::prelude::*;

use super::*;

fn object(text: &str) -> Object<'_> {
    let object = Value::parse(text).unwrap().object().unwrap();
    // One pass finds the same.
    let at_once = Object::parse(text).unwrap();
    let positions = |object: &Object<'_>| {
        let members = object.members.iter();
        let spans = members.map(|member| (member.name.span(), member.value.span()));
        (object.open, spans.collect::<Vec<_>>())
    };
    assert_eq!(positions(&at_once), positions(&object));
    object
}

#[test]
fn a_text_that_is_no_object_has_no_members() {
    for text in ["[]", "1", "\"{}\"", "null", " [{}] "] {
        assert!(Value::parse(text).is_some(), "{text}");
        assert!(Object::parse(text).is_none(), "{text}");
    }
}

/// The text after an edit of its object.
fn edited(text: &str, edit: impl FnOnce(&mut Edits, &Object<'_>)) -> String {
    let mut edits = Edits::default();
    edit(&mut edits, &object(text));
    edits.apply(text)
}

#[test]
fn members_have_their_keys_and_positions() {
    let text = r#" { "a" : [1, {"b":2}] ,"c\u0064":"x\n\"", "e":null}"#;
    let object = object(text);
    let keys: Vec<_> = object.members.iter().map(|member| &*member.key).collect();
    assert_eq!(keys, ["a", "cd", "e"]);
    for member in &object.members {
        assert_eq!(&text[member.value.span()], member.value.text());
    }
    let array = object.get("a").unwrap().array().unwrap();
    let inner = array.elements[1].get("b").unwrap();
    assert_eq!((&text[inner.span()], inner.number()), ("2", Some(2)));
    assert_eq!(object.get("cd").unwrap().string().unwrap(), "x\n\"");
    assert!(object.get("e").unwrap().is_null());
    assert!(object.get_some("e").is_none());
}

#[test]
fn a_text_that_is_not_json_has_no_value() {
    for text in ["", "{", r#"{"a":1,}"#, "{} {}", "{'a':1}", r#"{"a":"\x"}"#, "nul", "[1 2]", ": x"]
    {
        assert!(Value::parse(text).is_none(), "{text:?}");
        assert!(Object::parse(text).is_none(), "{text:?}");
    }
    assert!(Value::parse_bytes(b"\"\xff\"").is_none());
}

#[test]
fn an_object_with_a_key_twice_has_no_members() {
    let many: String = (0..40).map(|n| format!("\"k{n}\":{n},")).collect();
    for text in [
        r#"{"a":1,"a":2}"#.to_owned(),
        r#"{"a":1,"\u0061":2}"#.to_owned(),
        format!(r#"{{{many}"k7":1}}"#),
    ] {
        assert!(Value::parse(&text).unwrap().object().is_none(), "{text}");
        assert!(Object::parse(&text).is_none(), "{text}");
    }
    assert_eq!(object(&format!(r#"{{{many}"k":1}}"#)).members.len(), 41);
    // Duplicates at another level do not matter.
    assert!(object(r#"{"a":{"b":1,"b":1}}"#).get("a").unwrap().object().is_none());
}

#[test]
fn a_level_may_have_65_536_members_or_elements() {
    for (length, is_read) in [(1 << 16, true), ((1 << 16) + 1, false)] {
        let members: Vec<_> = (0..length).map(|n| format!("\"k{n}\":0")).collect();
        let text = format!("{{{}}}", members.join(","));
        assert_eq!(Object::parse(&text).is_some(), is_read, "{length} members");
        let text = format!("[{}]", vec!["0"; length].join(","));
        let array = Value::parse(&text).unwrap().array();
        assert_eq!(array.is_some(), is_read, "{length} elements");
    }
}

#[test]
fn a_member_that_is_set_to_its_value_is_no_change() {
    let text = r#"{"a":[1]}"#;
    let mut edits = Edits::default();
    edits.set(&object(text), "a", "[1]");
    assert!(edits.is_empty());
    edits.set(&object(text), "a", "[2]");
    assert!(!edits.is_empty());
}

#[test]
fn a_deep_text_is_read_without_recursion() {
    let deep = format!("{}1{}", "[".repeat(200_000), "]".repeat(200_000));
    let text = format!(r#"{{"a":{deep},"b":2}}"#);
    assert_eq!(object(&text).get("b").unwrap().number(), Some(2));
}

#[test]
fn removed_members_take_their_commas_with_them() {
    let text = r#"{ "a":1, "b":2 , "c":3 }"#;
    for (keys, expected) in [
        (&["a"][..], r#"{ "b":2 , "c":3 }"#),
        (&["b"], r#"{ "a":1 , "c":3 }"#),
        (&["c"], r#"{ "a":1, "b":2 }"#),
        (&["a", "b"], r#"{ "c":3 }"#),
        (&["b", "c"], r#"{ "a":1 }"#),
        (&["a", "c"], r#"{ "b":2 }"#),
        (&["a", "b", "c"], "{  }"),
        (&["x"], text),
    ] {
        let result = edited(text, |edits, object| {
            keys.iter().for_each(|key| edits.remove(object, key));
        });
        assert_eq!(result, expected, "{keys:?}");
    }
}

#[test]
fn inserted_members_get_the_commas_that_they_need() {
    for (text, removed, expected) in [
        ("{}", &[][..], r#"{"f":0,"l":9}"#),
        (r#"{ "a":1 }"#, &[], r#"{"f":0, "a":1,"l":9 }"#),
        (r#"{"a":1}"#, &["a"], r#"{"f":0,"l":9}"#),
        (r#"{"a":1,"b":2}"#, &["a"], r#"{"f":0,"b":2,"l":9}"#),
        (r#"{"a":1,"b":2}"#, &["b"], r#"{"f":0,"a":1,"l":9}"#),
    ] {
        let result = edited(text, |edits, object| {
            removed.iter().for_each(|key| edits.remove(object, key));
            edits.insert_last(object, "l", "9");
            edits.insert_first(object, "f", "0");
        });
        assert_eq!(result, expected, "{text}");
    }
}

#[test]
fn values_are_replaced_and_keys_renamed_where_they_stand() {
    let text = r#"{"a\n" :1,"b":[true,2]}"#;
    let result = edited(text, |edits, object| {
        edits.set(object, "b", "[true,2]");
        edits.replace(object.get("b").unwrap().array().unwrap().elements[1], "3");
        edits.rename(&object.members[0], "c\"");
        edits.set(object, "d", "{}");
    });
    assert_eq!(result, r#"{"c\"" :1,"b":[true,3],"d":{}}"#);
}

#[test]
fn a_change_within_a_removed_or_replaced_value_is_ignored() {
    let text = r#"{"a":{"b":1},"c":{"d":2}}"#;
    let result = edited(text, |edits, object| {
        edits.insert_last(&object.get("a").unwrap().object().unwrap(), "x", "1");
        edits.remove(object, "a");
        edits.remove(&object.get("c").unwrap().object().unwrap(), "d");
        edits.replace(object.get("c").unwrap(), "null");
    });
    assert_eq!(result, r#"{"c":null}"#);
}

#[test]
fn elements_are_removed_and_inserted() {
    let text = "[1, 2 ,3]";
    let array = Value::parse(text).unwrap().array().unwrap();
    let mut edits = Edits::default();
    edits.remove_element(&array, 0);
    edits.remove_element(&array, 2);
    edits.insert_first_element(&array, "0");
    assert_eq!(edits.apply(text), "[0,2]");
}

#[test]
fn no_change_leaves_the_text() {
    let edits = Edits::default();
    assert!(edits.is_empty());
    assert_eq!(edits.apply("[ 1 ]"), "[ 1 ]");
}

#[test]
fn debug_shows_no_content() {
    let text = r#"{"secret":"hidden"}"#;
    let mut edits = Edits::default();
    edits.replace(object(text).get("secret").unwrap(), quote("other"));
    let shown = format!("{:?} {edits:?}", Value::parse(text).unwrap());
    assert_eq!(shown, "Value(0..19) Edits(1)");
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        ".{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(3, 24, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Into::into),
            proptest::collection::btree_map("[a-e]", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn edits_do_to_the_text_as_to_the_tree(
        value in json(),
        spaces in any::<bool>(),
        removed in proptest::collection::vec("[a-e]", 0..4),
        set in proptest::collection::btree_map("[a-h]", any::<u8>(), 0..4),
    ) {
        let root = serde_json::json!({"a": value.clone(), "b": 1, "c": [value]});
        let text =
            if spaces { serde_json::to_string_pretty(&root).unwrap() } else { root.to_string() };
        let mut expected = root;
        let result = edited(&text, |edits, object| {
            for key in &removed {
                edits.remove(object, key);
                expected.as_object_mut().unwrap().remove(key);
            }
            for (key, number) in set.iter().filter(|(key, _)| !removed.contains(key)) {
                edits.set(object, key, &number.to_string());
                expected[key] = (*number).into();
            }
        });
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&result).unwrap(), expected);
    }

    #[test]
    fn every_level_of_a_text_is_found(value in json()) {
        let text = value.to_string();
        check(Value::parse(&text).unwrap(), &value, &text);
    }
}

fn check(found: Value<'_>, expected: &serde_json::Value, whole: &str) {
    assert_eq!(&whole[found.span()], found.text());
    match expected {
        serde_json::Value::Object(map) => {
            let object = found.object().unwrap();
            assert_eq!(object.members.len(), map.len());
            map.iter().for_each(|(key, value)| check(object.get(key).unwrap(), value, whole));
        }
        serde_json::Value::Array(list) => {
            let array = found.array().unwrap();
            assert_eq!(array.elements.len(), list.len());
            array.elements.iter().zip(list).for_each(|(found, value)| check(*found, value, whole));
        }
        serde_json::Value::String(string) => assert_eq!(found.string().unwrap(), *string),
        other => assert_eq!(found.text(), other.to_string()),
    }
}
