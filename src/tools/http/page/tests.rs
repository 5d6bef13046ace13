//! Pages and their texts.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;

fn shown(html: &str) -> String {
    text(html, &Url::parse("https://example.org/news/today?page=2").expect("a URL"))
}

#[test]
fn blocks_become_markdown() {
    for (html, markdown) in [
        ("<h1>A &amp; B</h1><p>one<br>two<p>three", "# A & B\n\none\ntwo\n\nthree"),
        ("<title> The  page </title><h2>A</h2>x", "# The page\n\n## A\n\nx"),
        ("a<sup>2</sup> <del>20</del> 15&nbsp;€", "a^2 ~~20~~ 15 €"),
        ("<ul><li>a<li>b<ul><li>c</ul></ul><p>d", "- a\n- b\n  - c\n\nd"),
        ("<ol start=3><li><p>a</p></li><li>b</ol>", "3. a\n4. b"),
        ("<blockquote>a<br>b</blockquote>c", "> a\n> b\n\nc"),
        ("<pre>  a\n   <b>b</b></pre><p>use <code>x</code>", "```\n  a\n   b\n```\n\nuse `x`"),
        ("<pre>a```b", "````\na```b\n````"),
        ("x<hr>y", "x\n\n---\n\ny"),
        ("<img src=a alt='a  cat'><img src=b>", "[image: a cat]"),
        ("<dl><dt>a<dd>b</dl>", "a\n\nb"),
    ] {
        assert_eq!(shown(html), markdown, "{html}");
    }
}

#[test]
fn links_are_absolute_and_lead_somewhere() {
    for (html, markdown) in [
        (
            "<a href=/x>a</a>, <a href='y?z=1'> b </a>c",
            "[a](https://example.org/x), [b](https://example.org/news/y?z=1) c",
        ),
        ("<base href=//other.org/><a href='a (1)'>b</a>", "[b](https://other.org/a%20%281%29)"),
        ("<a href='javascript:go()'>a</a> <a href=#x>b</a> <a>c</a> <a href='data:text/html,x'>d</a>", "a b c d"),
        (
            "<a href=/x><img src=a alt=logo></a> <a href=/y aria-label=more><svg><title>x</title></svg></a>",
            "[logo](https://example.org/x) [more](https://example.org/y)",
        ),
        ("<a href=/x></a>a", "a"),
        ("<a href=/x><h3>a</h3><p>b</p></a>", "### [a](https://example.org/x)\n\nb"),
        ("<a href=https://example.org/x>https://example.org/x</a>", "https://example.org/x"),
        ("<a href=/x>never closed<p>b", "[never closed](https://example.org/x)\n\nb"),
    ] {
        assert_eq!(shown(html), markdown, "{html}");
    }
}

#[test]
fn tables_keep_what_belongs_together() {
    for (html, markdown) in [
        ("<table><tr><th>a<th>b|c<tr><td>1<td>2</table>", "| a | b\\|c |\n|---|---|\n| 1 | 2 |"),
        (
            "<table><tr><td rowspan=2>a<td>b<td rowspan=3>c<tr><td>d<tr><td>e<td>f</table>",
            "| a | b | c |\n|---|---|---|\n| a | d | c |\n| e | f | c |",
        ),
        ("<table><tr><td colspan=2>a<td>b<tr><td>1<td>2<td>3", "| a |  | b |\n|---|---|---|\n| 1 | 2 | 3 |"),
        ("<table><tr><td>a<p>b<ul><li>c</ul><td>d<tr><td>e<td>f</table>", "| a<br>b<br>c | d |\n|---|---|\n| e | f |"),
        ("<table><tr><td>a|b<br>c</table>d", "a|b\nc\n\nd"),
        (
            "<table><tr><td>menu<td>x<table><tr><td>1<td>2<tr><td>3<td>4</table>y</table>z",
            "menu\n\nx\n\n| 1 | 2 |\n|---|---|\n| 3 | 4 |\n\ny\n\nz",
        ),
    ] {
        assert_eq!(shown(html), markdown, "{html}");
    }
}

#[test]
fn tables_are_read_as_the_texts_of_their_cells() {
    let page = "<nav>x</nav><table><tr><th>City<th>Amount<tr><td><a href=/r>Rome</a><td>1|2<br>3<tr><td colspan=2>none</table>\
                <table><tr><td>alone</table><table><tr><td>a<td>b<tr><td rowspan=2>c<td>d<tr><td>e";
    let rows = |rows: &[&[&str]]| {
        rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect::<Vec<Vec<_>>>()
    };
    let first = rows(&[&["City", "Amount"], &["Rome", "1|2\n3"], &["none", ""]]);
    assert_eq!(tables(page), [first, rows(&[&["a", "b"], &["c", "d"], &["c", "e"]])]);
    assert!(tables("<p>none").is_empty());
}

