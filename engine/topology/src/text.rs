//! Names, ids, assets, URLs, addresses and texts: what they may look like, and why not otherwise.

use crate::problem::{Code, Fault, shown};
use hongbao_schemas::money::{Asset, AssetError};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// Longest name of a downstream, pool, lane or topology, and longest scene id, in bytes.
pub const NAME_BYTES_MAX: usize = 48;
/// Longest id of a reward type or an activity, in bytes.
pub const ID_BYTES_MAX: usize = 64;
/// Longest bill text, in characters.
pub const BILL_TEXT_CHARS_MAX: usize = 100;
/// Longest URL or path, in bytes.
pub const PATH_BYTES_MAX: usize = 2048;

/// Words that readers of YAML 1.1 take for booleans. They are refused where they stand plain, so
/// that every tool reads the same from these files.
const BOOLEAN_WORDS: &[&str] = &["on", "off", "yes", "no", "y", "n"];

/// A plain word that other tools read as something else than text.
pub(crate) fn is_boolean_word(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    BOOLEAN_WORDS.contains(&lower.as_str()) || matches!(lower.as_str(), "true" | "false")
}

/// A name that becomes part of topics, metrics and folders: `[a-z0-9][a-z0-9_.-]*`.
pub(crate) fn name(text: &str) -> Result<String, Fault> {
    let help = "use lower-case letters, digits and `_ . -`, beginning with a letter or digit";
    let begins = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b);
    checked(text, "a name", NAME_BYTES_MAX, begins && text.bytes().all(allowed), help)
}

/// A scene id, which is a part of order numbers and so holds no `_` (R3).
pub(crate) fn scene_id(text: &str) -> Result<String, Fault> {
    let help = "use letters, digits and `. : -`; not `_`, which separates the parts of an order number";
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b".:-".contains(&b);
    checked(text, "a scene id", NAME_BYTES_MAX, text.bytes().all(allowed), help)
}

/// An id of a reward type or an activity: `[A-Za-z0-9_.:-]+`.
pub(crate) fn id(text: &str) -> Result<String, Fault> {
    let help = "use letters, digits and `_ . : -`";
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    checked(text, "an id", ID_BYTES_MAX, text.bytes().all(allowed), help)
}

fn checked(text: &str, what: &str, bytes_max: usize, good: bool, help: &str) -> Result<String, Fault> {
    if good && !text.is_empty() && text.len() <= bytes_max {
        return Ok(text.to_owned());
    }
    let message = if text.len() > bytes_max {
        format!("{} is longer than {bytes_max} bytes", shown(text))
    } else {
        format!("{} is not {what}", shown(text))
    };
    Err(Fault::new(Code::BadText, message, help))
}

/// An asset, such as `CNY/2`.
pub(crate) fn asset(text: &str) -> Result<Asset, Fault> {
    Asset::parse(text).map_err(|error: AssetError| {
        let message = format!("{} is not an asset: {error}", shown(text));
        Fault::new(
            Code::BadText,
            message,
            "write code and decimals, such as `CNY/2` (fen) or `COUPON/0` (pieces)",
        )
    })
}

/// What the bill says.
pub(crate) fn bill_text(text: &str) -> Result<String, Fault> {
    if text.chars().any(char::is_control) {
        return Err(Fault::new(
            Code::BadText,
            "a bill text holds a control character",
            "write it on one line",
        ));
    }
    if text.chars().count() > BILL_TEXT_CHARS_MAX {
        let message = format!("a bill text has at most {BILL_TEXT_CHARS_MAX} characters");
        return Err(Fault::new(Code::BadText, message, "shorten it"));
    }
    Ok(text.to_owned())
}

/// The path of a file; it is not opened here.
pub(crate) fn path(text: &str) -> Result<String, Fault> {
    if text.is_empty() || text.len() > PATH_BYTES_MAX || text.chars().any(char::is_control) {
        let message = format!("{} is not the path of a file", shown(text));
        return Err(Fault::new(Code::BadText, message, "name a file, such as `/run/secrets/mall_token`"));
    }
    Ok(text.to_owned())
}

/// The URL of a downstream: `http` or `https`, a host, no user or password, no fragment.
pub(crate) fn url(text: &str) -> Result<String, Fault> {
    let example = "write it as `http://host:port/path` or `https://...`";
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next().unwrap_or("");
    let unfit = |c: char| c.is_whitespace() || c.is_control() || "\"<>\\^`{|}".contains(c) || !c.is_ascii();
    let (why, help) = if !text.starts_with("http://") && !text.starts_with("https://") {
        ("it begins with neither http:// nor https://", example)
    } else if text.len() > PATH_BYTES_MAX || text.contains(unfit) {
        ("it is too long or holds a character that must be percent-encoded", example)
    } else if rest.contains('#') {
        ("a fragment (`#...`) is never sent", "remove it")
    } else if !is_authority(authority) {
        ("the host or port is not valid", example)
    } else {
        return Ok(text.to_owned());
    };
    // A password may hold any of these faults, so the value itself stays out of the message.
    if rest.contains('@') {
        let message = "a URL of a downstream holds a user name or password";
        let help = "put the token into a file and name it: `bearer_file`";
        return Err(Fault::new(Code::SecretInUrl, message, help));
    }
    let message = format!("{} is not a URL of a downstream: {why}", shown(text));
    Err(Fault::new(Code::BadText, message, help))
}

