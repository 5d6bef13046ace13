//! Vectors of texts without a model: texts that share words, or parts of words, are near each other.

use sha2::{Digest as _, Sha256};

/// Weight of a shared word against a shared group of three letters.
const WORD_WEIGHT: f32 = 3.0;

/// The vector of `text`, of length one, the same on every machine.
pub(super) fn embed(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions.max(1)];
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        let word = word.to_lowercase();
        add(&mut vector, &word, WORD_WEIGHT);
        let letters: Vec<char> = word.chars().collect();
        for group in letters.windows(3) {
            add(&mut vector, &group.iter().collect::<String>(), 1.0);
        }
    }
    let length = vector.iter().map(|value| value * value).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    for value in &mut vector {
        *value /= length;
    }
    vector
}

/// Adds a feature at the place and with the sign that its hash says.
fn add(vector: &mut [f32], feature: &str, weight: f32) {
    let hash = Sha256::digest(feature.as_bytes());
    let place = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) as usize % vector.len();
    vector[place] += if hash[4] & 1 == 0 { weight } else { -weight };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nearness(left: &str, right: &str) -> f32 {
        embed(left, 256).iter().zip(embed(right, 256)).map(|(a, b)| a * b).sum()
    }

    #[test]
    fn texts_that_share_words_are_nearer_than_others() {
        let report = "write the weekly sales report";
        assert!(nearness(report, report) > 0.999);
        assert!(nearness(report, "weekly report of sales") > 0.5);
        assert!(nearness(report, "weekly report of sales") > nearness(report, "factorial of ten") + 0.3);
    }

    #[test]
    fn a_text_without_words_has_a_vector_too() {
        assert_eq!(embed("…", 4), [1.0, 0.0, 0.0, 0.0]);
    }
}
