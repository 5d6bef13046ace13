//! Names that a misspelt name may mean.

/// Shortest name, in letters, of which two may be wrong; of shorter ones a single letter.
const LONG_NAME: usize = 6;
/// Most letters of a long name that may be wrong.
const MAX_WRONG: usize = 2;
/// Letters of a name that are compared.
const MAX_LETTERS: usize = 40;

/// The name in `known` that `written` nearly is, whatever its case and separators. The first of those that are equally near.
pub fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = bare(written);
    let known = known.into_iter().map(|name| (bare(name), name));
    // Each letter more or less is one that is wrong.
    let near = known.filter(|(letters, _)| letters.len().abs_diff(written.len()) <= MAX_WRONG);
    let distances = near.map(|(letters, name)| (distance(&written, &letters), name));
    let (distance, name) = distances.min_by_key(|(distance, _)| *distance)?;
    let allowed = if written.len().min(name.len()) < LONG_NAME { 1 } else { MAX_WRONG };
    (distance <= allowed).then_some(name)
}

/// The name in `known` that `written` nearly is, abbreviates or extends: `expr` is `expression`.
pub fn meant<'a>(written: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    const MIN_LETTERS: usize = 3;
    nearest(written, known.clone()).or_else(|| {
        let written = bare(written);
        let is_part = |name: &&str| {
            let name = bare(name);
            name.len().min(written.len()) >= MIN_LETTERS && (name.starts_with(&written) || written.starts_with(&name))
        };
        known.into_iter().find(is_part)
    })
}

/// The letters of a name, without case and separators.
fn bare(name: &str) -> Vec<char> {
    let letters = name.chars().filter(|letter| !['_', '-', ' ', '.'].contains(letter)).flat_map(char::to_lowercase);
    letters.take(MAX_LETTERS).collect()
}

/// How many letters must be added, dropped, replaced or swapped with their neighbour to make `to` of `from`.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (row, letter) in from.iter().enumerate() {
        let mut next = vec![row + 1];
        for (column, other) in to.iter().enumerate() {
            let replaced = last[column] + usize::from(letter != other);
            let mut steps = replaced.min(last[column + 1] + 1).min(next[column] + 1);
            let swapped = row > 0 && column > 0 && from[row - 1] == *other && *letter == to[column - 1];
            if swapped {
                steps = steps.min(before[column - 1] + 1);
            }
            next.push(steps);
        }
        before = std::mem::replace(&mut last, next);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_means_the_nearest_one() {
        let known = ["status", "pause", "expression", "url"];
        for (written, expected) in [
            ("staus", Some("status")),
            ("Pauze", Some("pause")),
            ("uri", Some("url")),
            ("expresion", Some("expression")),
            ("expr", None),
            ("fly", None),
        ] {
            assert_eq!(nearest(written, known), expected, "{written}");
        }
        for (written, expected) in [("expr", Some("expression")), ("url_text", Some("url")), ("ex", None)] {
            assert_eq!(meant(written, known), expected, "{written}");
        }
    }
}
