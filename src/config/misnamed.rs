//! Variables that look like one of qron and are none: they would go unnoticed.

use super::layer::PREFIX;
use super::secret_files::Variable;
use super::shape::{self, truth};
use crate::domain::spelling::nearest;

/// Variables that are no settings, without `QRON_`.
const OWN: [&str; 3] = ["CONFIG", "NO_MODEL", "URL"];
/// Fewest characters of a name that is compared: platforms make short ones, such as `QRON_PORT`, of the name of a service.
const MIN_CHARS: usize = 6;

/// Reports variables that begin with `QRON_` and nearly name a setting or another variable of qron, and a `QRON_NO_MODEL` that is
/// neither on nor off. Other names belong to other programs.
pub(super) fn check(variables: &[Variable], problems: &mut Vec<String>) {
    for Variable { name, value, .. } in variables {
        let Some(rest) = name.strip_prefix("QRON_").filter(|_| !name.starts_with(PREFIX)) else { continue };
        if OWN.contains(&rest) {
            if rest == "NO_MODEL" && truth(value).is_none() {
                problems.push(format!("variable {name} = {value:?}: use 1, true, yes or on; or 0, false, no or off"));
            }
            continue;
        }
        if let Some(meant) = meant(rest) {
            problems.push(format!("variable {name} names no setting: write it {meant}"));
        }
    }
}

/// The variable that `QRON_` and `rest` nearly names.
fn meant(rest: &str) -> Option<String> {
    if rest.contains("__") {
        return Some(format!("{PREFIX}{rest}, with two underscores after QRON"));
    }
    if rest.len() < MIN_CHARS {
        return None;
    }
    let settings = shape::settings();
    let named = settings.iter().find(|path| path.replace('.', "_").eq_ignore_ascii_case(rest));
    let setting = named.map(String::as_str).or_else(|| nearest(rest, settings.iter().map(String::as_str)));
    let of_setting = |path: &str| {
        format!(
            "{PREFIX}{}, with two underscores after QRON and between section and key",
            path.to_uppercase().replace('.', "__")
        )
    };
    setting.map(of_setting).or_else(|| nearest(rest, OWN).map(|name| format!("QRON_{name}")))
}
