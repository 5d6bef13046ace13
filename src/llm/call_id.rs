//! Ids of tool calls that came without one.

use uuid::Uuid;

/// An id for a call that came without one: nine letters and digits, the only form that every server takes.
pub(super) fn fresh_id() -> String {
    Uuid::new_v4().simple().to_string().chars().take(9).collect()
}
