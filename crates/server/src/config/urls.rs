//! The URLs of listeners and of advertised addresses.
//!
//! A URL here is a scheme and a place, nothing else. Its text is kept as it was written (in lower
//! case up to `://`): it is hashed into member ids and shown to clients, so that a library which
//! adds a slash or drops a default port would change a cluster's identity.
//!
//! ```text
//!   http://localhost:2379     bound on 127.0.0.1, IPv4 first as etcd does
//!   http://[::1]:2379         bound on ::1
//!   unix:///run/meta.sock     a socket file; unix://meta.sock is relative, unix://a:1 is a file "a:1"
//!   http://example.com:2379   fine to advertise, refused for binding
//! ```
//!
//! Nothing here asks a name server.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// How the peer at the other end talks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scheme {
    /// Plain TCP.
    Http,
    /// TLS over TCP.
    Https,
    /// A plain socket file.
    Unix,
    /// TLS over a socket file.
    Unixs,
}

/// A URL that names a listener or an advertised address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Url {
    text: String,
    scheme: Scheme,
    /// Where the place begins in `text`: behind `://`.
    place: usize,
}

/// Where a listener binds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BindAddress {
    /// A TCP address; port 0 lets the system choose.
    Tcp(SocketAddr),
    /// A socket file.
    Unix(PathBuf),
}

/// Why a text is not a URL for us. The texts are etcd's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Not one of the four schemes.
    #[error("URL scheme must be http, https, unix, or unixs: {0}")]
    Scheme(String),
    /// No port, or more than a host and a port.
    #[error("URL address does not have the form \"host:port\": {0}")]
    HostPort(String),
    /// A port that is no number of 16 bits.
    #[error("parse {url:?}: invalid port {port:?} after host")]
    Port {
        /// The URL.
        url: String,
        /// Its port, with the colon.
        port: String,
    },
    /// Something follows host and port.
    #[error("URL must not contain a path: {0}")]
    Path(String),
}

/// The URL names a host that no socket can be bound to without asking a name server.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected IP in URL for binding ({0})")]
pub struct NotBindable(pub Url);

impl Url {
    /// Reads one URL; blanks around it are ignored.
    pub fn parse(text: &str) -> Result<Url, UrlError> {
        let text = text.trim();
        let (scheme_text, rest) =
            text.split_once("://").ok_or_else(|| UrlError::Scheme(text.to_owned()))?;
        let lower = scheme_text.to_ascii_lowercase();
        let scheme = match lower.as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            "unix" => Scheme::Unix,
            "unixs" => Scheme::Unixs,
            _ => return Err(UrlError::Scheme(text.to_owned())),
        };
        if scheme.is_tcp() {
            check_host_and_port(text, rest)?;
        } else if rest.is_empty() {
            return Err(UrlError::HostPort(text.to_owned()));
        }
        Ok(Url { text: format!("{lower}://{rest}"), scheme, place: lower.len() + 3 })
    }

    /// Reads a comma list, sorts it and drops repetitions, as etcd does. Empty text: no URL.
    pub fn parse_list(text: &str) -> Result<Vec<Url>, UrlError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut urls = text.split(',').map(Url::parse).collect::<Result<Vec<_>, _>>()?;
        urls.sort();
        urls.dedup();
        Ok(urls)
    }

    /// The text as it is shown and hashed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The scheme.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What follows `://`: host and port, or the path of a socket file.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.text[self.place..]
    }

    /// Whether a listener on it needs a certificate.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        matches!(self.scheme, Scheme::Https | Scheme::Unixs)
    }

    /// The address to bind: an IP, `localhost` (its IPv4 address) or a socket file.
    pub fn bind_address(&self) -> Result<BindAddress, NotBindable> {
        if !self.scheme.is_tcp() {
            return Ok(BindAddress::Unix(PathBuf::from(self.place())));
        }
        let (host, port) = split_host_port(self.place()).ok_or(NotBindable(self.clone()))?;
        let ip = match host {
            "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
            host => host.parse().map_err(|_| NotBindable(self.clone()))?,
        };
        // Go lets the system choose a port when none is written.
        let port = if port.is_empty() {
            0
        } else {
            port.parse().map_err(|_| NotBindable(self.clone()))?
        };
        Ok(BindAddress::Tcp(SocketAddr::new(ip, port)))
    }

    /// The form in which two URLs are compared: `localhost` is its IPv4 address.
    #[must_use]
    pub(crate) fn resolved(&self) -> String {
        match self.place().strip_prefix("localhost:") {
            Some(port) if self.scheme.is_tcp() => {
                format!("{}127.0.0.1:{port}", &self.text[..self.place])
            }
            _ => self.text.clone(),
        }
    }
}

