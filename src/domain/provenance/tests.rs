use serde_json::json;

use super::*;

fn tool(name: &str, effect: Effect) -> ToolSpec {
    ToolSpec {
        name: name.to_owned(),
        description: String::new(),
        parameters: json!({"properties": {"method": {"default": "GET"}}}),
        output: json!(true),
        effect,
        idempotent: false,
        untrusted: true,
    }
}

/// The provenance of what `http_request` brought from `url`, which no untrusted value chose.
fn page(url: &str) -> Provenance {
    let http = tool("http_request", Effect::External);
    Provenance::of_result(&http, &json!({"url": url}), &Provenance::default(), &BTreeMap::new())
}

struct Case {
    provenance: Provenance,
    goal: &'static str,
    egress: Vec<String>,
    is_given: bool,
    written: Option<&'static str>,
    link: &'static str,
}

fn case(provenance: Provenance) -> Case {
    Case { provenance, goal: "Sum it up", egress: vec!["*".into()], is_given: false, written: None, link: "" }
}

impl Case {
    fn of(&self, tool: &ToolSpec, arguments: &Value) -> Verdict {
        let Self { provenance, is_given, written, link, .. } = self;
        let people = PeoplesWords { texts: vec![self.goal], egress: &self.egress };
        let proposal =
            Proposal { tool, arguments, provenance, is_given: *is_given, written: *written, added_before: 0 };
        proposal.verdict(&people, &|address| address == *link)
    }

    fn get(&self, url: &str) -> Verdict {
        self.of(&tool("http_request", Effect::External), &json!({"url": url}))
    }

    fn post(&self, url: &str) -> Verdict {
        self.of(&tool("http_request", Effect::External), &json!({"url": url, "method": "POST", "body": "x"}))
    }
}

fn asks(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::NeedsApproval(_))
}

fn is_refused(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused(_))
}

#[test]
fn without_untrusted_values_everything_is_allowed() {
    let case = case(Provenance::default());
    assert_eq!((case.get("https://a.example/"), case.post("https://a.example/")), (Verdict::Allowed, Verdict::Allowed));
    assert_eq!(case.of(&tool(CREATE_TASK, Effect::Write), &json!({"goal": "x"})), Verdict::Allowed);
}

#[test]
fn what_changes_something_goes_to_places_that_a_person_named() {
    let read = || case(page("https://wiki.example/x"));
    let verdict = read().post("https://evil.example/collect");
    let reason = "its arguments come from https://wiki.example, and nobody named the host evil.example";
    assert_eq!(verdict, Verdict::NeedsApproval(reason.to_owned()));
    assert!(asks(&read().post("https://wiki.example/edit")), "to read there was no permission to write there");
    let goal = Case { goal: "Send it to https://hooks.example/1", ..read() };
    assert_eq!(goal.post("https://hooks.example/2"), Verdict::Allowed);
    let egress = Case { egress: vec!["*.example.org".into()], ..read() };
    assert_eq!(egress.post("https://api.example.org/"), Verdict::Allowed);
    assert!(asks(&egress.post("https://example.org.evil.example/")));
    // A host that the model wrote before it had read anything is no word of a person.
    assert!(asks(&Case { written: Some("https://api.example/"), ..read() }.post("https://api.example/")));
    let sends = json!({"url": "https://wiki.example/", "json": {"a": 1}});
    assert!(asks(&read().of(&tool("http_request", Effect::External), &sends)), "a GET with a body");
    for sends in [json!({"url": "https://wiki.example/", "method": "get"}), json!({})] {
        assert!(asks(&read().of(&tool("mail", Effect::External), &sends)) == sends["url"].is_string());
    }
}

#[test]
fn what_has_no_address_and_new_tasks_are_left_to_the_plans_of_people() {
    let read = || case(page("https://wiki.example/x"));
    let send = ToolSpec { parameters: json!({}), ..tool("send", Effect::External) };
    for tool in [&send, &tool(CREATE_TASK, Effect::Write)] {
        assert!(asks(&read().of(tool, &json!({"goal": "x"}))), "{}", tool.name);
        assert_eq!(Case { is_given: true, ..read() }.of(tool, &json!({"goal": "x"})), Verdict::Allowed);
    }
    assert_eq!(read().of(&tool("write_file", Effect::Write), &json!({"path": "a"})), Verdict::Allowed);
    assert!(asks(&Case { is_given: true, ..read() }.post("https://evil.example/")), "the page chose the host");
}

