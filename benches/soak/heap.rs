//! The allocator's profiles: the live bytes of each place in the program.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use tower::BoxError;

/// A profile: the live bytes by the addresses of the calls, the innermost first.
#[derive(Debug)]
pub struct Heap {
    pub path: PathBuf,
    pub live: f64,
    pub stacks: BTreeMap<Vec<u64>, f64>,
}

/// All profiles in a folder, the oldest first.
pub fn profiles(folder: &Path) -> Result<Vec<Heap>, BoxError> {
    let mut found = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().ends_with(".heap") {
            found.push((file.metadata()?.modified()?, file.path()));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, path)| read(path)).collect()
}

/// Reads the format of `heap_v2`. Each stack is followed by the sampled objects and bytes, which
/// stand for more: an object of n bytes is sampled with the probability 1 - exp(-n / period).
fn read(path: PathBuf) -> Result<Heap, BoxError> {
    let text = fs::read_to_string(&path)?;
    let mut lines = text.lines();
    let period = lines.next().and_then(|line| line.strip_prefix("heap_v2/")).ok_or("no profile")?;
    let period: f64 = period.parse()?;
    let mut heap = Heap { path, live: 0.0, stacks: BTreeMap::new() };
    let mut stack = Vec::new();
    for line in lines {
        if line.starts_with("MAPPED_LIBRARIES") {
            break;
        } else if let Some(addresses) = line.strip_prefix("@ ") {
            stack = addresses
                .split_whitespace()
                .map(|address| u64::from_str_radix(address.trim_start_matches("0x"), 16))
                .collect::<Result<_, _>>()?;
        } else if let (Some(counts), false) = (line.trim().strip_prefix("t*: "), stack.is_empty()) {
            let mut counts = counts.split([':', ' ', '[']).filter(|count| !count.is_empty());
            let mut count = || counts.next().and_then(|count| count.parse::<f64>().ok());
            let (Some(objects), Some(bytes)) = (count(), count()) else { continue };
            if objects > 0.0 {
                let real = bytes / (1.0 - (-bytes / objects / period).exp());
                heap.live += real;
                *heap.stacks.entry(std::mem::take(&mut stack)).or_default() += real;
            }
        }
    }
    Ok(heap)
}

/// The places that hold more bytes in the last profile than in the first one, with the innermost
/// functions of the program.
pub fn grown(first: &Heap, last: &Heap, number: usize) -> Result<Vec<(f64, String)>, BoxError> {
    let mut grown: Vec<(f64, &Vec<u64>)> = last
        .stacks
        .iter()
        .map(|(stack, bytes)| (bytes - first.stacks.get(stack).unwrap_or(&0.0), stack))
        .collect();
    grown.sort_unstable_by(|one, other| other.0.total_cmp(&one.0));
    let text = fs::read_to_string(&last.path)?;
    let program = std::env::current_exe()?;
    // The program's first mapping is where its addresses begin.
    let base = text.lines().find(|line| line.ends_with(&*program.to_string_lossy()));
    let base = base.and_then(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
    grown
        .into_iter()
        .take(number)
        .map(|(bytes, stack)| Ok((bytes, functions(&program, base.unwrap_or(0), stack))))
        .collect()
}

/// The names of the functions on a stack, if `addr2line` is installed.
fn functions(program: &Path, base: u64, stack: &[u64]) -> String {
    let mut command = Command::new("addr2line");
    command.arg("-Cfe").arg(program);
    command.args(stack.iter().map(|address| format!("{:x}", address.wrapping_sub(base))));
    let Ok(output) = command.output() else { return format!("{stack:x?}") };
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let ours = |name: &&str| {
        ![
            "??", "prof_", "_rjem", "je_", "imalloc", "alloc::", "<alloc::", "core::", "__rust",
            "std::",
        ]
        .iter()
        .any(|other| name.starts_with(other))
    };
    text.lines().step_by(2).filter(ours).take(4).collect::<Vec<_>>().join(" ← ")
}
