//! Which zone data are in use: those compiled in, or newer ones that this process found on its machine.

use std::collections::HashMap;
use std::sync::OnceLock;

use chrono_tz::{IANA_TZDB_VERSION, TZ_VARIANTS, Tz};
use jiff::Timestamp;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};

use super::Instants;

static INSTALLED: OnceLock<ZoneData> = OnceLock::new();

/// Zone data of another version than the one compiled in.
#[derive(Debug)]
pub struct ZoneData {
    version: String,
    rules: HashMap<&'static str, TimeZone>,
}

impl ZoneData {
    /// Version of the data compiled in, such as `2025b`.
    pub const COMPILED: &str = IANA_TZDB_VERSION;

    /// Data of this version, with no zone yet.
    #[must_use]
    pub fn new(version: &str) -> Self {
        Self { version: version.to_owned(), rules: HashMap::new() }
    }

    /// Names of all zones that can be used.
    pub fn names() -> impl Iterator<Item = &'static str> {
        TZ_VARIANTS.iter().map(|zone| zone.name())
    }

    /// Adds the zone called `name`, from a compiled file of the database (RFC 9636).
    ///
    /// # Errors
    /// Why the file cannot be read.
    pub fn add(&mut self, name: &'static str, file: &[u8]) -> Result<(), String> {
        let rules = TimeZone::tzif(name, file).map_err(|error| error.to_string())?;
        self.rules.insert(name, rules);
        Ok(())
    }

    /// Uses these data from now on, in the whole process; `false` when others are in use already. Zones that they lack
    /// keep the data compiled in.
    pub fn install(self) -> bool {
        INSTALLED.set(self).is_ok()
    }

    /// Version of the data in use.
    #[must_use]
    pub fn version() -> &'static str {
        INSTALLED.get().map_or(Self::COMPILED, |data| data.version.as_str())
    }
}

fn rules(zone: Tz) -> Option<&'static TimeZone> {
    INSTALLED.get()?.rules.get(zone.name())
}

/// Seconds that the wall clock is ahead of `utc`, by the installed data; `None` when they lack the zone.
pub(super) fn offset(zone: Tz, utc: i64) -> Option<i64> {
    let at = Timestamp::from_second(utc).ok()?;
    Some(i64::from(rules(zone)?.to_offset(at).seconds()))
}

/// What a wall-clock time stands for, by the installed data, with `gap` for one that is left out; `None` when they lack the
/// zone.
pub(super) fn instants(zone: Tz, wall: i64, gap: impl FnOnce() -> Instants) -> Option<Instants> {
    let shown = Offset::UTC.to_datetime(Timestamp::from_second(wall).ok()?);
    let utc = |offset: Offset| wall - i64::from(offset.seconds());
    Some(match rules(zone)?.to_ambiguous_timestamp(shown).offset() {
        AmbiguousOffset::Unambiguous { offset } => Instants::One(utc(offset)),
        AmbiguousOffset::Fold { before, after } => {
            let (one, other) = (utc(before), utc(after));
            Instants::Two(one.min(other), one.max(other))
        }
        AmbiguousOffset::Gap { .. } => gap(),
    })
}
