//! The zone data of this machine: used when they are newer than those compiled in.
//!
//! They are looked for in `TZDIR`, then where systems keep them. Their version is in their file `tzdata.zi` or `+VERSION`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::domain::schedule::zone::data::ZoneData;
use crate::domain::time::Timestamp;

/// Where systems keep their zone data.
const FOLDERS: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/var/db/timezone/zoneinfo"];

/// Uses the zone data of the machine when they are newer than those compiled in; once for each process.
pub fn install() {
    let Some((folder, version)) = newest(std::env::var_os("TZDIR"), &FOLDERS) else { return };
    if version.as_str() <= ZoneData::COMPILED || version == ZoneData::version() {
        return;
    }
    let mut data = ZoneData::new(&version);
    for name in ZoneData::names() {
        let read = fs::read(folder.join(name)).map_err(|error| error.to_string());
        if let Err(error) = read.and_then(|file| data.add(name, &file)) {
            tracing::debug!(zone = name, folder = %folder.display(), %error, "the zone keeps its compiled data");
        }
    }
    data.install();
}

/// The folder with the newest data, and their version.
fn newest(own: Option<OsString>, folders: &[&str]) -> Option<(PathBuf, String)> {
    let own = own.filter(|folder| !folder.is_empty()).map(PathBuf::from);
    let folders = own.into_iter().chain(folders.iter().map(PathBuf::from));
    let versioned = folders.filter_map(|folder| version_of(&folder).map(|version| (folder, version)));
    versioned.reduce(|best, other| if other.1 > best.1 { other } else { best })
}

/// Version of the data in `folder`, such as `2026f`.
fn version_of(folder: &Path) -> Option<String> {
    let first_line = |name: &str| Some(fs::read_to_string(folder.join(name)).ok()?.lines().next()?.to_owned());
    let version = first_line("tzdata.zi")
        .and_then(|line| Some(line.strip_prefix("# version ")?.to_owned()))
        .or_else(|| first_line("+VERSION"))?;
    let version = version.trim();
    let is_one =
        version.len() >= 5 && year_of(version).is_some() && version[4..].bytes().all(|b| b.is_ascii_lowercase());
    is_one.then(|| version.to_owned())
}

fn year_of(version: &str) -> Option<u16> {
    version.get(..4)?.parse().ok()
}

/// What to do when zone data of this version are old at `now`: some government changes its clocks each year.
#[must_use]
pub fn advice(version: &str, now: Timestamp) -> Option<String> {
    let year = year_of(version)?;
    let month: String = now.to_rfc3339().chars().take(7).collect();
    (month.as_str() >= format!("{}-07", year + 1).as_str()).then(|| {
        format!(
            "the zone data {version} are old: times in zones other than UTC may be an hour off; update the package tzdata, or set TZDIR"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_data_are_found_by_their_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let place = |name: &str, file: &str, content: &str| {
            let place = folder.path().join(name);
            fs::create_dir_all(&place).expect("a folder");
            fs::write(place.join(file), content).expect("a file");
            place.to_string_lossy().into_owned()
        };
        let debian = place("debian", "tzdata.zi", "# version 2025b\n# redo\n");
        let mac = place("mac", "+VERSION", "2026c\n");
        let odd = place("odd", "+VERSION", "9 tails");
        let own = place("own", "tzdata.zi", "# version 2026f\n");
        let found =
            |own: Option<&str>, folders: &[&str]| newest(own.map(OsString::from), folders).map(|(_, version)| version);
        assert_eq!(found(None, &[&debian, &mac, &odd]).as_deref(), Some("2026c"));
        assert_eq!(found(Some(&own), &[&debian, &mac]).as_deref(), Some("2026f"));
        assert_eq!(found(Some(""), &[&debian]).as_deref(), Some("2025b"));
        assert_eq!(found(None, &[&odd, "/does/not/exist"]), None);
    }

    #[test]
    fn data_are_old_after_a_year() {
        let at = |month: u64| {
            Timestamp::from_millis(1_767_225_600_000 + i64::try_from(month * 31 * 86_400_000).expect("small"))
        };
        assert_eq!((advice("2026a", at(10)), advice("2025b", at(3))), (None, None));
        assert!(advice("2025b", at(10)).expect("old").contains("2025b"));
        assert!(advice("2024a", at(0)).is_some());
    }
}
