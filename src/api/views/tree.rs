//! The tree of a task in answers of the API.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::host::ANY_HOST;
use crate::domain::id::TaskId;
use crate::domain::tree::{Lineage, Rights};

/// The tree that a task belongs to, and the rights of the task.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[schema(as = TaskTree)]
pub struct TreeView {
    /// The first task of the tree; absent when it is this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<TaskId>,
    /// Generations above it.
    pub generation: u32,
    /// Tools that it may use at most; `*` for all that its agent may use.
    pub tools: Vec<String>,
    /// Tools whose calls a person must agree to, whatever its agent says; `*` for all.
    pub needs_approval: Vec<String>,
    /// Agents that it may run as and create tasks for; `*` for all.
    pub delegates_to: Vec<String>,
    /// Hosts that its tools may reach; `*` for all that those of its agent may.
    #[serde(default = "all")]
    pub egress: Vec<String>,
    /// Outputs of the task that created it, which its goal and plan refer to as `${deps.parent.…}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub handed_over: Map<String, Value>,
}

fn all() -> Vec<String> {
    vec![ANY_HOST.to_owned()]
}

impl TreeView {
    pub(super) fn new(lineage: Lineage) -> Option<Self> {
        if lineage == Lineage::default() {
            return None;
        }
        let Lineage { root, generation, rights, handover, step: _ } = lineage;
        let Rights { tools, needs_approval, delegates_to, egress } = rights;
        let handed_over = handover.map(|handover| handover.values).unwrap_or_default();
        Some(Self { root, generation, tools, needs_approval, delegates_to, egress, handed_over })
    }

    /// The tree in a line of text.
    #[must_use]
    pub fn text(&self) -> String {
        let list = |names: &[String], none: &str| match names {
            [] => none.to_owned(),
            [all] if all == "*" => "all that its agent may use".to_owned(),
            names => names.join(", "),
        };
        let root = self.root.map_or_else(|| "its own".to_owned(), |root| format!("of task {root}"));
        let tools = list(&self.tools, "none");
        let approval = match self.needs_approval.as_slice() {
            [] => String::new(),
            [all] if all == "*" => "; a person must approve each call".to_owned(),
            names => format!("; a person must approve {}", names.join(", ")),
        };
        let hosts = match self.egress.as_slice() {
            [all] if all == ANY_HOST => String::new(),
            hosts => format!("; hosts: {}", list(hosts, "none")),
        };
        format!("{root}, generation {}; tools: {tools}{hosts}{approval}", self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_described_in_a_line() {
        assert!(TreeView::new(Lineage::default()).is_none());
        let rights =
            Rights { tools: vec!["a".into(), "b".into()], needs_approval: vec!["b".into()], ..Rights::default() };
        let lineage = Lineage { root: Some(TaskId::Number(7)), generation: 2, rights, ..Lineage::default() };
        let text = TreeView::new(lineage).expect("a tree").text();
        assert_eq!(text, "of task 7, generation 2; tools: a, b; a person must approve b");
    }
}
