//! Keys of a task's context that tell the agent which firing of its schedule it carries out.

/// Key that holds the time of the firing.
pub const FIRE_TIME: &str = "fire_time";
/// Key that says which kind of late firing it is: [`CAUGHT_UP`] or [`BACKFILL`].
pub const FIRE_CAUSE: &str = "fire_cause";
/// Value of [`FIRE_CAUSE`] of a missed firing that was caught up with.
pub const CAUGHT_UP: &str = "caught_up";
/// Value of [`FIRE_CAUSE`] of a firing that a backfill requested.
pub const BACKFILL: &str = "backfill";
