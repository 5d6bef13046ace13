//! Limits on how many tasks of a concurrency key or an agent run at once, and how many start in a period.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::time::Timestamp;

/// One limit. An absent value means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    /// Most tasks that run at the same time, in all replicas together.
    #[serde(default)]
    pub max_running: Option<u32>,
    /// Most tasks started in each `per_s`, in all replicas together. After a pause, all of them may start at once;
    /// then they are spaced evenly.
    #[serde(default)]
    pub starts: Option<u32>,
    /// The period of `starts`, in seconds.
    #[serde(default = "a_minute")]
    pub per_s: u32,
}

const fn a_minute() -> u32 {
    60
}

/// Section `[limits]` of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Limits by concurrency key. A name that ends in `*` applies to every key that begins with it; the longest
    /// matching name wins. Each key has the limit for itself.
    pub keys: BTreeMap<String, Limit>,
    /// By name of the agent.
    pub agents: BTreeMap<String, Limit>,
    /// By user, with names as for keys.
    #[serde(default)]
    pub users: BTreeMap<String, UserLimit>,
}

/// Limit on how many tasks of one user may wait or run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserLimit {
    /// Most tasks of the user that have not ended. What is left out is not limited.
    #[serde(default)]
    pub max_queued: Option<u32>,
}

impl Limits {
    /// Whether a concurrency key or an agent has a limit, so that due tasks may have to wait.
    #[must_use]
    pub fn can_hold_tasks_back(&self) -> bool {
        !self.keys.is_empty() || !self.agents.is_empty()
    }

    /// The limit of a concurrency key.
    #[must_use]
    pub fn of_key(&self, key: &str) -> Option<&Limit> {
        longest_fit(&self.keys, key)
    }

    /// Most tasks of `user` that have not ended; `None` for any number.
    #[must_use]
    pub fn max_queued_of(&self, user: &str) -> Option<u32> {
        longest_fit(&self.users, user)?.max_queued
    }

    /// The limit of an agent.
    #[must_use]
    pub fn of_agent(&self, name: &str) -> Option<&Limit> {
        self.agents.get(name)
    }
}

/// The entry with the name `key`, or with the longest name that ends in `*` and begins `key`.
fn longest_fit<'a, T>(limits: &'a BTreeMap<String, T>, key: &str) -> Option<&'a T> {
    limits.get(key).or_else(|| {
        let fits = |name: &&String| name.strip_suffix('*').is_some_and(|start| key.starts_with(start));
        limits.keys().filter(fits).max_by_key(|name| name.len()).and_then(|name| limits.get(name))
    })
}

/// State of a start-rate limit: the time up to which starts are used up, in microseconds since the epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateAccount(pub i64);

/// Largest plausible error of the clock that wrote an account, in microseconds: a day.
const WRONG_CLOCK: i64 = 86_400_000_000;
/// The last millisecond that an account can hold in microseconds, with room for additions: the year 9999.
const LAST_MS: i64 = 253_402_300_799_999;

/// What [`RateAccount::take`] grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateGrant {
    /// Starts allowed now.
    pub starts: u32,
    /// The account after them.
    pub account: RateAccount,
    /// When the next start is allowed.
    pub next: Timestamp,
}