/// As [`url`], and without a query, because `?key=...` is appended to it.
pub(crate) fn query_url(text: &str) -> Result<String, Fault> {
    let text = url(text)?;
    if text.contains('?') {
        let message = format!("{} already has a query", shown(&text));
        return Err(Fault::new(Code::BadText, message, "remove it: `?key=...` is appended to this URL"));
    }
    Ok(text)
}

fn is_authority(authority: &str) -> bool {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((host, after)) if host.parse::<Ipv6Addr>().is_ok() => ("v6", after),
            _ => return false,
        },
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let host_good = !host.is_empty()
        && host.len() <= 253
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b));
    let port_good = match port.strip_prefix(':') {
        Some(digits) => {
            digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok_and(|port| port > 0)
        }
        None => port.is_empty(),
    };
    host_good && port_good
}

/// An address to listen on.
pub(crate) fn listen(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        let help = match text.rsplit_once(':') {
            Some(("localhost", port)) => format!("write `127.0.0.1:{port}`"),
            Some(("" | "*", port)) => {
                format!("write `127.0.0.1:{port}`, or `0.0.0.0:{port}` with `tokens_file` for all interfaces")
            }
            _ => "write an IP address and a port, such as `127.0.0.1:8080` or `[::1]:8080`".to_owned(),
        };
        Fault::new(Code::BadText, format!("{} is not an address to listen on", shown(text)), help)
    })
}

/// Whether an address can be reached from this machine only; on any other the API needs tokens.
#[must_use]
pub fn is_loopback(address: SocketAddr) -> bool {
    match address.ip() {
        IpAddr::V4(ip) => ip.is_loopback(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.to_ipv4_mapped().is_some_and(|ip| ip.is_loopback()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_ids() {
        type Parse = fn(&str) -> Result<String, Fault>;
        let long_name = "a".repeat(NAME_BYTES_MAX);
        let long_id = "a".repeat(ID_BYTES_MAX);
        let cases: [(Parse, &[&str], &[&str]); 3] = [
            (
                name,
                &["cash", "0", "a_b.c-d", "newyear-2027", &long_name],
                &["", "Cash", "_a", ".a", "-a", "a b", "a/b", "ä", "红", "a\n", &format!("{long_name}a")],
            ),
            (
                scene_id,
                &["rain-1", "R.2:3", "-", "1", &long_name],
                &["", "rain_1", "a b", "é", "a/b", &long_id],
            ),
            (
                id,
                &["spring-2027", "A_b.c:d-e", "coupon.film", &long_id],
                &["", "a b", "红", "a/b", &format!("{long_id}a")],
            ),
        ];
        for (parse, good, bad) in cases {
            for text in good {
                assert_eq!(parse(text).as_deref(), Ok(*text));
            }
            for text in bad {
                assert_eq!(parse(text).map_err(|fault| fault.code), Err(Code::BadText), "{text}");
            }
        }
    }

    #[test]
    fn urls() {
        let good = [
            "http://127.0.0.1:9502/grant",
            "https://pay.example.com",
            "http://[::1]:80/x?a=b",
            "http://a-b_c.d:65535",
        ];
        for text in good {
            assert_eq!(url(text).as_deref(), Ok(text));
        }
        let bad = [
            "",
            "127.0.0.1:9502",
            "ftp://a",
            "http://",
            "http:///x",
            "http://:80",
            "http://a:0",
            "http://a:65536",
            "http://a:+80",
            "http://a:b",
            "http://a b",
            "http://a/红",
            "http://a#x",
            "http://u:p@a",
            "http://u@a",
            "ftp://u:p@a",
            "u:p@a/x",
            "http://u:p/q@a",
            "http://u:p#q@a",
            "http://u:p q@a",
            "http://[::1",
            "http://[zz]",
            "http://[::1]x",
            "HTTP://a",
            "http://a\n",
        ];
        for text in bad {
            let expected = if text.contains('@') { Code::SecretInUrl } else { Code::BadText };
            assert_eq!(url(text).map_err(|fault| fault.code), Err(expected), "{text}");
        }
        assert!(query_url("http://a/q").is_ok());
        assert!(query_url("http://a/q?x=1").is_err());
        for text in ["http://user:secret@a", "ftp://user:secret@a", "user:sec ret/secret@a"] {
            let fault = url(text).unwrap_err();
            assert!(!fault.message.contains("secret") && !fault.help.unwrap().contains("secret"), "{text}");
        }
    }

    #[test]
    fn addresses() {
        let cases = [
            ("127.0.0.1:8080", true),
            ("127.9.9.9:1", true),
            ("[::1]:8080", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("0.0.0.0:8080", false),
            ("[::]:8080", false),
            ("10.0.0.1:0", false),
        ];
        for (text, loopback) in cases {
            assert_eq!(listen(text).map(is_loopback), Ok(loopback), "{text}");
        }
        let help = |text| listen(text).unwrap_err().help.unwrap();
        assert_eq!(help("localhost:80"), "write `127.0.0.1:80`");
        assert!(help(":80").contains("0.0.0.0:80"));
        for text in ["", "8080", "127.0.0.1", "host:80", "127.0.0.1:99999"] {
            assert!(listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bill_texts_and_paths() {
        assert!(bill_text("").is_ok() && bill_text("新年红包雨").is_ok());
        assert!(bill_text(&"包".repeat(BILL_TEXT_CHARS_MAX)).is_ok());
        for text in ["a\nb", "a\u{1b}[2J", &"包".repeat(BILL_TEXT_CHARS_MAX + 1)] {
            assert!(bill_text(text).is_err(), "{text:?}");
        }
        assert!(path("/run/x").is_ok() && path("").is_err() && path("a\0b").is_err());
    }
}