impl Scheme {
    fn is_tcp(self) -> bool {
        matches!(self, Scheme::Http | Scheme::Https)
    }
}

fn check_host_and_port(text: &str, rest: &str) -> Result<(), UrlError> {
    if let Some((authority, _)) = rest.split_once('/') {
        return Err(match split_host_port(authority) {
            Some(_) => UrlError::Path(text.to_owned()),
            None => UrlError::HostPort(text.to_owned()),
        });
    }
    let (_, port) = split_host_port(rest).ok_or_else(|| UrlError::HostPort(text.to_owned()))?;
    let is_number = port.bytes().all(|b| b.is_ascii_digit());
    if is_number && (port.is_empty() || port.parse::<u16>().is_ok()) {
        return Ok(());
    }
    Err(UrlError::Port { url: text.to_owned(), port: format!(":{port}") })
}

/// Host without brackets and port, or `None` if this is not `host:port`.
fn split_host_port(place: &str) -> Option<(&str, &str)> {
    if place.contains(['@', '?', '#', ' ']) {
        return None;
    }
    let (host, port) = place.rsplit_once(':')?;
    match host.strip_prefix('[') {
        Some(inner) => Some((inner.strip_suffix(']')?, port)),
        // A bare IPv6 address: its last group is not a port.
        None if host.contains(':') => None,
        None => Some((host, port)),
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A list as an operator writes it.
#[must_use]
pub(super) fn join(urls: &[Url]) -> String {
    urls.iter().map(Url::as_str).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::{BindAddress, Url};

    #[test]
    fn each_wrong_url_gets_the_words_of_etcd() {
        for (text, message) in [
            ("foo", "URL scheme must be http, https, unix, or unixs: foo"),
            ("", "URL scheme must be http, https, unix, or unixs: "),
            (
                "ftp://127.0.0.1:1",
                "URL scheme must be http, https, unix, or unixs: ftp://127.0.0.1:1",
            ),
            ("http://foo", "URL address does not have the form \"host:port\": http://foo"),
            ("http://", "URL address does not have the form \"host:port\": http://"),
            ("http://::1", "URL address does not have the form \"host:port\": http://::1"),
            ("http://127.0.0.1:1/", "URL must not contain a path: http://127.0.0.1:1/"),
            ("http://127.0.0.1:1/x", "URL must not contain a path: http://127.0.0.1:1/x"),
            (
                "http://1.2.3.4:abc",
                "parse \"http://1.2.3.4:abc\": invalid port \":abc\" after host",
            ),
            (
                "http://1.2.3.4:65536",
                "parse \"http://1.2.3.4:65536\": invalid port \":65536\" after host",
            ),
        ] {
            let error = Url::parse(text).expect_err(text);
            assert_eq!(error.to_string(), message);
        }
    }

    #[test]
    fn a_listener_binds_an_ip_localhost_or_a_socket_file() {
        for (text, address) in [
            ("http://localhost:2379", "127.0.0.1:2379"),
            ("HTTP://0.0.0.0:1", "0.0.0.0:1"),
            ("http://[::1]:2379", "[::1]:2379"),
            ("https://127.0.0.1:", "127.0.0.1:0"),
        ] {
            let url = Url::parse(text).expect(text);
            let bound = url.bind_address().expect(text);
            assert_eq!(bound, BindAddress::Tcp(address.parse().expect("an address")), "{text}");
        }
        for (text, path) in [
            ("unix:///tmp/a.sock", "/tmp/a.sock"),
            ("unix://a.sock", "a.sock"),
            ("unix://localhost:1", "localhost:1"),
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!(url.bind_address(), Ok(BindAddress::Unix(path.into())), "{text}");
        }
        for text in ["http://foo:1", "http://*:1", "http://:1"] {
            let error = Url::parse(text).expect(text).bind_address().expect_err(text);
            assert_eq!(error.to_string(), format!("expected IP in URL for binding ({text})"));
        }
    }

    #[test]
    fn a_list_is_sorted_and_without_repetitions() {
        let urls = Url::parse_list("http://b:1, http://a:1,http://b:1").expect("a list");
        assert_eq!(super::join(&urls), "http://a:1,http://b:1");
        assert_eq!(Url::parse_list("").expect("an empty list"), []);
        Url::parse_list("http://a:1,").expect_err("an empty URL at the end");
    }
}
