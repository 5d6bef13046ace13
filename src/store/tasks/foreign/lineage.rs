//! The tree of a task, as its point tells of it.

use serde_json::Value;

use super::Reader;
use crate::domain::failure::Failure;
use crate::domain::step_origin::StepOrigin;
use crate::domain::tree::{Lineage, Rights};
use crate::store::tasks::fields::{TREE_GENERATION, TREE_HANDOVER, TREE_RIGHTS, TREE_ROOT, TREE_STEP};

impl Reader<'_> {
    /// The tree that qron's own fields tell of, under exactly these names. What they say of a point of another client counts
    /// where admission can confirm it, or where it takes rights away; rights that cannot be read are no rights to ignore.
    pub(super) fn lineage(&self) -> Result<Lineage, Failure> {
        let field = |key: &str| self.payload.get(key).filter(|value| !value.is_null());
        let rights = match field(TREE_RIGHTS) {
            None => Rights::default(),
            Some(value) => self.rights(value)?,
        };
        // One that cannot be read is one of which nothing is known.
        let step = field(TREE_STEP)
            .map(|value| serde_json::from_value(value.clone()).unwrap_or_else(|_| StepOrigin::unknown()));
        let generation = field(TREE_GENERATION).and_then(Value::as_u64).unwrap_or(0);
        Ok(Lineage {
            root: field(TREE_ROOT).and_then(Value::as_str).and_then(|id| id.parse().ok()),
            generation: u32::try_from(generation).unwrap_or(u32::MAX),
            rights,
            handover: field(TREE_HANDOVER).and_then(|value| serde_json::from_value(value.clone()).ok()),
            step,
        })
    }

    fn rights(&self, value: &Value) -> Result<Rights, Failure> {
        if let Some(rights) = Rights::read(value) {
            return Ok(rights);
        }
        let read = self.refuse(TREE_RIGHTS, value, "lists of names: tools, needs_approval, delegates_to, egress")?;
        Ok(read.unwrap_or_else(Rights::none))
    }
}