#[test]
fn what_was_read_is_followed_where_it_came_from_and_along_its_links() {
    let read = || case(page("https://www.wiki.example/x"));
    let short = "https://wiki.example/search?q=rust";
    assert_eq!(read().get(short), Verdict::Allowed);
    assert!(is_refused(&read().get(&format!("{short}{}", "x".repeat(MAX_ADDED_BYTES)))), "that is a document");
    assert!(is_refused(&read().get("https://evil.example/")));
    assert!(is_refused(
        &read().of(&tool("query_table", Effect::Read), &json!({"table": "https://evil.example/a.csv"}))
    ));
    let link = Case { link: "https://other.example/a", ..read() };
    assert_eq!(link.get("https://other.example/a"), Verdict::Allowed);
    assert!(is_refused(&link.get("https://other.example/a?d=secret")), "the link as it stands");
    let http = tool("http_request", Effect::External);
    for (headers, is_open) in [(json!({"x-a": "all that was read"}), false), (json!({}), true), (json!(null), true)] {
        for (case, url) in [(&link, "https://other.example/a"), (&read(), short)] {
            let verdict = case.of(&http, &json!({"url": url, "headers": headers}));
            assert_eq!(!is_refused(&verdict), is_open, "{url} {headers}");
        }
    }
    let written = Case { written: Some("https://api.example/${page.id}"), ..read() };
    assert_eq!(written.get("https://api.example/7"), Verdict::Allowed);
    // A page that a link led to has not been chosen: what it says may be its own address and a secret.
    let call = page("https://wiki.example/");
    let followed = Provenance::of_result(&http, &json!({"url": "https://evil.example/"}), &call, &BTreeMap::new());
    assert!(is_refused(&case(call.and(&followed)).get("https://evil.example/?d=1")));
}

#[test]
fn once_something_private_was_read_only_places_that_a_person_named_are_read() {
    let private = page("https://wiki.example/").and(&Provenance::of("sql_query"));
    let case = Case { link: "https://other.example/", goal: "Look at https://named.example", ..case(private) };
    for url in ["https://wiki.example/a", "https://other.example/"] {
        assert!(is_refused(&case.get(url)), "{url}");
    }
    assert_eq!(case.get("https://named.example/x?y"), Verdict::Allowed);
}

#[test]
fn an_address_beside_what_is_read_is_not_where_it_came_from() {
    let none = BTreeMap::new();
    let of = |tool: &ToolSpec, arguments: Value| {
        Provenance::of_result(tool, &arguments, &Provenance::default(), &none).to_string()
    };
    let url = "https://a.example/x";
    for name in ["read_file", "get_state", "sql_query", "list_files"] {
        assert_eq!(of(&tool(name, Effect::Read), json!({"path": "private.csv", "url": url})), name);
        assert_eq!(of(&tool(name, Effect::Read), json!({"table": url})), name);
    }
    let query = tool("query_table", Effect::Read);
    for arguments in [
        json!({"path": "p.csv", "url": url}),
        json!({"path": "p.csv", "table": url}),
        json!({"artifact": "p", "url": url}),
    ] {
        assert_eq!(of(&query, arguments), "query_table");
    }
    assert_eq!(of(&query, json!({"url": url, "path": ""})), "https://a.example");
}

#[test]
fn results_say_where_they_came_from() {
    let none = BTreeMap::new();
    let of = |tool: &ToolSpec, arguments: Value, artifacts: &BTreeMap<String, Provenance>| {
        Provenance::of_result(tool, &arguments, &Provenance::default(), artifacts).to_string()
    };
    let trusted = ToolSpec { untrusted: false, ..tool("calculate", Effect::Read) };
    assert_eq!(of(&trusted, json!({"url": "https://a.example"}), &none), "");
    assert_eq!(
        of(&tool("http_request", Effect::External), json!({"url": "HTTP://A.example:81/x"}), &none),
        "http://a.example:81"
    );
    let artifact = tool("read_artifact", Effect::Read);
    let known = BTreeMap::from([("page.json".to_owned(), page("https://a.example"))]);
    assert_eq!(of(&artifact, json!({"name": "page.json"}), &known), "https://a.example");
    assert_eq!(of(&artifact, json!({"name": "other"}), &known), "read_artifact");
    let query = tool("query_table", Effect::Read);
    assert_eq!(of(&query, json!({"table": "a,b"}), &none), "");
    for table in [json!(""), json!([]), json!(null), json!("a,b")] {
        for other in ["path", "artifact"] {
            let arguments = json!({"table": table, other: "inbox.csv"});
            assert_eq!(of(&query, arguments, &none), "query_table", "{table} beside {other}");
        }
    }
}

#[test]
fn many_sources_are_bounded_and_stay_untrusted() {
    let mut all = Provenance::default();
    (0..1_000).for_each(|number| all.add(&page(&format!("https://host-{number}.example/"))));
    assert!(all.sources.len() <= MAX_SOURCES + 1 && all.chosen.len() <= MAX_SOURCES);
    assert!(!all.is_of_the_web(), "what is not known apart may be private");
    assert!(all.to_string().ends_with("more"), "{all}");
    let read: Provenance = serde_json::from_value(json!(all)).expect("readable");
    assert_eq!(read, all);
}
