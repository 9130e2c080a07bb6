//! Any message as a tree, read from its `Debug` text: one reader for all APIs instead of a printer for each.

use std::fmt::{self, Debug, Display, Formatter, Write};
use std::iter::Peekable;
use std::str::Chars;

/// Columns that an answer may take on one line.
const LINE_COLUMNS: usize = 150;

/// A value of a message. Newtypes and `Some` are left out: they are what they hold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Value {
    /// `None`.
    Null,
    /// A string.
    Text(String),
    /// Bytes, escaped as Rust does.
    Bytes(String),
    /// A number, a boolean, a UUID.
    Word(String),
    /// An array.
    List(Vec<Value>),
    /// A message or a part of it.
    Struct(Vec<(String, Value)>),
}

impl Value {
    /// The tree of a message.
    pub fn of(message: &impl Debug) -> Value {
        let text = format!("{message:?}");
        let mut reader = Reader { chars: text.chars().peekable() };
        reader.value()
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&Value> {
        match self {
            Value::Struct(fields) => fields.iter().find(|(field, _)| field == name).map(|(_, value)| value),
            _ => None,
        }
    }

    /// On one line when that is short enough, otherwise with each part on a line of its own.
    pub fn lines(&self) -> Vec<String> {
        let mut out = Vec::new();
        self.wrap(0, "", "", &mut out);
        out
    }

    fn wrap(&self, indent: usize, head: &str, tail: &str, out: &mut Vec<String>) {
        let space = "  ".repeat(indent);
        let line = format!("{space}{head}{self}{tail}");
        let (open, close) = match self {
            Value::List(_) => ('[', ']'),
            Value::Struct(_) => ('{', '}'),
            _ => return out.push(line),
        };
        if line.chars().count() <= LINE_COLUMNS {
            return out.push(line);
        }
        out.push(format!("{space}{head}{open}"));
        match self {
            Value::List(values) => values.iter().for_each(|value| value.wrap(indent + 1, "", ",", out)),
            Value::Struct(fields) => {
                fields.iter().for_each(|(name, value)| value.wrap(indent + 1, &format!("{name}: "), ",", out))
            }
            _ => {}
        }
        out.push(format!("{space}{close}{tail}"));
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Text(text) => write!(f, "{text:?}"),
            Value::Bytes(bytes) => write!(f, "b\"{bytes}\""),
            Value::Word(word) => f.write_str(word),
            Value::List(values) => {
                f.write_char('[')?;
                for (at, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_char(']')
            }
            Value::Struct(fields) => {
                f.write_char('{')?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    write!(f, "{}{name}: {value}", if at == 0 { "" } else { ", " })?;
                }
                f.write_char('}')
            }
        }
    }
}

