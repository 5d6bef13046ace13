//! What a model sees again, in each turn of a step, of the results of its earlier turns.
//!
//! A conversation is sent whole with each turn. Without a bound on old results, ten pages that a step read one after the other
//! would be paid for ten times.

use crate::domain::conversation::Message;

/// Turns whose results are shown whole.
const WHOLE_TURNS: usize = 2;
/// Longest result, in bytes, that stays whole however old it is.
const SHORT_BYTES: usize = 4_000;
/// Bytes that remain of an older, longer one.
const REMAINING_BYTES: usize = 1_000;

/// The conversation with the beginnings of the long results that are older than two turns.
pub(super) fn shortened(messages: &[Message]) -> Vec<Message> {
    let is_turn = |message: &Message| matches!(message, Message::Assistant { .. });
    let mut later_turns = messages.iter().filter(|message| is_turn(message)).count();
    let shorten = |message: &Message| {
        later_turns -= usize::from(is_turn(message));
        match message {
            Message::Tool { call_id, content } if later_turns >= WHOLE_TURNS && content.len() > SHORT_BYTES => {
                Message::Tool { call_id: call_id.clone(), content: beginning(content) }
            }
            _ => message.clone(),
        }
    };
    messages.iter().map(shorten).collect()
}

/// The beginning of a result, which is a block of data, and that there was more.
fn beginning(content: &str) -> String {
    let shown = &content[..content.floor_char_boundary(REMAINING_BYTES)];
    let left = content.len() - shown.len();
    format!(
        "{shown}\n</data>\n[cut: {left} more bytes of this earlier result are not shown again; repeat the call if you need them]"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(number: usize, result: &str) -> [Message; 2] {
        [
            Message::Assistant { content: format!("turn {number}"), tool_calls: Vec::new(), origin: None },
            Message::Tool {
                call_id: format!("c{number}"),
                content: format!("<data name=\"look\">\n{result}\n</data>"),
            },
        ]
    }

    #[test]
    fn long_results_older_than_two_turns_are_shortened_and_all_else_stays() {
        let long = "ä".repeat(4_000);
        let messages = [turn(1, &long), turn(2, "short"), turn(3, &long), turn(4, &long)].concat();
        let shown = shortened(&messages);
        assert_eq!(shown.len(), messages.len());
        assert_eq!(shown[2..], messages[2..], "the last two turns, and short results");
        assert_eq!(shown[0], messages[0], "what the model said");
        let Message::Tool { call_id, content } = &shown[1] else { panic!("{:?}", shown[1]) };
        assert_eq!(call_id, "c1");
        assert!(content.len() < 1_200 && content.contains("</data>\n[cut: 7028 more bytes"), "{content}");
    }

    #[test]
    fn a_short_conversation_is_shown_whole() {
        let messages = [turn(1, &"x".repeat(9_000)), turn(2, &"x".repeat(9_000))].concat();
        assert_eq!(shortened(&messages), messages);
        assert_eq!(shortened(&[]), []);
    }
}
