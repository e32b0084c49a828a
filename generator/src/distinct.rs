//! Lists without repetition, in the order of first mention. A declaration may have tens of thousands of words, so looking
//! each one up in all before it would take minutes.

use std::collections::HashSet;
use std::hash::Hash;

/// Adds those of `new` that `all` does not have yet, each once.
pub(crate) fn extend<T: Clone + Eq + Hash>(all: &mut Vec<T>, new: impl IntoIterator<Item = T>) {
    let mut known: HashSet<T> = all.iter().cloned().collect();
    all.extend(new.into_iter().filter(|item| known.insert(item.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_mention_counts() {
        let mut all = vec!["b", "a"];
        extend(&mut all, ["c", "a", "c", "d"]);
        assert_eq!(all, ["b", "a", "c", "d"]);
    }
}
