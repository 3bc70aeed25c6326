//! Tests of async-openai through `vertex-gateway --emulator`, with its own HTTP client and its own
//! retries. `matrix.json` describes each cell; the results are in `target/sdk/`.

mod cells;
mod sidecar;

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

const CLIENT: &str = "async-openai";

fn version() -> String {
    let lock: toml::Table = toml::from_str(include_str!("../../../Cargo.lock")).unwrap();
    let packages = lock["package"].as_array().unwrap();
    let package = packages.iter().find(|package| package["name"].as_str() == Some(CLIENT));
    package.unwrap()["version"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn async_openai_passes_the_matrix() {
    // reqwest is built without a crypto provider here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/sdk");
    let file = folder.join(format!("{CLIENT}.json"));
    fs::create_dir_all(folder).unwrap();
    let _ = fs::remove_file(&file);

    // All cells run concurrently, because one of them waits for 30 s.
    let matrix: Value = serde_json::from_str(include_str!("../matrix.json")).unwrap();
    let errors = matrix["errors"].as_array().unwrap();
    let actions = matrix["actions"].as_array().unwrap().iter();
    let running: Vec<_> = actions
        .map(|action| {
            let action = action["id"].as_str().unwrap().to_owned();
            (action.clone(), tokio::spawn(async move { cells::run(&action).await }))
        })
        .collect();

    let (mut cells, mut sees, mut failed) = (Map::new(), Map::new(), Vec::new());
    for (action, cell) in running {
        let result = match cell.await {
            Ok(seen) => {
                if let Some(cells::Sees { raw, layer }) = seen
                    && errors.contains(&action.as_str().into())
                {
                    sees.insert(action.clone(), json!({ "raw": raw, "layer": layer }));
                }
                "pass"
            }
            Err(_) => {
                failed.push(action.clone());
                "fail"
            }
        };
        println!("{result} {action}");
        cells.insert(action, result.into());
    }
    let notes: Map<_, _> =
        cells::NOTES.into_iter().map(|(action, note)| (action.to_owned(), note.into())).collect();
    let results = json!({
        "client": CLIENT, "version": version(), "cells": cells, "notes": notes, "sees": sees,
    });
    fs::write(file, format!("{results:#}\n")).unwrap();
    assert!(failed.is_empty(), "failed: {failed:?}");
}