/// Reads what `#[derive(Debug)]` writes.
struct Reader<'a> {
    chars: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn value(&mut self) -> Value {
        match self.peek() {
            '"' => Value::Text(self.string()),
            '[' => Value::List(self.items('[', ']')),
            // Maps are only there for tagged fields, which nobody uses in these APIs.
            '{' => Value::List(self.items('{', '}')),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Value {
        let mut word = String::new();
        while let Some(next) =
            self.chars.next_if(|next| next.is_ascii_alphanumeric() || "-_.+".contains(*next))
        {
            word.push(next);
        }
        match self.chars.peek().copied() {
            Some('"') if word == "b" => Value::Bytes(self.raw_string()),
            Some('(') => {
                let mut items = self.items('(', ')');
                if items.len() == 1 { items.remove(0) } else { Value::List(items) }
            }
            // A number may be followed by the space before the end of its struct.
            Some(' ') if self.chars.clone().nth(1) == Some('{') => {
                self.expect(' ');
                Value::Struct(self.fields())
            }
            _ if word == "None" => Value::Null,
            _ => Value::Word(word),
        }
    }

    fn fields(&mut self) -> Vec<(String, Value)> {
        self.expect('{');
        let mut fields = Vec::new();
        loop {
            self.skip();
            if self.chars.next_if_eq(&'}').is_some() {
                return fields;
            }
            let mut name = String::new();
            while let Some(next) = self.chars.next_if(|next| *next != ':') {
                name.push(next);
            }
            self.expect(':');
            self.expect(' ');
            fields.push((name, self.value()));
        }
    }

    fn items(&mut self, open: char, close: char) -> Vec<Value> {
        self.expect(open);
        let mut items = Vec::new();
        loop {
            self.skip();
            if self.chars.next_if_eq(&close).is_some() {
                return items;
            }
            items.push(self.value());
        }
    }

    fn skip(&mut self) {
        while self.chars.next_if(|next| matches!(next, ' ' | ',')).is_some() {}
    }

    /// The content between quotation marks, as it stands.
    fn raw_string(&mut self) -> String {
        self.expect('"');
        let mut raw = String::new();
        loop {
            match self.next() {
                '"' => return raw,
                '\\' => {
                    raw.push('\\');
                    raw.push(self.next());
                }
                other => raw.push(other),
            }
        }
    }

    fn string(&mut self) -> String {
        let raw = self.raw_string();
        let mut text = String::new();
        let mut chars = raw.chars();
        while let Some(next) = chars.next() {
            if next != '\\' {
                text.push(next);
                continue;
            }
            match chars.next().expect("an escape is two characters") {
                'n' => text.push('\n'),
                't' => text.push('\t'),
                'r' => text.push('\r'),
                '0' => text.push('\0'),
                'u' => {
                    let digits: String = chars.by_ref().skip(1).take_while(|digit| *digit != '}').collect();
                    let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
                    text.push(code.expect("a character's number"));
                }
                other => text.push(other),
            }
        }
        text
    }

    fn peek(&mut self) -> char {
        *self.chars.peek().expect("the text goes on")
    }

    fn next(&mut self) -> char {
        self.chars.next().expect("the text goes on")
    }

    fn expect(&mut self, expected: char) {
        let next = self.next();
        assert_eq!(next, expected, "before {:?}", self.chars.clone().collect::<String>());
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_COLUMNS, Value};

    #[derive(Debug)]
    #[expect(dead_code, reason = "only its debug text is read")]
    struct Inner(&'static str);

    #[derive(Debug)]
    #[expect(dead_code, reason = "only its debug text is read")]
    struct Message {
        number: i32,
        name: Inner,
        none: Option<i32>,
        some: Option<&'static str>,
        list: Vec<Inner>,
        bytes: bytes::Bytes,
        empty: std::collections::BTreeMap<i32, i32>,
        last: i32,
    }

    #[test]
    fn a_message_is_read_from_its_debug_text() {
        let message = Message {
            number: -3,
            name: Inner("a \"quoted\" name, with {braces}\n"),
            none: None,
            some: Some(""),
            list: vec![Inner("x"), Inner("é")],
            bytes: bytes::Bytes::from_static(b"\0\"a\""),
            empty: Default::default(),
            last: 7,
        };
        assert_eq!(
            Value::of(&message).to_string(),
            "{number: -3, name: \"a \\\"quoted\\\" name, with {braces}\\n\", none: null, some: \"\", \
             list: [\"x\", \"é\"], bytes: b\"\\0\\\"a\\\"\", empty: [], last: 7}"
        );
    }

    #[test]
    fn what_is_too_long_for_a_line_is_laid_out() {
        let long =
            Value::List(vec![Value::Text("x".repeat(LINE_COLUMNS)), Value::Text("y".repeat(LINE_COLUMNS))]);
        let lines = Value::Struct(vec![("list".into(), long), ("n".into(), Value::Word("1".into()))]).lines();
        assert_eq!(lines.len(), 7);
        assert_eq!((lines[1].as_str(), lines[5].as_str()), ("  list: [", "  n: 1,"));
    }
}
