//! Schemas of the values that no struct describes: words with their meanings, ids, times, lengths of time, plans.
//!
//! A schema of words is made from a total match, so that a word without a meaning does not compile, and each word is written as serde
//! writes it.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, SchemaType, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::views::agents::Health as AgentHealth;
use crate::domain::adoption::AdoptionState;
use crate::domain::approval::{ApprovalOutcome, ApprovalRequirement};
use crate::domain::attempt::{AttemptStatus, StepStatus};
use crate::domain::dependency::OnDependencyFailure;
use crate::domain::event::Level as EventLevel;
use crate::domain::failure::{BudgetLimit, FailureClass};
use crate::domain::id::TaskId;
use crate::domain::pause::PauseOutcome;
use crate::domain::plan::{Plan, PlanStep};
use crate::domain::schedule::zone::Zone;
use crate::domain::schedule::{CatchUp, Overlap};
use crate::domain::task::TaskStatus;
use crate::domain::tool::Effect as ToolEffect;
use crate::domain::unique::UniqueFor;

pub(super) type AnySchema = RefOr<Schema>;

/// A UUID as qron writes it, or a number that its inserter chose.
const ID_PATTERN: &str = "^([0-9]{1,20}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})$";

/// Describes an enum of words: `words!(Type, "what a value says", { Variant => "what it means", … })`.
macro_rules! words {
    ($word:ident, $description:literal, { $($variant:ident => $meaning:literal),+ $(,)? }) => {
        impl ::utoipa::PartialSchema for $word {
            fn schema() -> $crate::api::schemas::AnySchema {
                const fn meaning(word: $word) -> &'static str {
                    match word {
                        $($word::$variant => $meaning),+
                    }
                }
                let words = [$($word::$variant),+];
                let words = words.map(|word| ($crate::api::schemas::text_of(word), meaning(word)));
                $crate::api::schemas::words_of($description, words)
            }
        }

        impl ::utoipa::ToSchema for $word {
            fn name() -> ::std::borrow::Cow<'static, str> {
                ::std::borrow::Cow::Borrowed(stringify!($word))
            }
        }
    };
}
pub(super) use words;

/// A word as serde writes it.
pub(super) fn text_of(word: impl Serialize) -> String {
    let text = serde_json::to_value(word).ok();
    text.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A text that is one of `words`, which are listed with their meanings.
pub(super) fn words_of<const N: usize>(description: &str, words: [(String, &str); N]) -> AnySchema {
    let meanings: Vec<String> = words.iter().map(|(word, meaning)| format!("\n- `{word}`: {meaning}")).collect();
    let description = format!("{description}\n{}", meanings.concat());
    let words = words.map(|(word, _)| word);
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some(words)).description(Some(description)).into()
}

words!(TaskStatus, "Status of a task. A task in the last five has ended.", {
    Waiting => "it waits for other tasks",
    Pending => "it runs as soon as its `run_at` has come and an agent has room",
    Running => "an agent carries it out",
    AwaitingApproval => "it waits until a person approves",
    Completed => "it achieved its goal; `result` says how",
    Failed => "it failed for good; `error` says why, and it has a dead letter",
    Cancelled => "a person or a program cancelled it",
    Blocked => "a task that it depends on did not complete",
    Skipped => "a firing of a schedule that did not run, because it was missed or would have overlapped",
});
words!(OnDependencyFailure, "What a task does when a task that it depends on ends without completing.", {
    Block => "it is blocked, and so are the tasks that depend on it",
    Continue => "it runs once all tasks that it depends on have ended, however they ended",
});
words!(ApprovalRequirement, "Whether a person must approve first.", {
    None => "no",
    Required => "yes",
});
words!(ApprovalOutcome, "How a question was decided.", {
    Approved => "a person approved",
    Denied => "a person denied",
    Expired => "nobody decided in time, which counts as denied",
});
words!(AttemptStatus, "How an attempt ended, or that it has not.", {
    Running => "it is under way, or its process ended before it could record an end",
    Completed => "the task completed",
    Failed => "it failed; the task is tried again or goes to the dead letters",
    Released => "its replica shut down and released the task",
    Postponed => "no model was usable; a later attempt continues where it ended",
    AwaitingApproval => "it stopped at a call that a person must approve; a later attempt continues there",
    AwaitingTasks => "it waits for tasks that carry out its steps; a later attempt continues there",
    Cancelled => "the task was cancelled",
    Lost => "its replica had lost the task to another replica, so its outcome does not count",
});
words!(StepStatus, "Status of a step.", {
    Pending => "it has not begun",
    Running => "it is under way, or was when its run ended",
    Done => "it completed",
    Failed => "it failed",
    Blocked => "a step that it depends on failed",
});
words!(FailureClass, "Kind of a failure, which decides whether the task is tried again.", {
    Transient => "the network, a busy server or a lost connection; the next try will probably succeed",
    RateLimited => "a server answered that too many requests were made",
    Timeout => "a time limit ran out",
    Unavailable => "the model cannot be used now; the failure costs the task no attempt",
    Invalid => "the input is wrong: bad arguments, an invalid plan, an unreadable task",
    Permanent => "a server refused for good, or the agent declared that the goal cannot be reached",
    BudgetExceeded => "a budget of the agent ran out: steps, model calls, tokens, cost or time",
    Crashed => "the process that ran the task ended without recording an outcome",
    Cancelled => "a person or a program cancelled the task",
});
words!(BudgetLimit, "Limit of a budget that ended a run.", {
    Steps => "steps started",
    ModelCalls => "calls of the model",
    Tokens => "tokens of questions and answers together",
    Cost => "cost in US dollars",
    Turns => "turns of the model within one step",
    Time => "time at work",
    Tree => "what a task and all tasks that it created may spend together",
});
words!(EventLevel, "How much attention an event deserves.", {
    Info => "the normal course of things",
    Warn => "something that may need attention",
    Error => "something failed for good",
});
words!(Overlap, "What a firing does while the task of an earlier firing has not ended.", {
    Skip => "it is skipped and recorded",
    Queue => "it waits until the earlier tasks have ended",
    Allow => "it runs beside them",
    CancelPrevious => "the earlier tasks are cancelled, and it starts when they have ended",
});
words!(CatchUp, "What becomes of firings that were missed while no replica was running.", {
    None => "they are recorded as skipped",
    Latest => "the latest one fires, the others are recorded as skipped",
    All => "those within the catch-up window fire, the oldest first; the others are recorded as skipped",
});
words!(PauseOutcome, "What a request to pause changed.", {
    Paused => "it is paused from now on",
    AlreadyPaused => "it was paused already; nothing changed",
    NoteChanged => "it was paused already; its note is new",
});
words!(AdoptionState, "Whether a schedule has a plan that its runs begin with.", {
    Learning => "too few runs succeeded with one plan",
    Adopted => "two runs that succeeded made the plan",
    Pinned => "a person pinned the plan",
    SetAside => "a run that began with the plan had to make a new one; two more successes are needed",
});
words!(AgentHealth, "Whether an agent takes tasks.", {
    Ok => "it does",
    Paused => "a person has paused it: it finishes its running tasks and takes no more",
    Draining => "its replica is shutting down: it finishes its running tasks and takes no more",
    Silent => "its replica has sent no heartbeat for longer than the lease, so its tasks go to other replicas",
});
words!(ToolEffect, "What a tool can change.", {
    Read => "nothing: it only reads",
    Write => "what qron keeps: files of the task, state, artifacts, tasks",
    External => "something outside qron",
});

