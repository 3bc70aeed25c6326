//! Tests of examples, of their bounds, and of schemas without an example.

use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::json;

use super::*;

#[test]
fn each_kind_of_schema_has_an_example() {
    for (schema, made) in [
        (json!({ "type": "string" }), json!("hello")),
        (json!({ "type": "string", "maxLength": 2 }), json!("he")),
        (json!({ "type": "string", "minLength": 7 }), json!("hello..")),
        (json!({ "type": "string", "format": "date" }), json!("2026-01-02")),
        (json!({ "type": "integer" }), json!(0)),
        (json!({ "type": "integer", "minimum": 3 }), json!(3)),
        (json!({ "type": "integer", "exclusiveMinimum": 3, "maximum": 9 }), json!(4)),
        (json!({ "type": "integer", "maximum": -3 }), json!(-3)),
        (json!({ "type": "integer", "minimum": 7, "multipleOf": 5 }), json!(10)),
        (json!({ "type": "number", "minimum": 0.5, "multipleOf": 0.5 }), json!(0.5)),
        (json!({ "type": "boolean" }), json!(true)),
        (json!({ "type": ["null", "string"] }), json!(null)),
        (json!({ "enum": ["red", "blue"] }), json!("red")),
        (json!({ "const": 7 }), json!(7)),
        (json!({ "anyOf": [{ "type": "integer" }, { "type": "null" }] }), json!(0)),
        (json!({ "type": "array", "items": { "type": "integer" } }), json!([0])),
        (json!({ "items": { "type": "null" }, "minItems": 2 }), json!([null, null])),
        (json!({ "type": "array", "items": {}, "minItems": 0 }), json!([])),
        (json!({ "type": "object" }), json!({})),
        (json!(true), json!({})),
        (
            json!({
                "type": "object",
                "properties": { "a": { "$ref": "#/$defs/a" }, "b": { "type": "string" } },
                "$defs": { "a": { "type": "integer" } },
            }),
            json!({ "a": 0, "b": "hello" }),
        ),
    ] {
        assert_eq!(example(&schema, "hello").as_ref(), Ok(&made), "{schema}");
    }
}

#[test]
fn a_value_beyond_all_bounds_is_an_error_at_once() {
    let nested = |levels: usize, least: usize, leaf: Value| {
        (0..levels).fold(leaf, |items, _| json!({ "items": items, "minItems": least }))
    };
    let long = json!({ "type": "string", "minLength": 16_384 });
    let drawn = json!({ "type": "string", "pattern": "^a+$", "minLength": 16_384 });
    let names: Vec<String> = (0..1000).map(|number| format!("name-{number}")).collect();
    let choices = nested(4, 10, json!({ "enum": [[&names, &names, &names]] }));
    let echoes = json!({ "items": { "required": names }, "minItems": 1000 });
    for schema in [
        nested(4, 1000, json!({ "type": "integer" })),
        nested(2, 1000, long.clone()),
        nested(1, 1000, long),
        nested(2, 100, drawn),
        choices,
        echoes,
    ] {
        assert_eq!(example(&schema, "hello"), Err("the schema is too large".into()));
    }
    // Schemas that a tool may have are within the limits.
    for schema in [nested(2, 50, json!({ "type": "integer" })), nested(1, 1000, json!({}))] {
        assert!(example(&schema, "hello").is_ok());
    }
}

