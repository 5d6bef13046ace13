//! Blocks of data in messages to a model, and how they are shortened to make a question fit.
//!
//! Who writes a block sees to it that the data hold nothing which could open or close one.

use std::ops::Range;

use super::conversation::Message;

const OPEN: &str = "<data name=\"";
const CLOSE: &str = "\n</data>";
/// Bytes that stay of each block, however short the question must be.
const LEAST_BYTES: usize = 200;
/// Room for the note on a shortened block, in bytes.
const NOTE_BYTES: usize = 80;

/// `content` as the block `name`. Neither may hold the marks of a block.
#[must_use]
pub fn block(name: &str, content: &str) -> String {
    format!("{OPEN}{name}\">\n{content}{CLOSE}")
}

/// `messages` with at least `excess` bytes less data in them, and how many bytes of data were left out: the longest blocks lose their
/// ends until they are equally long, and say so. Nothing outside a block changes. When the blocks have too little, each keeps 200
/// bytes.
#[must_use]
pub fn shortened(messages: &[Message], excess: usize) -> (Vec<Message>, usize) {
    if excess == 0 {
        return (messages.to_vec(), 0);
    }
    let places: Vec<Vec<Range<usize>>> = messages.iter().map(blocks_in).collect();
    let lengths: Vec<usize> = places.iter().flatten().map(ExactSizeIterator::len).collect();
    let limit = limit_of(lengths, excess);
    let mut left_out = 0;
    let mut cut = |content: &str, places: &[Range<usize>]| {
        let (text, left) = cut(content, places, limit);
        left_out += left;
        text
    };
    let shorten = |(message, places): (&Message, &Vec<Range<usize>>)| match message {
        Message::User { content } => Message::User { content: cut(content, places) },
        Message::Tool { call_id, content } => Message::Tool { call_id: call_id.clone(), content: cut(content, places) },
        Message::System { .. } | Message::Assistant { .. } => message.clone(),
    };
    let shown = messages.iter().zip(&places).map(shorten).collect();
    (shown, left_out)
}

/// Where the data of the blocks of `message` stand. What a model says holds no blocks of the program.
fn blocks_in(message: &Message) -> Vec<Range<usize>> {
    let (Message::User { content } | Message::Tool { content, .. }) = message else { return Vec::new() };
    let mut places = Vec::new();
    let mut from = 0;
    while let Some(open) = content[from..].find(OPEN).map(|at| from + at) {
        let Some(begin) = content[open..].find(">\n").map(|at| open + at + 2) else { break };
        let Some(end) = content[begin..].find(CLOSE).map(|at| begin + at) else { break };
        places.push(begin..end);
        from = end;
    }
    places
}

/// The length of the longest blocks after `excess` bytes are gone from blocks of these `lengths`.
fn limit_of(mut lengths: Vec<usize>, excess: usize) -> usize {
    lengths.sort_unstable_by(|left, right| right.cmp(left));
    let mut sum = 0;
    for (index, length) in lengths.iter().enumerate() {
        sum += length;
        let shortened = index + 1;
        let next = lengths.get(shortened).copied().unwrap_or(0);
        let kept = sum.saturating_sub(excess + shortened * NOTE_BYTES) / shortened;
        if kept >= next {
            return kept.max(LEAST_BYTES);
        }
    }
    LEAST_BYTES
}

/// `content` with at most about `limit` bytes in each of `places`, and how many bytes were left out.
fn cut(content: &str, places: &[Range<usize>], limit: usize) -> (String, usize) {
    let mut text = String::with_capacity(content.len());
    let (mut done, mut left_out) = (0, 0);
    for place in places.iter().filter(|place| place.len() > limit) {
        let kept = content[place.clone()].floor_char_boundary(limit);
        text.push_str(&content[done..place.start + kept]);
        text.push_str(CLOSE);
        let left = place.len() - kept;
        left_out += left;
        text.extend(["\n[cut: ", &left.to_string(), " more bytes are more than the model can read at once]"]);
        done = place.end + CLOSE.len();
    }
    text.push_str(&content[done..]);
    (text, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> Message {
        Message::User { content: text.to_owned() }
    }

    fn bytes(messages: &[Message]) -> usize {
        messages.iter().map(|message| message.content().len()).sum()
    }

    #[test]
    fn the_longest_blocks_lose_their_ends_and_the_goal_stays() {
        let long = "é".repeat(3_000);
        let messages = [
            Message::System { content: block("no", &long) },
            user(&format!("{}\nbetween\n{}\n<goal>\nthe goal\n</goal>", block("a", &long), block("b", "short"))),
            Message::assistant(block("said", &long)),
            Message::Tool { call_id: "c1".to_owned(), content: block("look", &"x".repeat(2_000)) },
        ];
        let (shown, left_out) = shortened(&messages, 5_000);
        assert!((5_000..5_400).contains(&left_out), "the notes take some bytes again: {left_out}");
        assert!(bytes(&shown) <= bytes(&messages) - 5_000 && bytes(&shown) > bytes(&messages) - 5_200);
        assert_eq!((&shown[0], &shown[2]), (&messages[0], &messages[2]), "rules, and what the model said");
        let text = shown[1].content();
        assert!(text.ends_with("short\n</data>\n<goal>\nthe goal\n</goal>"), "{text}");
        assert!(text.contains("é\n</data>\n[cut: 4") && text.contains("more bytes"), "{text}");
        assert!(shown[3].content().contains("x\n</data>\n[cut: "), "{:?}", shown[3]);
        assert_eq!(shortened(&shown, 0), (shown.clone(), 0), "nothing to cut");
    }

    #[test]
    fn two_hundred_bytes_stay_of_each_block() {
        let messages = [user(&[block("a", &"x".repeat(900)), block("b", &"y".repeat(150))].join("\n"))];
        let (shown, left_out) = shortened(&messages, 1_000_000);
        assert_eq!(left_out, 700);
        let text = shown[0].content();
        assert!(text.contains(&"x".repeat(200)) && !text.contains(&"x".repeat(201)), "{text}");
        assert!(text.contains("[cut: 700 more bytes") && text.contains(&"y".repeat(150)), "{text}");
        assert_eq!(shortened(&[user("no block")], 9), (vec![user("no block")], 0));
    }
}