/// Gives a type the schema `$schema` under the name `$name`; `$inner` are types that the schema refers to.
macro_rules! named {
    ($type:ty, $name:literal, [$($inner:ty),*], $schema:expr) => {
        impl PartialSchema for $type {
            fn schema() -> AnySchema {
                $schema
            }
        }

        impl ToSchema for $type {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }

            fn schemas(schemas: &mut Vec<(String, AnySchema)>) {
                let inner: Vec<(String, AnySchema)> = vec![$((<$inner>::name().into_owned(), <$inner>::schema())),*];
                schemas.extend(inner);
                $(<$inner>::schemas(schemas);)*
            }
        }
    };
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}

named!(
    TaskId,
    "TaskId",
    [],
    text()
        .pattern(Some(ID_PATTERN))
        .description(Some("Id of a task: a UUID, or the digits of a number that its inserter chose."))
        .examples(["0195f3c1-7c1e-7d10-9d4b-1f6f0c1a2b3c"])
        .into()
);

/// The id that a request chooses for a task.
pub(super) struct NewTaskId;
named!(
    NewTaskId,
    "NewTaskId",
    [TaskId],
    OneOfBuilder::new()
        .item(reference::<TaskId>())
        .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)))
        .description(Some("Id for a new task: a UUID, or an unsigned number as a number or as its digits."))
        .into()
);

/// A time as a request may write it.
pub(super) struct TimeInput;
named!(
    TimeInput,
    "TimeInput",
    [],
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Number]))
        .description(Some(
            "A time: RFC 3339 (`2026-12-01T09:00:00Z`), a time or a day without an offset, which is on the wall clock of the zone \
             (`2026-12-01 09:00`, `2026-12-01`), or seconds or milliseconds since 1970. Years 1970 to 9999."
        ))
        .examples(["2026-12-01T09:00:00Z"])
        .into()
);

/// A length of time as a request may write it.
pub(super) struct LengthInput;
named!(
    LengthInput,
    "LengthInput",
    [],
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
        .description(Some(
            "A length of time in whole seconds: a number of seconds, or text such as `90s`, `15m`, `1h30m`, `2d`."
        ))
        .examples(["15m"])
        .into()
);

named!(
    UniqueFor,
    "UniqueFor",
    [],
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Integer]))
        .pattern(Some("^(alive|forever|[0-9]+[smhd]?)$"))
        .description(Some(
            "How long a task holds its unique key: `alive` (until it has ended), `forever` (as long as it is stored), or a period from its \
             submission: a number of seconds, or text such as `90s`, `15m`, `12h`, `7d`."
        ))
        .examples(["12h"])
        .into()
);

named!(
    Zone,
    "Zone",
    [],
    text()
        .description(Some("A time zone by its name in the IANA database, such as `Europe/Berlin` or `UTC`."))
        .examples(["Europe/Berlin"])
        .into()
);

/// A plan as a request may write it.
pub(super) struct PlanInput;
named!(
    PlanInput,
    "PlanInput",
    [Plan, PlanStep],
    OneOfBuilder::new()
        .item(reference::<Plan>())
        .item(ArrayBuilder::new().items(reference::<PlanStep>()))
        .description(Some("A plan, or the list of its steps alone."))
        .into()
);