/// The narrower of two bounds applies, in any keyword or part of the schema.
#[test]
fn the_narrower_of_two_bounds_applies() {
    let big = 9_007_199_254_740_993_u64;
    for (schema, made) in [
        (json!({ "type": "integer", "minimum": 0, "exclusiveMinimum": 0 }), json!(1)),
        (json!({ "type": "integer", "minimum": 5, "exclusiveMinimum": 3 }), json!(5)),
        (json!({ "type": "integer", "minimum": 3, "exclusiveMinimum": 5 }), json!(6)),
        (json!({ "type": "integer", "maximum": -1, "exclusiveMaximum": -1 }), json!(-2)),
        (json!({ "type": "integer", "maximum": -5, "exclusiveMaximum": -3 }), json!(-5)),
        (json!({ "type": "number", "minimum": 0, "exclusiveMinimum": 0 }), json!(1)),
        (json!({ "type": "number", "exclusiveMinimum": 0, "maximum": 0.5 }), json!(0.25)),
        (json!({ "type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1 }), json!(0.5)),
        (json!({ "type": "number", "exclusiveMaximum": 0 }), json!(-1)),
        (json!({ "type": "number", "minimum": 1.5 }), json!(1.5)),
        // Draft 4.
        (json!({ "type": "integer", "minimum": 0, "exclusiveMinimum": true }), json!(1)),
        (json!({ "type": "integer", "minimum": 7, "exclusiveMinimum": false }), json!(7)),
        (json!({ "type": "number", "maximum": 0, "exclusiveMaximum": true }), json!(-1)),
        // Whole numbers stay exact, however large they are.
        (json!({ "type": "integer", "minimum": big }), json!(big)),
        (json!({ "type": "integer", "exclusiveMinimum": big }), json!(big + 1)),
        (json!({ "type": "integer", "minimum": u64::MAX }), json!(u64::MAX)),
        (json!({ "type": "integer", "maximum": i64::MIN }), json!(i64::MIN)),
        (json!({ "type": "integer", "minimum": 0.5, "maximum": 1.5 }), json!(1)),
        (json!({ "type": "integer", "minimum": 1, "multipleOf": 2.5 }), json!(5)),
        (json!({ "type": "integer", "minimum": -9, "maximum": -6, "multipleOf": 5 }), json!(null)),
        (json!({ "type": "number", "minimum": 0.25, "multipleOf": 0.1 }), json!(0.4)),
        (json!({ "type": "integer", "minimum": 1, "maximum": 0 }), json!(null)),
        // The value of an enumeration or of a choice fits the other keywords, too.
        (json!({ "enum": [1, 5, 9], "minimum": 3 }), json!(5)),
        (json!({ "enum": ["a", 7], "type": "integer" }), json!(7)),
        (json!({ "enum": [1], "minimum": 3 }), json!(null)),
        (json!({ "const": "x", "type": "integer" }), json!(null)),
        (json!({ "anyOf": [{ "maximum": 0 }, {}], "type": "integer", "minimum": 3 }), json!(3)),
        (json!({ "oneOf": [{ "type": "integer" }, { "type": "number" }] }), json!(null)),
        (json!({ "oneOf": [{ "type": "integer" }, { "type": "number", "minimum": 2 }] }), json!(0)),
        (json!({ "allOf": [{ "minimum": 3 }, { "minimum": 2 }], "type": "integer" }), json!(3)),
        (
            json!({ "allOf": [{ "anyOf": [{ "minimum": 3 }] }, { "anyOf": [{ "maximum": 3 }] }], "type": "integer" }),
            json!(3),
        ),
        (
            json!({ "$ref": "#/$defs/a", "minimum": 4, "$defs": { "a": { "type": "integer", "minimum": 2 } } }),
            json!(4),
        ),
        // Texts.
        (json!({ "type": "string", "minLength": 300 }), json!(format!("hello{}", ".".repeat(295)))),
        (json!({ "type": "string", "format": "date", "maxLength": 4 }), json!("hell")),
        (json!({ "type": "string", "pattern": "^[A-Z]{3}-\\d{2}$" }), json!("AAA-00")),
        (json!({ "type": "string", "pattern": "^(GET|POST)$" }), json!("GET")),
        (
            json!({ "type": "string", "pattern": "^[a-z]+(-[a-z]+)*$", "minLength": 5 }),
            json!("aaaaa"),
        ),
        (json!({ "type": "string", "pattern": "^a", "minLength": 3 }), json!("aaa")),
        (
            json!({ "type": "string", "pattern": "^(ab)+$", "minLength": 3, "maxLength": 5 }),
            json!("abab"),
        ),
        (json!({ "type": "string", "pattern": "^\\S+@\\S+\\.com$" }), json!("a@a.com")),
        (json!({ "type": "string", "pattern": "^(?=x)" }), json!("hello")),
        (json!({ "type": "string", "pattern": "^a$", "minLength": 2 }), json!(null)),
        (json!({ "type": "STRING" }), json!("hello")),
        // Arrays.
        (json!({ "type": "array", "items": { "type": "integer" }, "maxItems": 0 }), json!([])),
        (
            json!({ "type": "array", "items": { "enum": [1, 2, 3] }, "minItems": 2, "uniqueItems": true }),
            json!([1, 2]),
        ),
        (
            json!({ "type": "array", "items": { "type": "string", "maxLength": 3 }, "minItems": 3, "uniqueItems": true }),
            json!(["hel", "he1", "he2"]),
        ),
        (
            json!({ "type": "array", "items": { "type": "boolean" }, "minItems": 3, "uniqueItems": true }),
            json!(null),
        ),
        (
            json!({ "type": "array", "prefixItems": [{ "type": "integer" }, { "type": "null" }], "items": false }),
            json!([0, null]),
        ),
        (
            json!({ "type": "array", "items": [{ "const": 1 }], "minItems": 2 }),
            json!([1, "hello 1"]),
        ),
        // Objects.
        (json!({ "type": "object", "required": ["a"] }), json!({ "a": "hello" })),
        (
            json!({ "required": ["a"], "additionalProperties": { "type": "integer" }, "minProperties": 2 }),
            json!({ "a": 0, "property1": 0 }),
        ),
        (json!({ "required": ["a"], "additionalProperties": false }), json!(null)),
        (
            json!({ "properties": { "a": {}, "b": {}, "c": {} }, "required": ["b"], "maxProperties": 2 }),
            json!({ "a": {}, "b": {} }),
        ),
        (json!({ "properties": { "a": false } }), json!({})),
        (
            json!({ "properties": { "a": { "minimum": 1 } }, "allOf": [{ "properties": { "a": { "minimum": 2 } } }] }),
            json!({ "a": 2 }),
        ),
    ] {
        // A schema without an example is an error.
        let expected = if made.is_null() { None } else { Some(made) };
        assert_eq!(example(&schema, "hello").ok(), expected, "{schema}");
    }
}

#[test]
fn a_recursive_schema_has_a_small_example_at_limited_cost() {
    let child = json!({ "$ref": "#" });
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let children: Object = names.iter().map(|name| ((*name).to_owned(), child.clone())).collect();
    assert!(example(&json!({ "properties": children }), "x").unwrap().is_object());

    let either = json!({ "anyOf": [{ "$ref": "#" }, { "type": "null" }] });
    let tree =
        json!({ "properties": { "left": either, "right": either }, "required": ["left", "right"] });
    assert!(example(&tree, "x").is_ok());

    // Each definition contains the next one twice.
    let mut definitions = Object::new();
    for n in 0..40 {
        let next = json!({ "$ref": format!("#/$defs/{}", n + 1) });
        definitions.insert(n.to_string(), json!({ "allOf": [next, next] }));
    }
    definitions.insert("40".to_owned(), json!({ "type": "integer" }));
    let laughs = json!({ "$ref": "#/$defs/0", "$defs": definitions });
    assert!(example(&laughs, "x").is_err());
    let many =
        json!({ "type": "array", "items": { "type": "integer" }, "minItems": 4_000_000_000_u64 });
    assert!(example(&many, "x").is_err());
    for pattern in ["(((a{1000}){1000}){1000}){1000}", "((){1000}){4000000000}", "a{4000000000}"] {
        let _ = example(&json!({ "type": "string", "pattern": pattern }), "x");
    }
}

#[test]
fn a_tree_ends_at_the_first_optional_level() {
    let tree = json!({
        "type": "object",
        "properties": {
            "name": { "type": "string" },
            "children": { "type": "array", "items": { "$ref": "#" } },
        },
        "required": ["name", "children"],
    });
    let made = example(&tree, "x").unwrap();
    let deepest = "/children/0".repeat(4);
    assert_eq!(made.pointer(&deepest), Some(&json!({ "name": "x", "children": [] })));
}

#[test]
fn an_invalid_schema_is_an_error() {
    let endless = json!({ "properties": { "a": { "$ref": "#" } }, "required": ["a"] });
    for schema in [
        endless,
        json!({ "$ref": "#/$defs/a" }),
        json!({ "$ref": "other.json" }),
        json!({ "type": "text" }),
        json!("object"),
        json!(false),
    ] {
        assert!(example(&schema, "x").is_err(), "{schema}");
    }
}

/// Checks whether a value fits, in a simple way that shares no code with the implementation.
fn check(root: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let Some(keywords) = schema.as_object() else {
        return if schema == &json!(true) { Ok(()) } else { Err(format!("{value}: {schema}")) };
    };
    for (keyword, wanted) in keywords {
        let compare = |than: fn(f64, f64) -> bool| {
            value
                .as_f64()
                .is_none_or(|value| wanted.as_f64().is_none_or(|bound| than(value, bound)))
        };
        let long = |than: fn(usize, usize) -> bool, length: Option<usize>| {
            length.is_none_or(|length| than(length, wanted.as_u64().unwrap() as usize))
        };
        let characters = value.as_str().map(|text| text.chars().count());
        let items = value.as_array();
        let branches = || {
            let branches = wanted.as_array().unwrap().iter();
            branches.filter(|branch| check(root, branch, value).is_ok()).count()
        };
        let fits = match &**keyword {
            "type" => match wanted.as_str().unwrap() {
                "integer" => value.is_i64() || value.is_u64(),
                "number" => value.is_number(),
                "string" => value.is_string(),
                "boolean" => value.is_boolean(),
                "null" => value.is_null(),
                "array" => value.is_array(),
                _ => value.is_object(),
            },
            "minimum" if keywords.get("exclusiveMinimum") == Some(&json!(true)) => {
                compare(|value, bound| value > bound)
            }
            "minimum" => compare(|value, bound| value >= bound),
            "exclusiveMinimum" => compare(|value, bound| value > bound),
            "maximum" => compare(|value, bound| value <= bound),
            "exclusiveMaximum" => compare(|value, bound| value < bound),
            "multipleOf" => compare(|value, step| (value / step).fract() == 0.0),
            "minLength" => long(|is, least| is >= least, characters),
            "maxLength" => long(|is, most| is <= most, characters),
            "minItems" => long(|is, least| is >= least, items.map(Vec::len)),
            "maxItems" => long(|is, most| is <= most, items.map(Vec::len)),
            "uniqueItems" => items
                .is_none_or(|items| (1..items.len()).all(|at| !items[..at].contains(&items[at]))),
            "items" => {
                items.is_none_or(|all| all.iter().all(|item| check(root, wanted, item).is_ok()))
            }
            "enum" => wanted.as_array().unwrap().contains(value),
            "const" => wanted == value,
            "anyOf" => branches() > 0,
            "oneOf" => branches() == 1,
            "allOf" => branches() == wanted.as_array().unwrap().len(),
            "$ref" => {
                check(root, root.pointer(&wanted.as_str().unwrap()[1..]).unwrap(), value).is_ok()
            }
            "required" => wanted.as_array().unwrap().iter().all(|name| {
                value.as_object().is_none_or(|object| object.contains_key(name.as_str().unwrap()))
            }),
            "properties" => wanted.as_object().unwrap().iter().all(|(name, property)| {
                value.get(name).is_none_or(|value| check(root, property, value).is_ok())
            }),
            "additionalProperties" => value.as_object().is_none_or(|object| {
                object.iter().all(|(name, value)| {
                    let declared = keywords.get("properties").and_then(|all| all.get(name));
                    declared.is_some() || check(root, wanted, value).is_ok()
                })
            }),
            "$defs" => true,
            other => panic!("{other}"),
        };
        if !fits {
            return Err(format!("{value} does not fit {keyword} of {schema}"));
        }
    }
    Ok(())
}

/// Schemas that have a value. The root has the definition `$defs/small`.
fn schemas() -> impl Strategy<Value = Value> {
    let bounds = || {
        (-1000_i64..1000, 25_i64..100, select(vec![1_i64, 2, 5]), 0..16_u8).prop_map(
            |(low, span, step, which)| {
                let mut bounds = json!({ "multipleOf": step });
                if which & 1 == 0 {
                    bounds["minimum"] = low.into();
                }
                if which & 2 == 0 {
                    let at = if which & 8 == 0 { low + 3 } else { low - 3 };
                    bounds["exclusiveMinimum"] = at.into();
                } else if which & 9 == 8 {
                    bounds["exclusiveMinimum"] = true.into();
                }
                if which & 4 == 0 {
                    bounds["maximum"] = (low + span).into();
                    bounds["exclusiveMaximum"] = (low + span - 2).into();
                }
                bounds
            },
        )
    };
    let with = |kind: &'static str| {
        move |mut schema: Value| {
            schema["type"] = kind.into();
            schema
        }
    };
    let fraction = (-100_i32..100, 1..100_i32, any::<bool>()).prop_map(|(low, span, is_open)| {
        let [low, high] = [low, low + span].map(|at| f64::from(at) / 8.0);
        if is_open {
            json!({ "type": "number", "exclusiveMinimum": low, "exclusiveMaximum": high })
        } else {
            json!({ "type": "number", "minimum": low, "maximum": high })
        }
    });
    let text = (0..40_usize, 0..40_usize).prop_map(
        |(least, more)| json!({ "type": "string", "minLength": least, "maxLength": least + more }),
    );
    let leaf = prop_oneof![
        bounds().prop_map(with("integer")),
        bounds().prop_map(with("number")),
        fraction,
        text,
        Just(json!({ "type": "boolean" })),
        Just(json!({ "enum": [3, "x", null] })),
        Just(json!({ "const": { "a": [1] } })),
        Just(json!({ "$ref": "#/$defs/small" })),
        Just(json!(true)),
    ];
    let schema = leaf.prop_recursive(4, 40, 5, move |inner| {
        let array = (inner.clone(), 0..4_u64, 0..4_u64).prop_map(|(items, least, more)| {
            json!({ "type": "array", "items": items, "minItems": least, "maxItems": least + more })
        });
        let unique = (0..5_u64).prop_map(|least| {
            json!({
                "type": "array", "minItems": least, "uniqueItems": true,
                "items": { "type": "integer", "minimum": -1, "exclusiveMaximum": 4 },
            })
        });
        let object = (vec(inner.clone(), 0..5), any::<u8>(), option::of(inner.clone()));
        let object = object.prop_map(|(properties, which, more)| {
            let names = ["a", "b", "c", "d", "e", "z"];
            let is_required = |at: usize| which & (1 << at) != 0 && (at < properties.len() || at == 5);
            let required: Vec<_> =
                (0..6).filter(|at| is_required(*at)).map(|at| names[at]).collect();
            let is_closed = more.is_none() && !required.contains(&"z");
            json!({
                "type": "object", "required": required,
                "properties": names.iter().copied().map(str::to_owned).zip(properties).collect::<Object>(),
                "additionalProperties": more.unwrap_or_else(|| (!is_closed).into()),
            })
        });
        let choice = (vec(inner.clone(), 1..4), any::<bool>()).prop_map(|(branches, is_last)| {
            let mut branches = branches;
            // A branch that no value fits is skipped.
            let nothing = json!({ "type": "integer", "minimum": 1, "maximum": 0 });
            let at = if is_last { branches.len() } else { 0 };
            branches.insert(at, nothing);
            json!({ "anyOf": branches })
        });
        let one = inner.clone().prop_map(|branch| {
            json!({ "oneOf": [{ "allOf": [{ "const": 1 }, { "const": 2 }] }, branch] })
        });
        let all = (bounds(), bounds()).prop_map(|(mut first, second)| {
            // The second bounds replace those of the first, in the same order.
            first.as_object_mut().unwrap().remove("multipleOf");
            let low = second["minimum"].as_i64().unwrap_or(0);
            json!({ "type": "integer", "allOf": [{ "minimum": low - 5 }, { "minimum": low }], "maximum": low + 9 })
        });
        prop_oneof![array, unique, object, choice, one, all]
    });
    schema.prop_map(|mut schema| {
        if let Some(schema) = schema.as_object_mut() {
            let small = json!({ "type": "string", "maxLength": 2 });
            schema.insert("$defs".to_owned(), json!({ "small": small }));
        }
        schema
    })
}

proptest! {
    #[test]
    fn an_example_fits_its_schema(schema in schemas()) {
        let made = example(&schema, "hello").map_err(TestCaseError::fail);
        let made = made.map_err(|error| TestCaseError::fail(format!("{error}: {schema}")))?;
        let checked = check(&schema, &schema, &made);
        prop_assert!(checked.is_ok(), "{}\n{schema}", checked.unwrap_err());
        prop_assert_eq!(example(&schema, "hello").unwrap(), made, "the example is the same the second time");
    }

    #[test]
    fn an_arbitrary_schema_has_an_example_or_an_error(
        schema in arbitrary_schema(), said in ".{0,10}",
    ) {
        let _ = example(&schema, &said);
    }
}

/// Schemas of keywords with invalid values.
fn arbitrary_schema() -> impl Strategy<Value = Value> {
    let keywords = vec![
        "type",
        "enum",
        "const",
        "$ref",
        "allOf",
        "anyOf",
        "oneOf",
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
        "items",
        "prefixItems",
        "minItems",
        "maxItems",
        "uniqueItems",
        "minimum",
        "exclusiveMinimum",
        "maximum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "format",
    ];
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (0..50_u64).prop_map(Value::from),
        select(vec![
            "#", "integer", "number", "string", "array", "object", "null", "^a+$", "uuid", "["
        ])
        .prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((select(keywords.clone()), inner), 0..6).prop_map(|fields| {
                fields
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect::<Object>()
                    .into()
            }),
        ]
    })
}
