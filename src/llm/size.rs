//! The size of a model, as far as its name tells it.

/// Most parameters of a model that counts as small, in billions.
const SMALL_BILLIONS: f64 = 8.0;

/// Whether the name of a model says that it is small.
pub(super) fn is_small(name: &str) -> bool {
    billions(name).is_some_and(|billions| billions <= SMALL_BILLIONS)
}

/// The billions of parameters that the name of a model states, such as 1.5 in `qwen2.5-coder-1.5b`; `None` when it states none,
/// or a product such as `8x7b`.
fn billions(name: &str) -> Option<f64> {
    name.split(['-', ':', '_', '/', ' ']).find_map(|part| {
        let number = part.strip_suffix(['b', 'B'])?;
        number.starts_with(|c: char| c.is_ascii_digit()).then(|| number.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_a_model_is_read_from_its_name() {
        for (name, size) in [
            ("qwen2.5-coder-1.5b-instruct", Some(1.5)),
            ("llama3.2:3b", Some(3.0)),
            ("meta-llama/Llama-3.1-8B", Some(8.0)),
            ("gemma_2_27b_it", Some(27.0)),
            ("mixtral-8x7b", None),
            ("gpt-5-mini", None),
            ("b", None),
            ("web", None),
        ] {
            assert_eq!(billions(name), size, "{name}");
        }
    }
}
