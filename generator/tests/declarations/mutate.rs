//! Damaged declarations: the golden files with bytes changed, lines moved, and pieces of one in another.
//!
//! A fixed number of cases runs with the suite; `SKEP_FUZZ_SECONDS=180 cargo test -p skep --test declarations damaged`
//! goes on for as long as it says.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Root, check_sound, is_valid, named};

const CASES: u64 = 200;

/// xorshift64*: the same damage in every run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let roll = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(roll).unwrap() % limit.max(1)
    }
}

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            files(&path, found);
        } else if path
            .extension()
            .is_some_and(|end| end == "container" || end == "conf")
        {
            found.push(path);
        }
    }
}

fn damage(text: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    const BYTES: &[u8] = b"\0\n\r\\%\"'=[]#;: \t\x1b\x7f\x80\xc3\xff9a/-";
    let at = dice.below(text.len());
    match dice.below(7) {
        0 if !text.is_empty() => text[at] = BYTES[dice.below(BYTES.len())],
        1 => text.insert(at, BYTES[dice.below(BYTES.len())]),
        2 => text.truncate(at),
        3 => {
            let end = (at + dice.below(20)).min(text.len());
            text.drain(at..end);
        }
        4 => {
            let end = (at + dice.below(40)).min(text.len());
            let piece = text[at..end].repeat(1 + dice.below(50));
            text.splice(at..at, piece);
        }
        5 => {
            let from = dice.below(other.len());
            let end = (from + dice.below(80)).min(other.len());
            text.splice(at..at, other[from..end].iter().copied());
        }
        _ => {
            let mut lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
            let (one, two) = (dice.below(lines.len()), dice.below(lines.len()));
            if !lines.is_empty() {
                lines.swap(one, two);
            }
            *text = lines.concat();
        }
    }
}

#[test]
fn damaged_declarations_load() {
    let mut found = Vec::new();
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    for directory in ["../tests/golden", "../packaging/examples"] {
        files(&manifest.join(directory), &mut found);
    }
    found.sort();
    // Some are links that lead nowhere.
    let corpus: Vec<Vec<u8>> = found
        .iter()
        .filter_map(|path| fs::read(path).ok())
        .collect();
    assert!(corpus.len() > 20);
    let limit = std::env::var("SKEP_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let limit = limit.map(Duration::from_secs);
    let root = Root::new();
    root.put("/etc/skep/good.container", "[Container]\n");
    let start = Instant::now();
    let mut cases = 0;
    while limit.map_or(cases < CASES, |limit| start.elapsed() < limit) {
        // A seed of its own for each case: a failure names it.
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 ^ (cases + 1));
        let mut text = corpus[dice.below(corpus.len())].clone();
        for _ in 0..=dice.below(6) {
            let other = &corpus[dice.below(corpus.len())];
            damage(&mut text, other, &mut dice);
        }
        let place = match dice.below(3) {
            0 => "/etc/skep/web.container.d/50-x.conf",
            _ => "/etc/skep/web.container",
        };
        root.put("/etc/skep/web.container", "[Container]\n");
        let path = root.put(place, &text);
        let all = root.load();
        check_sound(&all);
        assert!(
            is_valid(named(&all, "good")),
            "case {cases}: {}",
            text.escape_ascii()
        );
        fs::remove_file(path).unwrap();
        cases += 1;
    }
    println!("{cases} damaged declarations in {:?}", start.elapsed());
}
