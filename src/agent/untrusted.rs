//! Whether a run read anything that others may have written.

use std::collections::BTreeSet;

use crate::domain::task::Task;

/// Tools that give back nothing but what the run put into them. Every other tool, also one that this list does not know, may
/// read what others wrote: pages, files, artifacts, shared state, rows.
const READ_NOTHING: [&str; 5] = ["calculate", "create_task", "save_artifact", "set_state", "write_file"];

/// Whether a run of `task` that called these tools read anything that others may have written; `None` stands for calls that are
/// not known.
pub(super) fn reads_untrusted(task: &Task, called: Option<&BTreeSet<String>>) -> bool {
    let is_given = !task.spec.depends_on.is_empty()
        || task.spec.parent.is_some()
        || task.spec.lineage.handover.is_some()
        || !crate::domain::files::TaskFile::named_in(&task.spec.context).is_empty();
    is_given || called.is_none_or(|called| called.iter().any(|tool| !READ_NOTHING.contains(&tool.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::id::TaskId;
    use crate::domain::time::Timestamp;

    #[test]
    fn every_tool_reads_what_others_wrote_but_those_that_are_known_not_to() {
        let task = Task::new(TaskId::Number(1), "g", Timestamp::default());
        let reads =
            |task: &Task, tools: &[&str]| reads_untrusted(task, Some(&tools.iter().map(ToString::to_string).collect()));
        assert!(!reads(&task, &[]));
        assert!(!reads(&task, &["calculate", "save_artifact"]));
        for tool in ["http_request", "read_file", "read_artifact", "get_state", "sql_query", "a_new_one"] {
            assert!(reads(&task, &["calculate", tool]), "{tool}");
        }
        assert!(reads_untrusted(&task, None));
        let child = task.clone().with(|task| task.spec.parent = Some(TaskId::Number(2)));
        assert!(reads(&child, &[]));
        let waiting = task.with(|task| task.spec.depends_on = vec![TaskId::Number(2)]);
        assert!(reads(&waiting, &[]));
    }
}
