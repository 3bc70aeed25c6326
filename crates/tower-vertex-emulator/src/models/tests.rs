use super::*;

#[test]
fn the_name_of_a_model_determines_its_properties() {
    use Kind::{Chat, Embeddings};
    for (name, kind, thinking, generation) in [
        ("google/gemini-2.0-flash", Chat, false, Some((2, 0))),
        ("google/gemini-2.5-flash-lite", Chat, true, Some((2, 5))),
        ("google/gemini-2.5-flash-image", Chat, false, Some((2, 5))),
        ("google/gemini-2.5-pro-tts", Chat, false, Some((2, 5))),
        ("google/gemini-3-pro-preview", Chat, true, Some((3, 0))),
        ("google/gemini-3.1-pro-preview", Chat, true, Some((3, 1))),
        ("gemini-3.6-flash", Chat, true, Some((3, 6))),
        ("google/gemini-embedding-001", Embeddings, false, None),
        ("google/text-embedding-005", Embeddings, false, None),
        ("google/gemma-4-26b-a4b-it-maas", Chat, false, None),
        ("intfloat/multilingual-e5-small-maas", Embeddings, false, None),
        ("xai/grok-4.1-fast-reasoning", Chat, true, None),
        ("xai/grok-4.1-fast-non-reasoning", Chat, false, None),
        ("other/gemini-3-flash", Chat, false, None),
    ] {
        let model = Model::from(name);
        let found = (model.kind, model.thinking, model.generation);
        assert_eq!(found, (kind, thinking, generation), "{name}");
    }
}

#[test]
fn a_file_of_models_has_names_and_objects() {
    let text = r#"["google/gemini-2.5-flash", "mine", {"model": "x/y", "kind": "embeddings"},
        {"model": "google/new", "thinking": true, "generation": "4.2",
         "surfaces": ["chat", "responses"]}]"#;
    let models: Vec<Model> = serde_json::from_str(text).unwrap();
    assert_eq!(models[0], Model::new("google", "gemini-2.5-flash"));
    assert_eq!(models[1].to_string(), "google/mine");
    assert_eq!(models[2].surfaces, [Surface::Embeddings, Surface::Predict]);
    assert!(models[3].thinking && models[3].is_gemini_since(4, 2));
    assert_eq!(models[3].surfaces, [Surface::Chat, Surface::Responses]);
    let again = serde_json::to_string(&models).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Model>>(&again).unwrap(), models);
    for bad in [
        r#"[""]"#,
        r#"["/x"]"#,
        r#"["a/b/c"]"#,
        r#"[{"model": "x/y", "generation": "new"}]"#,
        r#"[{"model": "x/y", "color": "red"}]"#,
    ] {
        assert!(serde_json::from_str::<Vec<Model>>(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_catalogue_has_each_model_once() {
    let catalogue = Catalogue::default();
    for model in catalogue.all() {
        let same = |other: &&Model| other.to_string() == model.to_string();
        assert_eq!(catalogue.all().iter().filter(same).count(), 1, "{model}");
    }
    assert!(catalogue.find("google", "gemini-2.5-flash").is_some());
    assert!(catalogue.find("meta", "gemini-2.5-flash").is_none());
}