impl RateAccount {
    /// Takes up to `wanted` of `starts` in each `per_s` seconds (both at least 1). On average at most `starts` are
    /// granted per period, and at most twice as many in any one period.
    #[must_use]
    pub fn take(self, wanted: u32, starts: u32, per_s: u32, now: Timestamp) -> RateGrant {
        let now = now.as_millis().clamp(0, LAST_MS) * 1_000;
        let period = i64::from(per_s.max(1)) * 1_000_000;
        let each = (period / i64::from(starts.max(1))).max(1);
        // A time this far ahead comes from another client, not from a wrong clock, and would stop the fleet for ever.
        let known = if self.0 > now + period + WRONG_CLOCK { now } else { self.0 };
        let used_until = known.max(now);
        let free = u32::try_from((now + period - used_until) / each).unwrap_or(0);
        let taken = wanted.min(free).min(starts);
        let account = used_until + i64::from(taken) * each;
        let next = (account + each - period).max(now);
        // Rounded up, so that the start is allowed once this time has come.
        RateGrant { starts: taken, account: Self(account), next: Timestamp::from_millis(next.div_euclid(1_000) + 1) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_name_that_fits_holds() {
        let limit = |max| Limit { max_running: Some(max), ..Limit::default() };
        let names = [("*", 1), ("team-*", 2), ("team-a-*", 3), ("team-a-x", 4)];
        let limits =
            Limits { keys: names.map(|(name, max)| (name.to_owned(), limit(max))).into(), ..Limits::default() };
        for (key, max) in [("other", 1), ("team-b", 2), ("team-a-y", 3), ("team-a-x", 4)] {
            assert_eq!(limits.of_key(key), Some(&limit(max)), "{key}");
        }
        assert_eq!(Limits::default().of_key("x"), None);
    }

    #[test]
    fn users_have_a_queue_of_their_own_length() {
        let queue = |max| UserLimit { max_queued: max };
        let names = [("*", Some(100)), ("bot-*", Some(5)), ("bot-free", None)];
        let limits =
            Limits { users: names.map(|(name, max)| (name.to_owned(), queue(max))).into(), ..Limits::default() };
        for (user, max) in [("alice", Some(100)), ("bot-1", Some(5)), ("bot-free", None)] {
            assert_eq!(limits.max_queued_of(user), max, "{user}");
        }
        assert_eq!(Limits::default().max_queued_of("alice"), None);
        assert!(!limits.can_hold_tasks_back(), "what waits in a queue is due all the same");
    }

    #[test]
    fn starts_come_at_once_after_a_pause_and_then_evenly() {
        let at = |ms: i64| Timestamp::from_millis(1_000_000 + ms);
        let first = RateAccount::default().take(100, 10, 60, at(0));
        assert_eq!((first.starts, first.next), (10, at(6_001)));
        assert_eq!(first.account.take(5, 10, 60, at(5_999)).starts, 0);
        let second = first.account.take(5, 10, 60, first.next);
        assert_eq!(second.starts, 1);
        assert_eq!(second.account.take(100, 10, 60, at(1_000_000)).starts, 10);
        let clock_set_back = second.account.take(5, 10, 60, at(-100_000));
        assert_eq!(clock_set_back.starts, 0, "it waits rather than allowing more");
    }

    #[test]
    fn an_account_that_no_clock_wrote_stops_nothing_and_overflows_nothing() {
        let now = Timestamp::from_millis(1_767_225_600_000);
        for account in [i64::MAX, i64::MAX - 1, i64::MIN, -1, 0, 1 << 62] {
            assert_eq!(RateAccount(account).take(100, 10, 60, now).starts, 10, "{account}");
        }
        let ahead = RateAccount((1_767_225_600_000 + 3_600_000) * 1_000).take(100, 10, 60, now);
        assert_eq!(ahead.starts, 0, "a clock that is an hour ahead");
        for now in [i64::MIN, -1, 0, i64::MAX] {
            let allowed = RateAccount(i64::MAX).take(u32::MAX, u32::MAX, u32::MAX, Timestamp::from_millis(now));
            assert!(allowed.account.0 >= 0, "{now}: {allowed:?}");
        }
    }

    #[test]
    fn in_the_long_run_no_more_than_the_rate_is_allowed() {
        let (mut account, mut total) = (RateAccount::default(), 0);
        for second in 0..600 {
            let allowed = account.take(3, 7, 10, Timestamp::from_millis(1_000_000 + second * 1_000));
            account = allowed.account;
            total += allowed.starts;
        }
        assert!((420..=427).contains(&total), "{total}");
    }
}
