// The module that the crate gets. A test process has one mutant on, or none, and can list those that it reached.
pub(crate) mod mutants {
    use std::sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    };

    static ON: OnceLock<usize> = OnceLock::new();
    static REACHED_FILE: OnceLock<Option<String>> = OnceLock::new();
    static REACHED: [AtomicBool; 16_384] = [const { AtomicBool::new(false) }; 16_384];

    pub(crate) fn on(number: usize) -> bool {
        if let Some(file) = REACHED_FILE.get_or_init(|| std::env::var("MUTANTS_REACHED").ok()) {
            if !REACHED[number].swap(true, Relaxed) {
                use std::io::Write as _;
                let file = std::fs::OpenOptions::new().append(true).create(true).open(file);
                file.unwrap().write_all(format!("{number}\n").as_bytes()).unwrap();
            }
        }
        let on = || std::env::var("MUTANT").ok().and_then(|text| text.parse().ok());
        *ON.get_or_init(|| on().unwrap_or(usize::MAX)) == number
    }
}
