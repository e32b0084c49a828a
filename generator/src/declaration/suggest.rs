//! The nearest of the words that would have been right.

/// The candidate closest to `word`, if one is close enough to be what was meant. Case does not count.
pub(crate) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).flat_map(char::to_lowercase).collect();
    let allowed = (word.len() / 3).clamp(1, 4);
    let scored = candidates
        .into_iter()
        .map(|candidate| (distance(&word, candidate), candidate));
    let best = scored.min_by_key(|(distance, _)| *distance)?;
    (best.0 <= allowed).then_some(best.1)
}

/// Insertions, deletions, replacements and swaps of neighbours that turn one word into the other.
fn distance(word: &[char], candidate: &str) -> usize {
    let other: Vec<char> = candidate.chars().flat_map(char::to_lowercase).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in word.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut cost = (last[j] + usize::from(a != b))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && word[i - 1] == *b {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let all = ["Bind", "BindReadOnly", "Environment", "Hostname", "Root"];
        let cases = [
            ("bind", Some("Bind")),
            ("BindReadonly", Some("BindReadOnly")),
            ("BindRaedOnly", Some("BindReadOnly")),
            ("HostName", Some("Hostname")),
            ("Enviroment", Some("Environment")),
            ("Rot", Some("Root")),
            ("Xyz", None),
            ("", None),
            ("CompletelyOther", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, all), expected, "{word}");
        }
        assert_eq!(nearest("a", []), None);
    }
}
