//! Says a long reason once: the events of a failure repeat it, from the tool call to the end of the task.

use std::collections::HashSet;

/// Shortest reason that is said once, in bytes.
const LONG: usize = 60;
/// Most beginnings of reasons that are looked for in a message.
const MAX_PARTS: usize = 16;
/// Characters of a reason that are repeated, so that each line says something by itself.
const REPEATED: usize = 40;
/// What stands for the rest of a reason that was said.
const AS_ABOVE: &str = "… (as above)";
/// What comes before a reason.
const BEFORE: &str = ": ";

/// The reasons that were said.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    said: HashSet<String>,
}

impl Reasons {
    /// `message`, with the beginning alone of a long reason at its end that was said before, here or earlier in it.
    pub(super) fn once(&mut self, message: &str) -> String {
        let ends = message.match_indices(BEFORE).map(|(at, before)| at + before.len()).take(MAX_PARTS);
        let mut parts = Vec::new();
        for begin in std::iter::once(0).chain(ends) {
            let (head, reason) = message.split_at(begin);
            if reason.len() < LONG {
                break;
            }
            if self.said.contains(reason) || head.contains(reason) {
                self.said.extend(parts);
                let begin: String = reason.chars().take(REPEATED).collect();
                return format!("{head}{}{AS_ABOVE}", begin.trim_end());
            }
            parts.push(reason.to_owned());
        }
        self.said.extend(parts);
        message.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_said_once() {
        let why = "\"apples\" is not understood; functions are: sqrt, cbrt, abs, round, floor, ceil, trunc, min, max";
        let mut reasons = Reasons::default();
        let first = format!("calculate failed (step b): invalid: cannot calculate: {why}");
        assert_eq!(reasons.once(&first), first);
        assert_eq!(
            reasons.once(&format!("step b failed: invalid: cannot calculate: {why}")),
            "step b failed: invalid: cannot calculate: \"apples\" is n… (as above)"
        );
        let begin = "\"apples\" is not understood; functions ar… (as above)";
        assert_eq!(reasons.once(&format!("the agent gave up: {why}")), format!("the agent gave up: {begin}"));
        assert_eq!(reasons.once(why), begin, "a line that says only that");
        let other = format!("another {why}");
        assert_eq!(reasons.once(&other), other, "another reason");
        let twice = format!("it failed: {why}, again; the answer: {why}, again");
        assert_eq!(reasons.once(&twice), twice.replace(&format!("answer: {why}, again"), &format!("answer: {begin}")));
        for short in ["completed", "step a failed: no such file", "step b failed: no such file", ""] {
            assert_eq!(reasons.once(short), short);
        }
    }
}
