//! Where the values of a run came from, and what policy says of the calls that depend on them.
//!
//! Each output, each conversation and each plan carries its [`Provenance`] in the state of the run, so that it survives a
//! restart. A conversation is as untrusted as all that it holds, and so is every call that is made in it.

use serde_json::{Map, Value};

use super::Machine;
use super::state::{Phase, Status, Step};
use crate::domain::files::{FILES, file_in};
use crate::domain::handover::PARENT;
use crate::domain::host::{Place, Redirects, named_in};
use crate::domain::plan::{DEPS, collect_texts, is_one_reference, referenced, resolve, target};
use crate::domain::provenance::{PeoplesWords, Proposal, Provenance, Verdict};
use crate::domain::step_origin::StepOrigin;
use crate::domain::tool::{Effect, ToolCall, ToolResult, as_artifact_output};

/// Arguments that say where a result comes from.
const SOURCE_ARGUMENTS: [&str; 5] = ["url", "name", "artifact", "path", "table"];
/// Most places of a step that are searched in all words of people, which may be long.
const MAX_SEARCHED: usize = 8;
/// The tool that writes into folders of people, where these are open for writing.
const WRITE_FILE: &str = "write_file";

impl Machine {
    /// What people have written for this run.
    fn people(&self) -> PeoplesWords<'_> {
        let setup = &self.setup;
        if let Some(origin) = &setup.step_origin {
            return PeoplesWords { texts: origin.named.iter().map(String::as_str).collect(), egress: &origin.egress };
        }
        let mut texts = vec![setup.goal.as_str(), &setup.role, &setup.instructions];
        for step in setup.plan.iter().flat_map(|plan| &plan.steps) {
            texts.extend(step.texts());
        }
        if !setup.is_child {
            setup.context.values().for_each(|value| collect_texts(value, &mut texts));
        }
        PeoplesWords { texts, egress: &setup.egress }
    }

    /// The places that stand in the words of people and look like hosts.
    pub(super) fn named_by_people(&self) -> Vec<Place> {
        named_in(self.people().texts)
    }

    /// Where step `index` comes from, for the task that carries it out. `named` are the places of [`Machine::named_by_people`].
    pub(super) fn origin_of(&self, index: usize, named: &[Place]) -> StepOrigin {
        let step = &self.state.steps[index];
        let people = self.people();
        // A host of one word cannot be told from other words of a goal, but the step may have it in an address.
        let of_step = named_in(step.plan.texts()).into_iter().filter(|place| !named.contains(place));
        let of_step = of_step.take(MAX_SEARCHED).filter(|place| people.name(place));
        StepOrigin {
            is_given: self.is_given(step),
            planned_from: self.provenance_of_plan_of(step),
            provenance: self.provenance_of(index),
            named: of_step.map(|place| place.address()).chain(named.iter().map(Place::address)).collect(),
            egress: people.named_hosts(),
            has_sent_composed: self.state.has_sent_composed,
        }
    }

    /// Where what came with the goal came from.
    fn provenance_of_given(&self) -> Provenance {
        let origin = self.setup.step_origin.as_ref();
        // It covers the handed-over values and the context.
        let mut provenance = origin.map(|origin| origin.provenance.clone()).unwrap_or_default();
        if self.setup.dependencies.keys().any(|id| origin.is_none() || id != PARENT) {
            provenance.add(&Provenance::of("the results of other tasks"));
        }
        if self.setup.is_child && origin.is_none() && !self.setup.context.is_empty() {
            provenance.add(&Provenance::of("the context that another task chose"));
        }
        provenance
    }

    /// Whether the run was given or may have read anything that others have written: a tool that brings such things may quote them
    /// in a failure, too.
    #[must_use]
    pub fn has_read_untrusted(&self) -> bool {
        let brings = |name: &str| self.tool(name).is_none_or(|tool| tool.untrusted);
        let has_read = |step: &Step| {
            let account = &step.account;
            !step.provenance.is_trusted()
                || account.more_calls > 0
                || account.calls.iter().any(|call| brings(&call.tool))
                || step.counted && step.plan.tool.as_deref().is_some_and(brings)
        };
        let mut steps = self.state.steps.iter().chain(&self.state.abandoned);
        !self.provenance_of_given().is_trusted() || steps.any(has_read)
    }

    /// Where that came from what the model sees when it makes a plan.
    pub(super) fn provenance_of_plan(&self) -> Provenance {
        let mut provenance = self.provenance_of_given();
        if matches!(self.state.phase, Phase::Replanning(_)) {
            let steps = self.state.steps.iter().chain(&self.state.abandoned);
            steps.filter(|step| step.has_ended()).for_each(|step| provenance.add(&step.provenance));
        }
        provenance
    }

    /// Where that came from what the author of the plan of `step` had seen.
    fn provenance_of_plan_of(&self, step: &Step) -> Provenance {
        if let Some(origin) = self.setup.step_origin.as_ref().filter(|_| self.is_of_task(step)) {
            return origin.planned_from.clone();
        }
        match self.state.planned_from.get(&step.revision) {
            // The only step of a run in turns is none of a model.
            _ if self.is_given(step) || self.takes_turns() => Provenance::default(),
            Some(seen) => seen.clone(),
            None => Provenance::unknown(),
        }
    }

    /// Whether a person wrote the plan that `step` belongs to.
    fn is_given(&self, step: &Step) -> bool {
        self.is_of_task(step) && self.setup.step_origin.as_ref().is_none_or(|origin| origin.is_given)
    }

    /// Whether `step` belongs to the plan of the task.
    fn is_of_task(&self, step: &Step) -> bool {
        step.revision == 0 && self.setup.plan.is_some()
    }

    /// What the next call of step `index` depends on: the conversation of its model, or the plan and the outputs that the step
    /// refers to.
    pub(super) fn provenance_of(&self, index: usize) -> Provenance {
        let step = &self.state.steps[index];
        if let Status::Acting(act) = &step.status {
            return act.provenance.clone();
        }
        let mut provenance = self.provenance_of_plan_of(step);
        let is_judged = step.plan.tool.is_none();
        if is_judged || self.setup.step_origin.is_some() {
            provenance.add(&self.provenance_of_given());
        }
        for reference in step.plan.texts().into_iter().flat_map(referenced) {
            provenance.add(&self.provenance_of_reference(reference));
        }
        // The model of a step is shown the outputs of all steps that it depends on.
        for dependency in step.plan.depends_on.iter().filter(|_| is_judged) {
            provenance.add(&self.provenance_of_reference(dependency));
        }
        provenance
    }

    fn provenance_of_reference(&self, reference: &str) -> Provenance {
        let id = reference.split('.').next().unwrap_or_default();
        match self.state.step(id) {
            Some(step) => step.provenance.clone(),
            None if self.is_handed_over(reference) => self.provenance_of_given(),
            None if id == DEPS => Provenance::of("the results of other tasks"),
            None if id == FILES => Provenance::of(format!("the file {}", file_in(reference).unwrap_or_default())),
            None => Provenance::default(),
        }
    }

    /// Whether `reference` is one to a value that came with a step of another task.
    fn is_handed_over(&self, reference: &str) -> bool {
        let mut parts = reference.split('.');
        self.setup.step_origin.is_some() && parts.next() == Some(DEPS) && parts.next() == Some(PARENT)
    }

    /// Remembers for the output or the failure of step `index` where it came from.
    pub(super) fn note_origin(&mut self, index: usize) {
        let provenance = self.provenance_of(index);
        let step = &mut self.state.steps[index];
        // What a tool brought is there already.
        step.provenance.add(&provenance);
    }

    /// Remembers where the result of the call of tool step `index` came from.
    pub(super) fn note_source(&mut self, index: usize, result: &ToolResult) {
        let step = &self.state.steps[index];
        let tool = step.plan.tool.clone().unwrap_or_default();
        let written = SOURCE_ARGUMENTS.iter().filter_map(|name| {
            let argument = step.plan.arguments.get(name)?;
            Some(((*name).to_owned(), resolve(argument, &self.targets()).unwrap_or_else(|_| argument.clone())))
        });
        let arguments = Value::Object(written.collect::<Map<_, _>>());
        let call = self.provenance_of(index);
        let source = self.source(&tool, &arguments, &call, result);
        let has_sent_composed = self.state.has_sent_composed;
        let step = &mut self.state.steps[index];
        step.provenance = source;
        // What qron says of a call that failed may repeat what the model wrote.
        step.gives_links &= !has_sent_composed && result.is_ok();
    }

    /// Remembers where the result of call `id` of a conversation came from, which is part of the conversation from now on.
    pub(super) fn note_source_of_call(&mut self, id: &str, result: &ToolResult) {
        let Some((index, call)) = self.state.steps.iter().enumerate().find_map(|(index, step)| {
            let Status::Acting(act) = &step.status else { return None };
            Some((index, act.calls.iter().find(|call| call.id == id)?.clone()))
        }) else {
            return;
        };
        let source = self.source(&call.tool, &call.arguments, &call.provenance, result);
        let has_sent_composed = self.state.has_sent_composed;
        if let Status::Acting(act) = &mut self.state.steps[index].status {
            act.provenance.add(&source);
            if let Some(call) = act.calls.iter_mut().find(|call| call.id == id) {
                call.gives_links &= !has_sent_composed && result.is_ok();
            }
        }
    }

    /// Where the result of a call came from, beside the values that the call depends on.
    fn source(&mut self, tool: &str, arguments: &Value, call: &Provenance, result: &ToolResult) -> Provenance {
        let Some(tool) = self.tool(tool) else { return Provenance::default() };
        if matches!(result, Err(failure) if !failure.is_quoting) {
            return Provenance::default();
        }
        let name = arguments.get("name").and_then(Value::as_str).filter(|_| tool.effect == Effect::Write);
        let source = Provenance::of_result(tool, arguments, call, &self.state.artifacts);
        // Its content is another one now.
        name.map(|name| self.state.artifacts.remove(name));
        if let Some(artifact) = result.as_ref().ok().and_then(as_artifact_output) {
            self.state.artifacts.insert(artifact.name.to_owned(), source.clone().and(call));
        }
        source
    }

    /// What policy says of `call` of step `index`, which depends on values of `provenance`.
    pub(super) fn verdict(&self, index: usize, call: &ToolCall, provenance: &Provenance) -> Verdict {
        self.judged(index, call, provenance, |proposal| {
            proposal.verdict(&self.people(), &|address| self.is_link(index, address))
        })
        .unwrap_or(Verdict::Allowed)
    }

    fn judged<T>(
        &self,
        index: usize,
        call: &ToolCall,
        provenance: &Provenance,
        judge: impl FnOnce(Proposal<'_>) -> T,
    ) -> Option<T> {
        let step = &self.state.steps[index];
        let tool = self.tool(&call.tool).filter(|_| !provenance.is_trusted())?;
        // What stands in a plan was written before there was anything to read, if that plan is trusted.
        let is_trusted = self.provenance_of_plan_of(step).is_trusted();
        let written =
            if step.plan.tool.is_some() { step.plan.arguments.get("url").and_then(Value::as_str) } else { None };
        let written = written.or(step.plan.instruction.as_deref()).filter(|_| is_trusted);
        let is_given = step.plan.tool.is_some() && self.is_given(step);
        let added_before = self.state.added_bytes;
        Some(judge(Proposal { tool, arguments: &call.arguments, provenance, is_given, written, added_before }))
    }

    /// Whether `address` stands as the target of a link in a page that this run has read, or in the field of an answer whose
    /// address the plan wants requested, whatever it is. Only answers count that may give links.
    fn is_link(&self, index: usize, address: &str) -> bool {
        let step = &self.state.steps[index];
        let link = format!("]({address})");
        let mut pages = self.state.steps.iter().filter(|step| self.is_page(step)).filter_map(Step::output);
        if step.plan.tool.is_some() {
            let written = step.plan.arguments.get("url").and_then(Value::as_str);
            let Some(written) = written.filter(|written| is_one_reference(written)) else { return false };
            let mut sources = referenced(written).into_iter().filter_map(|reference| self.source_step(reference));
            return self.provenance_of_plan_of(step).is_trusted()
                && (sources.any(|source| self.is_made_of_pages(source)) || pages.any(|page| holds(page, &link)));
        }
        if pages.any(|page| holds(page, &link)) {
            return true;
        }
        if let Status::Acting(act) = &step.status {
            let mut linking = act.linking.iter().filter_map(|place| act.messages.get(*place));
            if linking.any(|message| message.content().contains(&link)) {
                return true;
            }
        }
        // The whole of a long page stands in the state only while a step needs it.
        let targets = self.targets();
        let instruction = step.plan.instruction.as_deref().unwrap_or_default();
        let shown = referenced(instruction).into_iter().chain(step.plan.depends_on.iter().map(String::as_str));
        let of_pages = shown.filter(|reference| self.source_step(reference).is_some_and(|step| self.is_page(step)));
        of_pages.filter_map(|reference| target(reference, &targets)).any(|value| holds(value, &link))
    }

    /// Takes note of a call of step `index` that is about to be made; returns whether its answer may give links.
    ///
    /// Once something that a model composed has left the run, no answer that comes later gives links, whatever server it comes from: a
    /// server has several names, and others may show what it was told.
    pub(super) fn note_request(&mut self, index: usize, call: &ToolCall, provenance: &Provenance) -> bool {
        let publishes = self.setup.writes_to_people && call.tool == WRITE_FILE;
        let judged = self.judged(index, call, provenance, |proposal| {
            let (people, is_link) = (self.people(), |address: &str| self.is_link(index, address));
            (publishes || proposal.tells(&people, &is_link), proposal.adds(&people, &is_link))
        });
        let (tells, added) = judged.unwrap_or_default();
        self.state.has_sent_composed |= tells;
        self.state.added_bytes = self.state.added_bytes.saturating_add(added);
        !self.state.has_sent_composed && self.brings_pages(&call.tool)
    }

    /// The step that `reference` leads to.
    fn source_step(&self, reference: &str) -> Option<&Step> {
        self.state.step(reference.split('.').next()?)
    }

    /// Whether the output of `step` is what a server answered, and may give links.
    fn is_page(&self, step: &Step) -> bool {
        step.gives_links && step.plan.tool.as_deref().is_some_and(|tool| self.brings_pages(tool))
    }

    /// Whether it is that, or a tool took it from nothing else.
    fn is_made_of_pages(&self, step: &Step) -> bool {
        if step.plan.tool.as_deref().is_some_and(|tool| self.brings_pages(tool)) {
            return self.is_page(step);
        }
        let mut references = step.plan.texts().into_iter().flat_map(referenced).peekable();
        let is_of_page = |reference: &str| self.source_step(reference).is_some_and(|source| self.is_page(source));
        step.plan.tool.is_some() && references.peek().is_some() && references.all(is_of_page)
    }

    fn brings_pages(&self, tool: &str) -> bool {
        self.tool(tool).is_some_and(|tool| tool.untrusted && tool.effect == Effect::External)
    }

    /// The step that proposes `call`, and what the call depends on.
    fn proposed(&self, call: &ToolCall) -> Option<(usize, Provenance)> {
        self.state.steps.iter().enumerate().find_map(|(index, step)| match &step.status {
            Status::Calling { .. } => (step.call_id(1) == call.id).then(|| (index, self.provenance_of(index))),
            Status::Acting(act) => {
                let found = act.calls.iter().find(|asked| asked.id == call.id)?;
                Some((index, found.provenance.clone()))
            }
            _ => None,
        })
    }

    /// Why a person must approve `call`, when neither the agent nor the plan demands it.
    #[must_use]
    pub fn reason_to_ask(&self, call: &ToolCall) -> Option<String> {
        let (index, provenance) = self.proposed(call)?;
        match self.verdict(index, call, &provenance) {
            Verdict::Allowed => None,
            Verdict::NeedsApproval(reason) | Verdict::Refused(reason) => Some(reason),
        }
    }

    /// Where the request of `call` may be redirected to; `None` for anywhere.
    #[must_use]
    pub fn redirects_of(&self, call: &ToolCall) -> Option<Redirects> {
        let (index, provenance) = self.proposed(call)?;
        self.judged(index, call, &provenance, |proposal| {
            proposal.redirects(&self.people(), &|address| self.is_link(index, address))
        })?
    }
}

fn holds(value: &Value, text: &str) -> bool {
    match value {
        Value::String(there) => there.contains(text),
        Value::Array(items) => items.iter().any(|item| holds(item, text)),
        Value::Object(fields) => fields.values().any(|field| holds(field, text)),
        _ => false,
    }
}
