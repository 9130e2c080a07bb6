//! Listeners: what to bind, and what clients are told to connect to.

use super::ConfigError;
use super::validate::types;

/// How a listener is secured (Kafka's `SecurityProtocol`). Only what is served can be expressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    Plaintext,
}

/// One socket to accept connections on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// The listener's name, in capitals.
    pub name: String,
    /// The host to bind; empty for every interface.
    pub host: String,
    /// The port to bind; 0 lets the system choose.
    pub port: u16,
    /// What it speaks.
    pub protocol: SecurityProtocol,
}

impl Listener {
    /// Host and port to bind: every IPv4 interface when no host was given.
    pub fn bind_address(&self) -> (&str, u16) {
        (if self.host.is_empty() { "0.0.0.0" } else { &self.host }, self.port)
    }
}

/// What clients of one listener are told to connect to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// The listener's name, in capitals.
    pub name: String,
    /// The host to tell. `None`: the address the client itself connected to, which it certainly can reach.
    pub host: Option<String>,
    /// The port to tell; 0 means the port the listener was given by the system.
    pub port: u16,
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// Name or address, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// The texts of the keys that describe listeners.
pub(super) struct ListenerKeys<'a> {
    pub listeners: &'a str,
    pub advertised: Option<&'a str>,
    pub protocol_map: &'a str,
    pub controller_names: &'a str,
}

/// Reads all listener keys together.
///
/// # Errors
/// Malformed endpoints, repeated names, names without a protocol, protocols that are not served, and
/// advertised names or addresses nobody can connect to.
pub(super) fn read(keys: &ListenerKeys<'_>) -> Result<(Vec<Listener>, Vec<Advertised>), ConfigError> {
    let controllers: Vec<String> =
        types::list(keys.controller_names).iter().map(|name| name.to_ascii_uppercase()).collect();
    let mut listeners: Vec<Listener> = Vec::new();
    for text in types::list(keys.listeners) {
        let (name, HostPort { host, port }) = endpoint("listeners", text)?;
        if controllers.contains(&name) {
            continue;
        }
        let protocol = protocol_of(&name, keys.protocol_map)?;
        if listeners.iter().any(|other| other.name == name) {
            return Err(ConfigError::invalid(
                "listeners",
                keys.listeners,
                "Each listener must have a different name",
            ));
        }
        if port != 0 && listeners.iter().any(|other| other.port == port && other.host == host) {
            return Err(ConfigError::invalid(
                "listeners",
                keys.listeners,
                "Each listener must have a different port",
            ));
        }
        listeners.push(Listener { name, host, port, protocol });
    }
    if listeners.is_empty() {
        return Err(ConfigError::invalid(
            "listeners",
            keys.listeners,
            "at least one listener for clients is needed",
        ));
    }
    let told = match keys.advertised.filter(|text| !text.trim().is_empty()) {
        Some(text) => advertised(text, &listeners, &controllers)?,
        None => Vec::new(),
    };
    // Every listener answers with something: its own address where none was set.
    let all = listeners.iter().map(|listener| {
        told.iter().find(|other| other.name == listener.name).cloned().unwrap_or_else(|| Advertised {
            name: listener.name.clone(),
            host: Some(listener.host.clone()).filter(|host| !is_wildcard(host)),
            port: listener.port,
        })
    });
    let all = all.collect();
    Ok((listeners, all))
}

fn advertised(
    text: &str,
    listeners: &[Listener],
    controllers: &[String],
) -> Result<Vec<Advertised>, ConfigError> {
    let key = "advertised.listeners";
    let mut told: Vec<Advertised> = Vec::new();
    for element in types::list(text) {
        let (name, HostPort { host, port }) = endpoint(key, element)?;
        if controllers.contains(&name) {
            continue;
        }
        if !listeners.iter().any(|listener| listener.name == name) {
            return Err(ConfigError::invalid(key, text, format!("{name} is not one of the listeners")));
        }
        if told.iter().any(|other| other.name == name) {
            return Err(ConfigError::invalid(key, text, format!("{name} is advertised twice")));
        }
        if is_wildcard(&host) && !host.is_empty() {
            return Err(ConfigError::invalid(
                key,
                text,
                format!("clients cannot connect to {host}; give an address they can reach"),
            ));
        }
        told.push(Advertised { name, host: Some(host).filter(|host| !host.is_empty()), port });
    }
    Ok(told)
}

fn is_wildcard(host: &str) -> bool {
    matches!(host, "" | "0.0.0.0" | "::")
}

/// `NAME://host:port`.
fn endpoint(key: &str, text: &str) -> Result<(String, HostPort), ConfigError> {
    let malformed = || ConfigError::invalid(key, text, "expected NAME://host:port");
    let (name, address) = text.split_once("://").ok_or_else(malformed)?;
    let well_named =
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if !well_named {
        return Err(malformed());
    }
    Ok((name.to_ascii_uppercase(), host_port(address).ok_or_else(malformed)?))
}

