//! Reader for Java's `.properties` format (`java.util.Properties.load`), which is what `server.properties` is.
//!
//! Comments start with `#` or `!`; key and value are separated by `=`, `:` or blanks; a line that ends in an
//! odd number of backslashes goes on with the next; `\uXXXX` is a UTF-16 unit.

use super::ConfigError;

/// Reads a file's text into its pairs, in their order; a key that occurs twice is listed twice.
///
/// # Errors
/// [`ConfigError::Syntax`] for a malformed `\u` escape; everything else is a valid properties file.
pub fn parse(text: &str) -> Result<Vec<(String, String)>, ConfigError> {
    let mut pairs = Vec::new();
    for (number, line) in logical_lines(text) {
        let (key, value) = split(&line);
        pairs.push((unescape(key, number)?, unescape(value, number)?));
    }
    Ok(pairs)
}

/// Joins continued lines and drops comments and blank ones. Each comes with the number of its first line.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    for (index, raw) in unified.split('\n').enumerate() {
        let content = raw.trim_start_matches(is_blank);
        let (number, mut line) = match open.take() {
            Some(begun) => begun,
            None if content.is_empty() || content.starts_with(['#', '!']) => continue,
            None => (index + 1, String::new()),
        };
        let backslashes = content.chars().rev().take_while(|c| *c == '\\').count();
        if backslashes % 2 == 1 {
            line.push_str(content.strip_suffix('\\').unwrap_or(content));
            open = Some((number, line));
        } else {
            line.push_str(content);
            lines.push((number, line));
        }
    }
    // A backslash at the end of the file continues with nothing.
    lines.extend(open.filter(|(_, line)| !line.is_empty()));
    lines
}

fn is_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\x0c')
}

/// Splits at the first unescaped separator; blanks around it are dropped, trailing blanks of the value kept.
fn split(line: &str) -> (&str, &str) {
    let mut escaped = false;
    let end = line
        .char_indices()
        .find(|(_, c)| {
            let stop = !escaped && (is_blank(*c) || matches!(c, '=' | ':'));
            escaped = *c == '\\' && !escaped;
            stop
        })
        .map_or(line.len(), |(at, _)| at);
    let (key, rest) = line.split_at(end);
    let rest = rest.trim_start_matches(is_blank);
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest);
    (key, rest.trim_start_matches(is_blank))
}

fn unescape(text: &str, line: usize) -> Result<String, ConfigError> {
    let malformed = || ConfigError::Syntax { line, reason: "malformed \\uXXXX escape".to_owned() };
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next() {
                Some('u') => {
                    let mut unit: u16 = 0;
                    for _ in 0..4 {
                        let digit = chars.next().and_then(|c| c.to_digit(16)).ok_or_else(malformed)?;
                        unit = unit << 4 | u16::try_from(digit).map_err(|_| malformed())?;
                    }
                    units.push(unit);
                    continue;
                }
                Some('t') => '\t',
                Some('n') => '\n',
                Some('r') => '\r',
                Some('f') => '\x0c',
                Some(other) => other,
                None => continue,
            },
            other => other,
        };
        units.extend_from_slice(c.encode_utf16(&mut [0; 2]));
    }
    String::from_utf16(&units).map_err(|_| malformed())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).expect("valid")
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn separators_comments_and_blanks() {
        let text = "# c\n! c\n\n a=1\nb : 2\r\nc 3\n  d\t=\t4 \ne\n=f\nlisteners=PLAINTEXT://:9092\n";
        let want = [
            pair("a", "1"),
            pair("b", "2"),
            pair("c", "3"),
            pair("d", "4 "),
            pair("e", ""),
            pair("", "f"),
            pair("listeners", "PLAINTEXT://:9092"),
        ];
        assert_eq!(pairs(text), want);
    }

    #[test]
    fn continuation_and_escapes() {
        assert_eq!(pairs("a=1,\\\n   2,\\\n3"), [pair("a", "1,2,3")]);
        assert_eq!(pairs("a=1\\\\\nb=2"), [pair("a", "1\\"), pair("b", "2")]);
        assert_eq!(pairs("a\\ b\\==x\\ty\\u00e9\\ud83d\\ude00"), [pair("a b=", "x\ty\u{e9}\u{1f600}")]);
        assert_eq!(pairs("a=x\\\n#not a comment"), [pair("a", "x#not a comment")]);
        assert_eq!(pairs("a=1\\"), [pair("a", "1")]);
    }

    #[test]
    fn a_bad_escape_names_its_line() {
        for bad in ["\n\na=\\u12", "\n\na=\\uzzzz", "\n\na=\\ud800x"] {
            assert!(matches!(parse(bad), Err(ConfigError::Syntax { line: 3, .. })), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(\\PC|[\\\\\n\r\t =:#u0-9a-f]){0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn plain_pairs_survive(key in "[a-z.]{1,20}", value in "[a-zA-Z0-9:/.,]{0,30}") {
            prop_assume!(!value.starts_with([':', '=']));
            prop_assert_eq!(pairs(&format!("{key}={value}\n")), [pair(&key, &value)]);
        }
    }
}
