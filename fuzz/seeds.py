#!/usr/bin/env python3
"""Fills fuzz/corpus/ with first inputs: the texts of the unit tests beside each parser, and a few inputs written here.

Run it at the root of the repository before the first run of a target.
"""

import hashlib
import json
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parent.parent
LITERAL = re.compile(r'r#"(.*?)"#|"((?:[^"\\]|\\.)*)"', re.S)
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "\\": "\\", '"': '"', "'": "'"}

STEP = {"id": "s1", "tool": "calculate", "arguments": {"expression": "1 + 1"}}
PLANS = [
    {"steps": [STEP]},
    {"steps": [STEP, {"id": "s2", "tool": "t", "depends_on": ["s1"], "arguments": {"a": ["${s1.value}", 1.5, None]}}]},
    {"steps": [{"id": "j", "instruction": "judge ${deps.a.result}", "depends_on": [], "approval": "required"}]},
    {"steps": [STEP, {"id": "e", "tool": "t", "on_failure": "continue", "timeout_s": 5, "max_attempts": 2}]},
    {"steps": [{"id": "a", "tool": "t", "depends_on": ["b"]}, {"id": "b", "tool": "t", "depends_on": ["a"]}]},
]
POINTS = [
    {"goal": "x"},
    {"goal": "x", "run_at": "2026-01-02T03:04:05Z", "priority": 9, "tags": ["a"], "capabilities": ["sql"], "user": "ada"},
    {"goal": "x", "status": "waiting", "depends_on": ["7", 8], "on_dependency_failure": "continue", "max_attempts": 3},
    {"goal": "x", "plan": PLANS[1], "context": {"a": [1, {"b": None}]}, "timeout_s": 60, "unique_key": "k"},
    {"goal": "x", "admitted": True, "status": "running", "attempt": 2, "rank": 1, "tree_root": "7", "tree_generation": 1},
    {"goal": "x", "tree_rights": {"tools": ["a"], "needs_approval": ["*"], "delegates_to": []}, "approval": "required"},
    {"goal": "x", "created_at": 1767225600000, "finished_at": 1e18, "result": {"summary": "s"}, "error": {"class": "timeout"}},
    {"task": "x", "due": "2030-01-01", "parent": "00000000-0000-0000-0000-000000000001", "unknown": {"a": 1}},
]
REFERENCES = [
    "${a.c}\n{\"c\": [1, 2]}", "x ${a.c.0} y ${b.c} $${a}\n{\"c\": [\"t\"]}", "${a}${a}${b}\n\"text\"", "${.a} ${ ${a\n[]",
    "${deps.x.result} ${a.missing}\n7",
]
CRON = [
    "* * * * *", "*/5 * * * *", "0 0 29 2 1", "30 2 L * *", "0 9 * * MON-FRI", "0 0 1W * *", "0 0 * * 5#3", "@daily", "@hourly",
    "* * * * * * 1970-2020,2030", "0 30 2 29 2 * 2096/4", "0 0 31 4,6 *", "59 59 23 31 12 ? 4999", "1-5/2 */7 1,15 JAN-JUN 0L",
]


def literals(*places):
    for place in places:
        for path in sorted(ROOT.glob(place)):
            for raw, plain in LITERAL.findall(path.read_text()):
                text = raw or re.sub(r"\\(\n\s*|u\{([0-9a-fA-F]+)\}|x([0-9a-fA-F]{2})|.)", unescaped, plain)
                if 0 < len(text) < 2000:
                    yield text


def unescaped(found):
    whole, code = found.group(1), found.group(2) or found.group(3)
    if code:
        return chr(int(code, 16))
    return "" if whole[0] == "\n" else ESCAPES.get(whole, whole)


def save(target, inputs):
    folder = ROOT / "fuzz/corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    for content in inputs:
        content = content if isinstance(content, bytes) else content.encode()
        (folder / hashlib.sha1(content).hexdigest()).write_bytes(content)
    print(f"{target}: {len(list(folder.iterdir()))}")


def journal(epochs, contents):
    records = b"".join(epochs[-1].to_bytes(8, "little") + len(c).to_bytes(4, "little") + b"\0" * 4 + c for c in contents)
    return b"".join(epoch.to_bytes(8, "little") for epoch in epochs) + records


cron = [text for text in literals("src/domain/schedule/cron/*.rs", "src/domain/schedule/cron.rs") if len(text) < 100]
save("references", REFERENCES + [text + "\n{\"c\": 1}" for text in literals("src/domain/plan/references.rs", "src/domain/plan/**/tests*.rs")])
save("plans", [json.dumps(plan) for plan in PLANS])
save("cron", [f"{zone} 29454120\n{text}" for zone, text in enumerate(CRON + cron)])
save("sql_guard", literals("src/tools/sql/query_guard/tests.rs", "tests/it/tools/postgres.rs", "tests/it/tools/sqlite.rs"))
save("addresses", literals("src/tools/http/*.rs", "tests/it/tools/http.rs"))
save("foreign_points", [json.dumps(point) for point in POINTS])
save("journal", [journal((1, 2), [b"one", b"", b"three"]), journal((2, 1), [b"x" * 100]), journal((2**64 - 1, 0), [b"end"]), journal((2**64 - 2, 0), [b"end"])])
