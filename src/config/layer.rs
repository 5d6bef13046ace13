//! Settings from one source, and how the sources name them.

use std::path::PathBuf;

use figment::providers::{Format as _, Toml};
use figment::value::{Dict, Map};
use figment::{Metadata, Profile, Provider};

/// Variables of other programs that mean a setting of qron too; those of qron itself win over them.
pub(super) const WELL_KNOWN: [(&str, [&str; 2]); 4] = [
    ("OPENAI_API_KEY", ["model", "api_key"]),
    ("OPENAI_BASE_URL", ["model", "base_url"]),
    ("QDRANT_URL", ["store", "url"]),
    ("QDRANT_API_KEY", ["store", "api_key"]),
];

/// First part of the names of qron's own variables.
pub(super) const PREFIX: &str = "QRON__";

/// Settings from one source.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    /// The source, as people know it.
    pub(super) source: String,
    /// The file it was read from.
    pub(super) file: Option<PathBuf>,
    /// The settings, nested by section.
    pub(super) values: Dict,
}

impl Layer {
    /// Whether it has the setting at `path`.
    pub(super) fn sets(&self, path: &[&str]) -> bool {
        let Some((last, sections)) = path.split_last() else { return false };
        let within = sections.iter().try_fold(&self.values, |dict, key| dict.get(*key)?.as_dict());
        within.is_some_and(|dict| dict.contains_key(*last))
    }
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.source.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Profile::Default.collect(self.values.clone()))
    }
}

/// Reads the settings of `source` from TOML.
pub(super) fn parse(text: &str, source: &str) -> Result<Layer, String> {
    let mut data = Toml::string(text)
        .data()
        .map_err(|error| format!("{source} is not valid TOML: {}", without_excerpt(&error.kind.to_string())))?;
    let values = data.remove(&Profile::Default).unwrap_or_default();
    Ok(Layer { source: source.to_owned(), file: None, values })
}

/// What a parser says is wrong, without the line that it shows: a secret may stand there.
fn without_excerpt(message: &str) -> String {
    let is_excerpt =
        |line: &str| line.trim_start().trim_start_matches(|c: char| c.is_ascii_digit()).trim_start().starts_with('|');
    message.lines().filter(|line| !is_excerpt(line) && !line.trim().is_empty()).collect::<Vec<_>>().join(": ")
}
