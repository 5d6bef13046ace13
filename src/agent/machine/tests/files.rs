//! Files that came with the task, and references to their texts.

use super::*;

fn context() -> Map<String, Value> {
    let file = |name: &str, bytes: u64| json!({"name": name, "bytes": bytes, "media_type": "text/csv"});
    Map::from_iter([("files".to_owned(), json!([file("sales.csv", 9), file("large.csv", 3_000_000)]))])
}

fn given(steps: &Value) -> Machine {
    begin(Setup { context: context(), ..with_plan(steps) })
}

fn sending(text: &str) -> Value {
    json!({"id": "s", "tool": "send", "arguments": {"text": text}})
}

#[test]
fn a_reference_to_a_file_becomes_its_text() {
    let mut machine = given(&json!([sending("It says: ${files.sales.csv}")]));
    let Action::Load(loads) = machine.next_action() else { panic!("the file must be read") };
    assert_eq!(loads, [Load { step: "files.sales.csv".to_owned(), artifact: "sales.csv".to_owned(), is_file: true }]);
    machine.loaded("files.sales.csv", Ok(json!("a;b\n1;2\n"))).expect("in flight");
    assert_eq!(tool_calls(&mut machine)[0].arguments["text"], "It says: a;b\n1;2\n");
    assert!(!machine.state().expect("a state").to_string().contains("1;2"), "the text is no part of the state");
}

#[test]
fn an_instruction_sees_the_file_as_data() {
    let mut machine = given(&json!([{"id": "s", "instruction": "Sum up ${files.sales.csv}"}]));
    machine.setup.tools.push(tool("read_artifact", true));
    assert!(matches!(machine.next_action(), Action::Load(_)));
    machine.loaded("files.sales.csv", Ok(json!("x".repeat(50_000)))).expect("in flight");
    let said = said(&model_call(&mut machine));
    assert!(said.contains("<data name=\"${files.sales.csv}\">\nxxx"), "{said}");
    assert!(said.contains("read_artifact with name \"sales.csv\" reads the rest"), "a cut block names the artifact");
    assert!(said.contains("\"bytes\":9") && said.contains("${files.NAME}"), "the model knows the files: {said}");
}

#[test]
fn a_file_that_cannot_be_put_in_fails_its_step_with_the_way_out() {
    for (text, parts) in [
        ("${files.large.csv}", &["large.csv", "3000000 bytes", "2097152", "query_table"][..]),
        ("${files.other.csv}", &["${files.other.csv}", "sales.csv, large.csv"]),
        ("${files}", &["${files}"]),
    ] {
        let failure = ended(&mut given(&json!([sending(text)]))).expect_err(text);
        assert!(parts.iter().all(|part| failure.message.contains(part)), "{text}: {failure}");
    }
    let mut machine = given(&json!([sending("${files.sales.csv}")]));
    assert!(matches!(machine.next_action(), Action::Load(_)));
    machine.loaded("files.sales.csv", Err(Failure::invalid("the file \"sales.csv\" is no text"))).expect("in flight");
    assert!(ended(&mut machine).expect_err("no text").message.contains("is no text"));
}

#[test]
fn a_step_may_be_called_files() {
    let plan = json!([step("files", "look", &[]), sending("${files.sales.csv}")]);
    let mut machine = given(&plan);
    assert_eq!(ids(&tool_calls(&mut machine)), ["files#1"]);
    returned(&mut machine, "files#1", Ok(json!({"sales": {"csv": "of the step"}})));
    assert_eq!(tool_calls(&mut machine)[0].arguments["text"], "of the step");
}

#[test]
fn a_plan_of_the_model_may_refer_to_files_that_are_there() {
    let plan = |text: &str| reply(json!({"steps": [sending(text)]}));
    let mut machine = begin(Setup { context: context(), ..setup() });
    answer(&mut machine, "plan", plan("${files.other.csv}"));
    let call = answer(&mut machine, "plan", plan("${files.sales.csv}"));
    assert!(said(&call).contains("names no file of the task, which has sales.csv, large.csv"), "{}", said(&call));
    assert!(matches!(machine.next_action(), Action::Load(_)));
}
