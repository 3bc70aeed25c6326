use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::compat::{Signatures, signatures::SignatureOwner};

const MODEL: &str = "google/gemini-3.1-pro-preview";

fn owner(signatures: &Signatures) -> SignatureOwner {
    signatures.owner("caller", "project", MODEL)
}

/// The signature of the call `one`, and that of a call whose id clients change.
fn signatures() -> Signatures {
    let signatures = Signatures::new();
    let owner = owner(&signatures);
    signatures.remember(owner, "one", "SIGNATURE");
    signatures.remember(owner, "other", "BY-ARGUMENTS");
    signatures.remember_arguments(owner, "other", "f", r#"{"city":"Rome"}"#);
    signatures
}

fn triggers(body: &str) -> Triggers {
    let mut data = crate::replay::Coalesced::default();
    data.push_whole(Bytes::copy_from_slice(body.as_bytes()));
    data.seal();
    Triggers::of(&Texts::of(&data))
}

/// Applies the cures as the layer does. `None` if the body stays as it is.
fn cured_with(body: &str, cures: Cures, model: &str) -> Option<(String, Cures, Found)> {
    let triggers = triggers(body);
    if !triggers.any(cures) {
        return None;
    }
    let (signatures, mut found) = (signatures(), Found::default());
    let remembered = Remembered { signatures: &signatures, owner: owner(&signatures) };
    let cured = cure(body.as_bytes(), triggers, cures, model, remembered, &mut found)?;
    Some((String::from_utf8(cured.body.to_vec()).unwrap(), cured.applied, found))
}

fn cured(body: &str, cure: Cure) -> Option<String> {
    cured_with(body, Cures::none().with(cure, true), MODEL).map(|(body, applied, _)| {
        assert_eq!(applied.iter().collect::<Vec<_>>(), [cure]);
        body
    })
}

/// Checks the body after a cure; `None` if it stays as it is.
fn check(cure: Cure, cases: &[(&str, Option<&str>)]) {
    for (body, after) in cases {
        let body = body.replace('\'', "\"");
        let after = after.map(|after| after.replace('\'', "\""));
        assert_eq!(cured(&body, cure), after, "{body}");
        if let Some(after) = after {
            assert_eq!(cured(&after, cure), None, "a second time: {after}");
        }
    }
}

#[test]
fn the_role_developer_becomes_system() {
    check(
        Cure::DeveloperRole,
        &[
            (
                "{'messages': [ {'role' : 'developer', 'content':'developer'}, {'role':'user'} ], 'n':1.0}",
                Some(
                    "{'messages': [ {'role' : 'system', 'content':'developer'}, {'role':'user'} ], 'n':1.0}",
                ),
            ),
            ("{'messages':[{'role':'user','name':'developer'}],'user':'developer'}", None),
            ("{'messages':[{'role':'developer','role':'user'}]}", None),
            ("{'messages':{'role':'developer'}}", None),
            ("{'messages':[{'role':'developer'}]", None),
        ],
    );
}

#[test]
fn system_messages_are_joined_in_the_first_one() {
    check(
        Cure::MergeSystemMessages,
        &[
            (
                "{'messages':[{'role':'system','content':'one\\n'}, {'role':'user','content':'hi'}, {'role':'system','content':'two'}]}",
                Some(
                    "{'messages':[{'role':'system','content':'one\\n\\n\\ntwo'}, {'role':'user','content':'hi'}]}",
                ),
            ),
            (
                "{'messages':[{'role':'system','content':[{'type':'text','text':'a'},{'type':'text','text':'b'}]},{'role':'system','content':''},{'role':'system','content':'c'}]}",
                Some("{'messages':[{'role':'system','content':'a\\nb\\n\\nc'}]}"),
            ),
            (
                "{'messages':[{'role':'system','content':'a'},{'role':'user','content':'system','name':'system'}]}",
                None,
            ),
            (
                "{'messages':[{'role':'system','content':'a'},{'role':'developer','content':'b'}]}",
                None,
            ),
            ("{'messages':[{'role':'system','content':'a'},{'role':'system'}]}", None),
            (
                "{'messages':[{'role':'system','content':'a'},{'role':'system','content':[{'type':'image_url'}]}]}",
                None,
            ),
            (
                "{'messages':[{'role':'system','content':'a'},{'role':'system','content':[{'type':'x','text':'b'}]}]}",
                None,
            ),
        ],
    );
    let body =
        r#"{"messages":[{"role":"developer","content":"a"},{"role":"system","content":"b"}]}"#;
    let (after, applied, _) = cured_with(body, Cures::default(), MODEL).unwrap();
    assert_eq!(after, r#"{"messages":[{"role":"system","content":"a\n\nb"}]}"#);
    let both = Cures::none().developer_role(true).merge_system_messages(true);
    assert_eq!(applied, both);
}

#[test]
fn geminis_parameters_move_to_the_place_where_they_are_read() {
    check(
        Cure::ExtraBody,
        &[
            (
                "{'google':{'thinking_config':{'a':1.0}}, 'model':'m'}",
                Some("{'model':'m','extra_body':{'google':{'thinking_config':{'a':1.0}}}}"),
            ),
            (
                "{'extra_body':{'extra_body':{'google':{'a':1}}},'n':1}",
                Some("{'extra_body':{'google':{'a':1}},'n':1}"),
            ),
            (
                "{'extra_body':{'x':1,'extra_body':{'google':{'a':1},'y':2}}}",
                Some("{'extra_body':{'x':1,'extra_body':{'y':2},'google':{'a':1}}}"),
            ),
            (
                "{'extra_body':{'google':{'a':1},'extra_body':{'google':{'a':2,'b':2}}},'google':{'b':3,'c':3}}",
                Some("{'extra_body':{'google':{'a':1,'b':2,'c':3}}}"),
            ),
            ("{'extra_body':null,'google':{'a':1}}", Some("{'extra_body':{'google':{'a':1}}}")),
            ("{'extra_body':{'google':{'a':1}}}", None),
            ("{'extra_body':'text','google':{'a':1}}", None),
            ("{'extra_body':{'google':[]},'google':{'a':1}}", None),
            ("{'google':true}", None),
            ("{'google':{'a':1},'google':{'a':2}}", None),
            ("{'messages':[{'role':'user','name':'google'}]}", None),
        ],
    );
}

#[test]
fn an_effort_beside_a_thinking_config_is_left_out() {
    check(
        Cure::EffortConflict,
        &[
            (
                "{'reasoning_effort':'low','extra_body':{'google':{'thinking_config':{}}}}",
                Some("{'extra_body':{'google':{'thinking_config':{}}}}"),
            ),
            ("{'reasoning_effort':'low','extra_body':{'google':{'thinking_config':null}}}", None),
            ("{'reasoning_effort':'low','google':{'thinking_config':{}}}", None),
            ("{'reasoning_effort':null,'extra_body':{'google':{'thinking_config':{}}}}", None),
        ],
    );
    let body = r#"{"reasoning_effort":"low","google":{"thinking_config":{}}}"#;
    let (after, ..) = cured_with(body, Cures::default(), MODEL).unwrap();
    assert_eq!(after, r#"{"extra_body":{"google":{"thinking_config":{}}}}"#);
}

#[test]
fn an_effort_that_is_not_listed_becomes_the_nearest_one() {
    let cures = Cures::none().remap_effort(true);
    for (model, effort, after) in [
        (MODEL, "none", Some("low")),
        ("google/gemini-2.5-pro", "none", Some("low")),
        ("google/gemini-2.5-flash", "none", None),
        ("google/gemini-2.5-flash", "minimal", Some("low")),
        ("google/gemini-2.5-flash", "xhigh", Some("high")),
        (MODEL, "medium", None),
    ] {
        let body = json!({ "reasoning_effort": effort }).to_string();
        let after = after.map(|after| json!({ "reasoning_effort": after }).to_string());
        let cured = cured_with(&body, cures, model).map(|(body, ..)| body);
        assert_eq!(cured, after, "{model} {effort}");
    }
}

#[test]
fn an_effort_that_is_left_out_is_not_replaced_and_another_stays_without_the_cure() {
    let both = r#"{"reasoning_effort":"minimal","extra_body":{"google":{"thinking_config":{}}}}"#;
    let cures = Cures::none().effort_conflict(true);
    let (after, applied, _) = cured_with(both, cures.remap_effort(true), MODEL).unwrap();
    assert_eq!(after, r#"{"extra_body":{"google":{"thinking_config":{}}}}"#);
    assert_eq!(applied, cures);
    let body = r#"{"reasoning_effort":"minimal","messages":[{"role":"developer"}]}"#;
    let (after, ..) = cured_with(body, Cures::default(), MODEL).unwrap();
    assert_eq!(after, body.replace("developer", "system"));
}

#[test]
fn a_choice_of_the_only_tool_becomes_required() {
    let tool = |name: &str| format!("{{'type':'function','function':{{'name':'{name}'}}}}");
    let body = |choice: &str, tools: &[&str]| {
        let tools: Vec<_> = tools.iter().map(|name| tool(name)).collect();
        format!("{{'tools':[{}],'tool_choice':{choice}}}", tools.join(","))
    };
    let choice = tool("f");
    check(
        Cure::ToolChoice,
        &[
            (&body(&choice, &["f"]), Some(&body("'required'", &["f"]))),
            (&body(&choice, &["f", "g"]), None),
            (&body(&choice, &["g"]), None),
            (&body(&choice, &[]), None),
            (&body("{'type':'allowed_tools'}", &["f"]), None),
            (&body("'auto'", &["f"]), None),
        ],
    );
}

#[test]
fn empty_texts_are_left_out_if_another_part_remains() {
    check(
        Cure::EmptyParts,
        &[
            (
                "{'messages':[{'role':'user','content':[{'type':'text','text':''}, {'type':'image_url'},{'type':'text','text':''}]}]}",
                Some("{'messages':[{'role':'user','content':[{'type':'image_url'}]}]}"),
            ),
            ("{'messages':[{'role':'user','content':[{'type':'text','text':''}]}]}", None),
            (
                "{'messages':[{'role':'user','content':[{'type':'x','text':''},{'type':'text','text':'y'}]}]}",
                None,
            ),
            ("{'messages':[{'role':'user','content':''},{'role':'user','content':[]}]}", None),
        ],
    );
}

#[test]
fn a_limit_that_is_not_positive_is_left_out() {
    check(
        Cure::MaxTokens,
        &[
            ("{'max_tokens':-1,'n':1}", Some("{'n':1}")),
            ("{'n':1,'max_completion_tokens' : 0}", Some("{'n':1}")),
            ("{'max_tokens':-1,'max_completion_tokens':0.0}", Some("{}")),
            ("{'max_tokens':1}", None),
            ("{'max_tokens':0.5}", None),
            ("{'max_tokens':null}", None),
            ("{'messages':[{'max_tokens':-1}]}", None),
        ],
    );
}

fn call(id: &str, more: &str) -> String {
    format!("{{{more}'id':'{id}','type':'function','function':{{'name':'f','arguments':'{{}}'}}}}")
}

fn steps(calls: &[String]) -> String {
    let steps = calls.iter().map(|calls| {
        format!("{{'role':'assistant','tool_calls':[{calls}]}},{{'role':'tool','content':'x'}}")
    });
    let steps = steps.collect::<Vec<_>>().join(",");
    format!("{{'messages':[{{'role':'user','content':'hi'}},{steps}]}}")
}

const SIGNED: &str = "'extra_content':{'google':{'thought_signature':'SIGNATURE'}},";

#[test]
fn a_signature_returns_to_the_call_that_it_came_with() {
    let rome = call("changed", "").replace("{}", "{ \\'city\\':\\'Rome\\'}").replace("\\'", "\\\"");
    let by_arguments = "'extra_content':{'google':{'thought_signature':'BY-ARGUMENTS'}},";
    let rome_signed = rome.replacen('{', &format!("{{{by_arguments}"), 1);
    let two = |one: &str| format!("{one},{}", call("two", ""));
    check(
        Cure::Signatures,
        &[
            (
                &steps(&[two(&call("one", "")), call("two", ""), rome]),
                Some(&steps(&[two(&call("one", SIGNED)), call("two", ""), rome_signed])),
            ),
            (&steps(&[call("two", ""), call("", "")]), None),
            // A signature that is present is kept, whatever it is.
            (
                &steps(&[call("one", "'extra_content':{'google':{'thought_signature':'OTHER'}},")]),
                None,
            ),
            (
                &steps(&[call("one", "'extra_content':null,")]),
                Some(&steps(&[call(
                    "one",
                    "'extra_content':{'google':{'thought_signature':'SIGNATURE'}},",
                )])),
            ),
            (
                &steps(&[call("one", "'extra_content':{'google':{'x':1},'y':2},")]),
                Some(&steps(&[call(
                    "one",
                    "'extra_content':{'google':{'x':1,'thought_signature':'SIGNATURE'},'y':2},",
                )])),
            ),
            (&steps(&[call("one", "'extra_content':'text',")]), None),
            (
                &steps(&[call("one", &SIGNED.replace("'SIGNATURE'", "null"))]),
                Some(&steps(&[call("one", SIGNED)])),
            ),
            (
                &steps(&[call("one", &SIGNED.replace("SIGNATURE", ""))]),
                Some(&steps(&[call("one", SIGNED)])),
            ),
        ],
    );
}

#[test]
fn calls_of_the_current_turn_without_a_known_signature_are_counted() {
    let body = steps(&[call("one", ""), call("two", "") + "," + &call("three", "")]);
    let (_, _, found) = cured_with(&body.replace('\'', "\""), Cures::default(), MODEL).unwrap();
    assert_eq!(found, Found { restored: 1, missing: 1 });
}

fn refused(body: &str, error: &str, cures: Cures) -> Option<(String, Cures, u64)> {
    let body = body.replace('\'', "\"");
    let (cured, placed) = cure_refused(body.as_bytes(), error.as_bytes(), cures)?;
    let body = String::from_utf8(cured.body.to_vec()).unwrap();
    Some((body.replace('"', "'"), cured.applied, placed))
}

const MISSING: &str = r#"{"error":{"message":"Unable to submit request because function call `default_api:f` in the 2. content block is missing a `thought_signature`. Learn more: …"}}"#;

#[test]
fn the_placeholder_is_put_on_the_first_call_of_each_step_of_the_current_turn() {
    let placeholder =
        "'extra_content':{'google':{'thought_signature':'skip_thought_signature_validator'}},";
    let old = steps(&[call("a", "")]);
    let new = |first: &str| {
        let two = call("b", first) + "," + &call("c", "");
        let steps = steps(&[call("one", SIGNED), two, call("d", first)]);
        let open = old.strip_suffix("]}").unwrap();
        open.to_owned() + "," + steps.strip_prefix("{'messages':[").unwrap()
    };
    let (before, after) = (new(""), new(placeholder));
    let (cured, applied, placed) = refused(&before, MISSING, Cures::default()).unwrap();
    assert_eq!((cured, placed), (after.clone(), 2));
    assert_eq!(applied, Cures::none().placeholder_signature(true));
    assert_eq!(refused(&after, MISSING, Cures::default()), None, "nothing is missing");
    let without = Cures::default().placeholder_signature(false);
    assert_eq!(refused(&before, MISSING, without), None);
    let text = |body: &str| body.replace("'role':'assistant'", "'role':'assistant','content':'x'");
    let (cured, applied, _) = refused(&text(&before), MISSING, Cures::default()).unwrap();
    assert_eq!(cured, text(&after), "the text beside the calls stays");
    assert_eq!(applied, Cures::none().placeholder_signature(true));
    let other = r#"{"error":{"message":"Request contains an invalid argument."}}"#;
    assert_eq!(refused(&before, other, Cures::default()), None);
}

#[test]
fn text_beside_tool_calls_is_left_out_only_after_the_bare_refusal() {
    let cures = Cures::none().blank_content(true);
    let content = |content: &str| {
        steps(&[call("a", "")])
            .replace("'role':'assistant'", &format!("'role':'assistant'{content}"))
    };
    let bare = r#"[{"error":{"code":400,"message":"Request contains an invalid argument."}}]"#;
    let (body, applied, _) = refused(&content(",'content':'I look.'"), bare, cures).unwrap();
    assert_eq!((body, applied), (content(",'content':''"), cures));
    // Only the last turn is checked, and only steps that call tools.
    let old = content(",'content':'I look.'");
    let new = "{'role':'user'},{'role':'assistant','tool_calls':[],'content':'x'}]}";
    let turns = old.strip_suffix("]}").unwrap().to_owned() + "," + new;
    for (body, error) in [
        (turns, bare),
        (content(",'content':'I look.'"), MISSING),
        (content(",'content':''"), bare),
        (content(",'content':null"), bare),
        (content(""), bare),
    ] {
        assert_eq!(refused(&body, error, cures), None, "{body}");
    }
}

#[test]
fn the_generation_of_a_model_is_its_major_version() {
    for (model, major) in [
        (MODEL, Some(3)),
        ("gemini-2.5-flash", Some(2)),
        ("google/gemini-10", Some(10)),
        ("google/gemma-3", None),
        ("google/gemini-pro", None),
    ] {
        assert_eq!(generation(model), major, "{model}");
    }
}

/// A value of a member that no cure is about.
fn anything() -> impl Strategy<Value = serde_json::Value> {
    prop_oneof![
        Just(json!(null)),
        Just(json!(1.5)),
        Just(json!({ "deep": [{}, "developer", { "google": 1 }] })),
        "[a-z\"\\\\é\u{1F600}]{0,6}".prop_map(serde_json::Value::from),
    ]
}

fn content() -> impl Strategy<Value = serde_json::Value> {
    let text = prop_oneof![Just(String::new()), "[a-z\"\\\\\n]{0,5}"];
    let part = prop_oneof![
        text.clone().prop_map(|text| json!({ "type": "text", "text": text })),
        Just(json!({ "type": "image_url", "image_url": { "url": "gs://b/i.png" } })),
    ];
    prop_oneof![
        text.prop_map(serde_json::Value::from),
        proptest::collection::vec(part, 0..4).prop_map(serde_json::Value::from),
        Just(json!(null)),
    ]
}

fn message() -> impl Strategy<Value = serde_json::Value> {
    let role = prop_oneof![
        Just("system"),
        Just("developer"),
        Just("user"),
        Just("assistant"),
        Just("tool"),
    ];
    let ids = proptest::collection::vec(prop_oneof![Just("one"), Just("two"), Just("")], 0..3);
    (role, content(), anything(), ids).prop_map(|(role, content, more, ids)| {
        let mut message = json!({ "role": role, "content": content, "more": more });
        if role == "assistant" {
            let calls = ids.iter().map(|id| json!({ "id": id, "function": { "name": "f" } }));
            message["tool_calls"] = calls.collect();
        }
        message
    })
}

fn request() -> impl Strategy<Value = serde_json::Value> {
    let google = || proptest::option::of(Just(json!({ "thinking_config": { "a": 1 }, "b": 2.50 })));
    let messages = proptest::collection::vec(message(), 0..6);
    let tokens = proptest::option::of(-2_i64..3);
    (messages, google(), google(), google(), tokens, anything(), any::<bool>()).prop_map(
        |(messages, top, right, nested, tokens, more, effort)| {
            let mut request = json!({ "model": MODEL, "messages": messages, "more": more });
            let mut extra = serde_json::Map::new();
            if let Some(right) = right {
                extra.insert("google".into(), right);
            }
            if let Some(nested) = nested {
                extra.insert("extra_body".into(), json!({ "google": nested }));
            }
            if !extra.is_empty() {
                request["extra_body"] = extra.into();
            }
            if let Some(top) = top {
                request["google"] = top;
            }
            if let Some(tokens) = tokens {
                request["max_tokens"] = tokens.into();
            }
            if effort {
                request["reasoning_effort"] = "low".into();
            }
            request
        },
    )
}

/// The request without the members that the cure may change.
fn rest(mut request: serde_json::Value, cure: Cure) -> serde_json::Value {
    let root = request.as_object_mut().unwrap();
    let keys: &[&str] = match cure {
        Cure::ExtraBody => &["google", "extra_body"],
        Cure::EffortConflict | Cure::RemapEffort => &["reasoning_effort"],
        Cure::MaxTokens => &["max_tokens"],
        _ => &[],
    };
    keys.iter().for_each(|key| drop(root.remove(*key)));
    let messages = root["messages"].as_array_mut().unwrap();
    let is_system = |message: &serde_json::Value| message["role"] == "system";
    if cure == Cure::MergeSystemMessages {
        messages.retain(|message| !is_system(message));
    }
    for message in messages {
        let message = message.as_object_mut().unwrap();
        match cure {
            Cure::DeveloperRole if message["role"] == "developer" => {
                message.insert("role".into(), "system".into());
            }
            Cure::EmptyParts => drop(message.remove("content")),
            Cure::Signatures => {
                let calls = message.get_mut("tool_calls").and_then(|calls| calls.as_array_mut());
                for call in calls.into_iter().flatten() {
                    call.as_object_mut().unwrap().remove("extra_content");
                }
            }
            _ => {}
        }
    }
    request
}

proptest! {
    #[test]
    fn a_cure_changes_only_its_members_and_a_second_time_nothing(
        request in request(),
        pretty in any::<bool>(),
    ) {
        let body = if pretty { format!("{request:#}") } else { request.to_string() };
        for cure in Cure::ALL.iter().copied() {
            let Some(after) = cured(&body, cure) else { continue };
            prop_assert_ne!(&after, &body);
            let after_value: serde_json::Value = serde_json::from_str(&after).unwrap();
            prop_assert_eq!(rest(after_value, cure), rest(request.clone(), cure), "{:?}", cure);
            prop_assert_eq!(cured(&after, cure), None, "{:?}: {}", cure, after);
        }
    }

    #[test]
    fn all_cures_together_have_the_effect_of_each_alone(request in request()) {
        let body = request.to_string();
        let mut one_by_one = body.clone();
        for cure in Cure::ALL.iter().copied().filter(|cure| cure.is_default()) {
            one_by_one = cured(&one_by_one, cure).unwrap_or(one_by_one);
        }
        let together = cured_with(&body, Cures::default(), MODEL).map_or(body, |(body, ..)| body);
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        prop_assert_eq!(value(&together), value(&one_by_one));
    }

    #[test]
    fn any_text_is_no_reason_to_panic(body in "[\\{\\}\\[\\]\":,a-z_0-9\\-\\\\ ]{0,60}") {
        let body = format!(r#"{{"tool_calls":"","google":{body},"developer""#);
        let triggers = triggers(&body);
        let (signatures, mut found) = (signatures(), Found::default());
        let remembered = Remembered { signatures: &signatures, owner: owner(&signatures) };
        cure(body.as_bytes(), triggers, Cures::all(), MODEL, remembered, &mut found);
        cure_refused(body.as_bytes(), body.as_bytes(), Cures::all());
    }
}