/// `host:port` or `[v6-address]:port`; the host may be empty.
pub(super) fn host_port(text: &str) -> Option<HostPort> {
    let (host, port) = text.trim().rsplit_once(':')?;
    let port = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']').filter(|inner| inner.contains(':'))?,
        None if host.contains(':') => return None,
        None => host,
    };
    let well_formed = host.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '/' | '[' | ']' | '@'));
    well_formed.then(|| HostPort { host: host.to_owned(), port })
}

/// The protocol of the listener `name`, through `listener.security.protocol.map`.
fn protocol_of(name: &str, map: &str) -> Result<SecurityProtocol, ConfigError> {
    let key = "listener.security.protocol.map";
    let mut found = None;
    for pair in types::list(map) {
        let (listener, protocol) =
            pair.split_once(':').ok_or_else(|| ConfigError::invalid(key, map, "expected NAME:PROTOCOL"))?;
        if listener.trim().eq_ignore_ascii_case(name) {
            found = Some(protocol.trim().to_ascii_uppercase());
        }
    }
    match found.as_deref() {
        Some("PLAINTEXT") => Ok(SecurityProtocol::Plaintext),
        Some(protocol @ ("SSL" | "SASL_PLAINTEXT" | "SASL_SSL")) => Err(ConfigError::NotServed {
            key: "listeners".to_owned(),
            reason: format!("listener {name} asks for {protocol}, and TLS and SASL are not served yet"),
        }),
        Some(protocol) => Err(ConfigError::invalid(key, map, format!("No security protocol {protocol}"))),
        None => {
            Err(ConfigError::invalid(key, map, format!("No security protocol defined for listener {name}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT";

    fn read_with(
        listeners: &str,
        advertised: Option<&str>,
        protocol_map: &str,
        controller_names: &str,
    ) -> Result<(Vec<Listener>, Vec<Advertised>), ConfigError> {
        read(&ListenerKeys { listeners, advertised, protocol_map, controller_names })
    }

    #[test]
    fn a_bare_listener_tells_clients_what_they_connected_to() {
        let (listeners, told) = read_with("PLAINTEXT://:9092", None, MAP, "").expect("valid");
        assert_eq!(listeners.first().map(Listener::bind_address), Some(("0.0.0.0", 9092)));
        assert_eq!(told, [Advertised { name: "PLAINTEXT".into(), host: None, port: 9092 }]);
    }

    #[test]
    fn the_compose_file_everybody_copies_works() {
        let (listeners, told) = read_with(
            "PLAINTEXT://0.0.0.0:29092, PLAINTEXT_HOST://[::]:9092,CONTROLLER://broker:29093",
            Some("PLAINTEXT://broker:29092,PLAINTEXT_HOST://localhost:9092"),
            "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,PLAINTEXT_HOST:PLAINTEXT",
            "CONTROLLER",
        )
        .expect("valid");
        assert_eq!(listeners.len(), 2);
        assert_eq!(listeners.get(1).map(|l| l.host.as_str()), Some("::"));
        assert_eq!(told.first().and_then(|a| a.host.as_deref()), Some("broker"));
        assert_eq!(told.get(1).and_then(|a| a.host.as_deref()), Some("localhost"));
    }

    #[test]
    fn refuses_what_cannot_work() {
        for (listeners, advertised, map, names) in [
            ("", None, MAP, ""),
            ("CONTROLLER://:9093", None, MAP, "CONTROLLER"),
            ("localhost:9092", None, MAP, ""),
            ("PLAINTEXT://localhost", None, MAP, ""),
            ("PLAINTEXT://localhost:99999", None, MAP, ""),
            ("PLAINTEXT://::1:9092", None, MAP, ""),
            ("PLAINTEXT://a:1,PLAINTEXT://b:2", None, MAP, ""),
            ("PLAINTEXT://a:1,B://a:1", None, "PLAINTEXT:PLAINTEXT,B:PLAINTEXT", ""),
            ("EXTERNAL://:9092", None, MAP, ""),
            ("A://:9092", None, "A:TLS", ""),
            ("A://:9092", None, "A", ""),
            ("PLAINTEXT://:9092", Some("PLAINTEXT://0.0.0.0:9092"), MAP, ""),
            ("PLAINTEXT://:9092", Some("OTHER://h:9092"), MAP, ""),
        ] {
            assert!(read_with(listeners, advertised, map, names).is_err(), "{listeners} {advertised:?}");
        }
    }

    #[test]
    fn secured_listeners_are_refused_with_the_reason() {
        for name in ["SSL", "SASL_PLAINTEXT", "SASL_SSL"] {
            let refused = read_with(&format!("{name}://:9093"), None, MAP, "").expect_err("not served");
            assert!(refused.to_string().contains("not served yet"), "{refused}");
        }
    }
}