#[test]
fn what_readers_do_not_see_is_left_out() {
    for (html, markdown) in [
        ("<script>if (a < b) { '<p>' }</script><style>p{}</style><!-- x -->a", "a"),
        ("<nav><ul><li><a href=/>home</a></ul></nav><p>a", "a"),
        ("<div role=navigation>x<div>y</div></div>a<div hidden>b</div><div style='display : none'>c</div>", "a"),
        ("<div aria-hidden=true>x</div><span aria-hidden=true>y</span>a", "a"),
        ("<nav>never closed <main>a</main>", "a"),
        ("<nav><a href=/x>only this</a></nav>", "[only this](https://example.org/x)"),
        ("<p hidden>a paragraph may lack its end<p>b", "a paragraph may lack its end\n\nb"),
        ("<math alttext='x^2'><mi>x</mi></math> a", "x^2 a"),
        ("<noscript>turn it on</noscript><template>x</template>a", "a"),
        ("<svg><svg/></svg><p>a", "a"),
        ("<math><math/><mi>x</mi></math><p>a", "a"),
        ("<nav><nav/>x</nav>a", "a"),
        ("<svg><path d=x><main>a</main>", "a"),
        ("<select><option>x<h1>a</h1>b", "# a\n\nb"),
        ("<title>Status</title><nav><a href=/x>only this</a></nav>", "# Status\n\n[only this](https://example.org/x)"),
        ("<title>Status</title><div hidden><p>all is well</div>", "# Status\n\nall is well"),
        ("<title>Status</title><div style='display:none'><h1>Now</h1>well</div>", "# Now\n\nwell"),
        ("<title>Status</title><script>x</script>", "# Status"),
        ("", ""),
    ] {
        assert_eq!(shown(html), markdown, "{html}");
    }
}

#[test]
fn charsets_are_respected() {
    for (content_type, bytes, text) in [
        ("text/html; charset=utf-8", "ä".as_bytes(), "ä"),
        ("text/html; charset=\"ISO-8859-1\"", b"\xe4\x80", "ä€"),
        ("text/html", b"<meta charset='koi8-r'>\xd0", "<meta charset='koi8-r'>п"),
        ("text/html", b"\xe4", "ä"),
        ("text/html; charset=latin1", "ä".as_bytes(), "ä"),
        ("text/html; charset=shift_jis", b"\x93\xfa\x96\x7b", "日本"),
        ("text/html; charset=iso-2022-jp", b"\x1b$BF|K\\\x1b(B", "日本"),
        ("text/html", b"\xff\xfea\0", "a"),
        ("text/html; charset=nonsense", b"a\xe4", "aä"),
    ] {
        assert_eq!(decode(content_type, bytes), text, "{content_type}");
    }
}

/// Pages that make readers with a tree or with recursion overflow, or work without end.
#[test]
fn hostile_pages_cost_no_more_than_their_size() {
    let long = "x".repeat(1900);
    let mut cells = "<table>".to_owned();
    for number in 0..300 {
        write!(cells, "<td rowspan=1000 colspan=20>{number}").expect("a text");
    }
    for page in [
        "<div>".repeat(100_000),
        "<blockquote><ul><li>".repeat(30_000) + "a",
        "<table><tr><td>".repeat(60_000) + "a",
        "<b>a</b>".repeat(100_000),
        "<a href=x>".repeat(90_000),
        format!("<base href='https://h/{long}/'>{}", "<a href=y>z</a>".repeat(60_000)),
        format!("<base href='https://h/{}/'>{}", "a".repeat(500_000), "<a href=x>y</a>".repeat(40_000)),
        format!(
            "<table><tr>{}{}</table>",
            format!("<td rowspan=600>{}", "x".repeat(200)).repeat(8),
            "<tr>".repeat(590)
        )
        .repeat(250),
        format!("<a href='/{long}'>{}", "<p>x".repeat(200_000)),
        cells + &"<tr><td>x".repeat(90_000),
        format!("<p {}>", "a=b ".repeat(200_000)),
        "&#".repeat(400_000),
        "<!--".repeat(200_000),
        "<pre>".repeat(150_000) + &"\n".repeat(200_000),
        "<ul><blockquote>".repeat(6) + "<pre>" + &"\n.".repeat(400_000),
        "<svg/><nav>".repeat(80_000),
        "<code></code><sup></sup><del>".repeat(30_000),
        "</table></li></ul></blockquote></td>".repeat(25_000),
    ] {
        let started = Instant::now();
        let text = shown(&page);
        assert!(text.len() <= MAX_TEXT + 100, "{}", text.len());
        assert!(started.elapsed() < Duration::from_secs(10), "{:?} for {}", started.elapsed(), &page[..40]);
    }
    let cut = shown(&"<p>a word".repeat(400_000));
    assert!(cut.ends_with("[the page goes on]"), "{}", &cut[cut.len() - 50..]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn any_soup_of_tags_is_read(parts in proptest::collection::vec(
        prop_oneof![
            proptest::sample::select(vec![
                "<table>", "</table>", "<tr>", "</tr>", "<td>", "<td colspan=3 rowspan=2>", "</td>", "<ul>", "</ul>", "<li>",
                "</li>", "<ol start=7>", "<a href=/x>", "</a>", "<pre>", "</pre>", "<h2>", "</h2>", "<blockquote>",
                "</blockquote>", "<p>", "<br>", "<nav>", "</nav>", "<code>", "</code>", "<sup>", "</sup>", "<title>", "</title>",
                "<svg>", "</svg>", "<img alt=é>", "<div hidden>", "</div>", "word ", " ", "\n", "ü", "`", "^", "|", "&amp;", "&#0;",
            ]).prop_map(str::to_owned),
            ".{0,6}",
        ],
        0..60,
    )) {
        let html = parts.concat();
        prop_assert!(shown(&html).len() <= 60 * html.len() + 100);
    }
}
