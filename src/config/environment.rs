//! `KAFKA_*` environment variables as broker keys, mapped as in Kafka's official container image.

/// Variables that steer Kafka's scripts and its Java machine. They are no broker keys and mean nothing here.
const SCRIPT_VARIABLES: &[&str] = &[
    "KAFKA_HEAP_OPTS",
    "KAFKA_OPTS",
    "KAFKA_GC_LOG_OPTS",
    "KAFKA_JVM_PERFORMANCE_OPTS",
    "KAFKA_HOME",
    "KAFKA_VERSION",
    "KAFKA_DEBUG",
    "KAFKA_SSL_CONFIG",
    "KAFKA_MODE",
];

/// Families of such variables.
const SCRIPT_PREFIXES: &[&str] = &["KAFKA_JMX_", "KAFKA_LOG4J", "KAFKA_TOOLS_LOG4J", "KAFKA_DEBUG_"];

/// The broker key that a variable sets: `KAFKA_LOG_DIRS` is `log.dirs`. `None` for every variable that is not
/// a broker key: those without the prefix, those of Kafka's scripts, and those a container platform injects
/// for a service that happens to be called `kafka`.
///
/// In the name, `_` stands for `.`, `__` for `_`, and `___` for `-`.
pub fn key_of(variable: &str, value: &str) -> Option<String> {
    let name = variable.strip_prefix("KAFKA_").filter(|name| !name.is_empty())?;
    if SCRIPT_VARIABLES.contains(&variable)
        || SCRIPT_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
        || is_service_link(variable, value)
    {
        return None;
    }
    let mut key = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let (mapped, length) = if rest.starts_with("___") {
            ('-', 3)
        } else if rest.starts_with("__") {
            ('_', 2)
        } else if first == '_' {
            ('.', 1)
        } else {
            (first.to_ascii_lowercase(), first.len_utf8())
        };
        key.push(mapped);
        rest = rest.get(length..).unwrap_or("");
    }
    Some(key)
}

/// Kubernetes and container links describe each service to its neighbours: `KAFKA_SERVICE_HOST`,
/// `KAFKA_PORT=tcp://10.0.0.1:9092`, `KAFKA_PORT_9092_TCP_ADDR`. A broker in the same namespace sees them too.
fn is_service_link(variable: &str, value: &str) -> bool {
    let is_link_url = value.starts_with("tcp://") || value.starts_with("udp://");
    let has_port_part = variable.split_once("_PORT_").is_some_and(|(_, tail)| {
        let after_digits = tail.trim_start_matches(|c: char| c.is_ascii_digit());
        after_digits.len() < tail.len()
            && (after_digits.starts_with("_TCP") || after_digits.starts_with("_UDP"))
    });
    variable.ends_with("_SERVICE_HOST")
        || variable.ends_with("_SERVICE_PORT")
        || variable.contains("_SERVICE_PORT_")
        || has_port_part
        || (variable.ends_with("_PORT") && is_link_url)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn maps_names_as_the_official_image() {
        for (variable, key) in [
            ("KAFKA_LOG_DIRS", "log.dirs"),
            ("KAFKA_NODE_ID", "node.id"),
            ("KAFKA_LISTENER_NAME_A__B_SSL_KEYSTORE_TYPE", "listener.name.a_b.ssl.keystore.type"),
            ("KAFKA_LISTENER_NAME_A___B_X", "listener.name.a-b.x"),
            ("KAFKA_TIDELOG_METRICS_LISTENER", "tidelog.metrics.listener"),
        ] {
            assert_eq!(key_of(variable, "x").as_deref(), Some(key));
        }
    }

    #[test]
    fn leaves_other_variables_alone() {
        for (variable, value) in [
            ("PATH", "/bin"),
            ("KAFKA_", "x"),
            ("KAFKA_HEAP_OPTS", "-Xmx1G"),
            ("KAFKA_JMX_PORT", "9999"),
            ("KAFKA_LOG4J_ROOT_LOGLEVEL", "INFO"),
            ("KAFKA_SERVICE_HOST", "10.0.0.1"),
            ("KAFKA_SERVICE_PORT_CLIENT", "9092"),
            ("KAFKA_PORT", "tcp://10.0.0.1:9092"),
            ("KAFKA_PORT_9092_TCP_ADDR", "10.0.0.1"),
            ("KAFKA_UI_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ] {
            assert_eq!(key_of(variable, value), None, "{variable}");
        }
        // Not a link: a real key that was set wrongly must be reported.
        assert_eq!(key_of("KAFKA_PORT", "9092").as_deref(), Some("port"));
    }

    proptest! {
        #[test]
        fn every_dotted_key_can_be_reached(key in "[a-z]{1,8}([._-][a-z]{1,8}){0,4}") {
            let name = key.replace('_', "__").replace('-', "___").replace('.', "_").to_uppercase();
            // Free of the words that mark script variables and service links.
            prop_assume!(!name.contains("LOG4J") && !name.contains("PORT") && !name.contains("SERVICE"));
            let variable = format!("KAFKA_{name}");
            prop_assume!(!SCRIPT_VARIABLES.contains(&variable.as_str()));
            prop_assume!(!SCRIPT_PREFIXES.iter().any(|prefix| variable.starts_with(prefix)));
            prop_assert_eq!(key_of(&variable, "x"), Some(key));
        }
    }
}
