//! The types a configuration value can have, and how text is read as each.

/// The type of a configuration value (Kafka's `ConfigDef.Type`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueType {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
    Class,
    Password,
}

impl ValueType {
    /// The number of the type in DescribeConfigs replies (KIP-569, `DescribeConfigsResponse.ConfigType`).
    pub const fn code(self) -> i8 {
        match self {
            Self::Boolean => 1,
            Self::String => 2,
            Self::Int => 3,
            Self::Short => 4,
            Self::Long => 5,
            Self::Double => 6,
            Self::List => 7,
            Self::Class => 8,
            Self::Password => 9,
        }
    }

    /// The name Kafka uses for the type in its messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "BOOLEAN",
            Self::String => "STRING",
            Self::Int => "INT",
            Self::Short => "SHORT",
            Self::Long => "LONG",
            Self::Double => "DOUBLE",
            Self::List => "LIST",
            Self::Class => "CLASS",
            Self::Password => "PASSWORD",
        }
    }
}

/// Reads a boolean; case does not matter, as in Kafka.
pub fn boolean(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// Reads a whole number of the width of `kind`.
pub fn integer(kind: ValueType, text: &str) -> Option<i64> {
    let text = text.trim();
    match kind {
        ValueType::Short => text.parse::<i16>().ok().map(i64::from),
        ValueType::Int => text.parse::<i32>().ok().map(i64::from),
        ValueType::Long => text.parse::<i64>().ok(),
        _ => None,
    }
}

/// Reads a finite floating-point number.
pub fn double(text: &str) -> Option<f64> {
    text.trim().parse::<f64>().ok().filter(|number| number.is_finite())
}

/// Splits a list at its commas. Blanks around an element do not count; an empty text is an empty list.
pub fn list(text: &str) -> Vec<&str> {
    if text.trim().is_empty() { Vec::new() } else { text.split(',').map(str::trim).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_respect_their_width() {
        assert_eq!(integer(ValueType::Int, " 2147483647 "), Some(i64::from(i32::MAX)));
        assert_eq!(integer(ValueType::Int, "2147483648"), None);
        assert_eq!(integer(ValueType::Short, "40000"), None);
        assert_eq!(integer(ValueType::Long, "9223372036854775808"), None);
        assert_eq!(integer(ValueType::Long, "1e3"), None);
        assert_eq!(double("NaN"), None);
        assert_eq!(double("0.5"), Some(0.5));
    }

    #[test]
    fn lists_are_trimmed_and_may_be_empty() {
        assert_eq!(list("compact, delete"), ["compact", "delete"]);
        assert!(list("  ").is_empty());
    }

    #[test]
    fn booleans_ignore_case_and_nothing_else() {
        assert_eq!(boolean("TRUE"), Some(true));
        assert_eq!(boolean(" false "), Some(false));
        assert_eq!(boolean("yes"), None);
    }
}
