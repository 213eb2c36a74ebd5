//! Environment variables that begin with `CAIRN_` and are none of ours.
//!
//! One that is nearly ours is a slip that would leave a default in force, and is refused. Others are told of and left
//! alone: they may be someone else's. Kubernetes puts variables for each service into every pod, and a service may
//! well be called `cairn` or `cairn-s3`: these say nothing to anyone.

use anyhow::{Result, bail};

const OURS: &str = "CAIRN_";
/// Letters a slip may change.
const SLIP_LETTERS_MAX: usize = 2;
/// A name of so many letters can bear one changed letter, and so on: `CAIRN_URL` is no slip of `CAIRN_TLS`.
const LETTERS_FOR_ONE: usize = 3;

/// Sorts out the names of the environment. Gives those nobody knows.
///
/// # Errors
/// One is nearly the name of a setting.
pub(crate) fn unknown(names: impl Iterator<Item = String>, known: &[String]) -> Result<Vec<String>> {
    let mut unknown = Vec::new();
    for name in names.filter(|name| name.starts_with(OURS)) {
        if known.contains(&name) || is_of_kubernetes(&name) {
            continue;
        }
        if let Some(meant) = known.iter().find(|known| is_slip(&name, known)) {
            bail!("environment variable {name} is not known: {meant} is, was it meant? Unset it if not");
        }
        unknown.push(name);
    }
    unknown.sort();
    Ok(unknown)
}

/// `X_SERVICE_HOST`, `X_SERVICE_PORT`, `X_SERVICE_PORT_NAME`, `X_PORT`, `X_PORT_9000_TCP` and `…_TCP_PROTO|PORT|ADDR`,
/// where X is the name of a service.
fn is_of_kubernetes(name: &str) -> bool {
    let is_of_service = |rest: &str| rest == "HOST" || rest == "PORT" || rest.starts_with("PORT_");
    if name.ends_with("_PORT") || name.split_once("_SERVICE_").is_some_and(|(_, rest)| is_of_service(rest)) {
        return true;
    }
    let Some((_, rest)) = name.rsplit_once("_PORT_") else { return false };
    let mut words = rest.split('_');
    let is_number = words.next().is_some_and(|word| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit()));
    let is_protocol = words.next().is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"));
    is_number && is_protocol && words.next().is_none_or(|word| matches!(word, "PROTO" | "PORT" | "ADDR"))
}

fn is_slip(name: &str, known: &str) -> bool {
    let letters = known.len().saturating_sub(OURS.len());
    distance(name.as_bytes(), known.as_bytes()) <= (letters / LETTERS_FOR_ONE).min(SLIP_LETTERS_MAX)
}

/// Letters to be changed, added, taken out or swapped with their neighbour to make one word of the other.
fn distance(one: &[u8], other: &[u8]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=other.len()).collect();
    for (row, letter) in one.iter().enumerate() {
        let mut line = vec![row + 1];
        for (column, wanted) in other.iter().enumerate() {
            let changed = above[column] + usize::from(letter != wanted);
            let mut least = changed.min(above[column + 1] + 1).min(line[column] + 1);
            let swapped = row > 0 && column > 0 && one[row - 1] == *wanted && *letter == other[column - 1];
            if swapped {
                least = least.min(before[column - 1] + 1);
            }
            line.push(least);
        }
        before = std::mem::replace(&mut above, line);
    }
    above.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sort_out(names: &[&str]) -> Result<Vec<String>> {
        let known: Vec<String> =
            ["CAIRN_DATA", "CAIRN_DISK", "CAIRN_DISKS", "CAIRN_TLS", "CAIRN_S3_LISTEN", "CAIRN_META"]
                .map(str::to_owned)
                .into();
        unknown(names.iter().map(ToString::to_string), &known)
    }

    #[test]
    fn slips_are_refused_with_what_was_meant() {
        for (slip, meant) in [
            ("CAIRN_S3_LISTN", "CAIRN_S3_LISTEN"),
            ("CAIRN_S3LISTEN", "CAIRN_S3_LISTEN"),
            ("CAIRN_S3_LSITNE", "CAIRN_S3_LISTEN"),
            ("CAIRN_DTAA", "CAIRN_DATA"),
            ("CAIRN_DATE", "CAIRN_DATA"),
            ("CAIRN_DISCS", "CAIRN_DISKS"),
            ("CAIRN_TSL", "CAIRN_TLS"),
        ] {
            let told = sort_out(&[slip]).unwrap_err().to_string();
            assert!(told.contains(slip) && told.contains(meant), "{told}");
        }
    }

    #[test]
    fn what_others_set_is_told_of_or_passed_over() {
        let others = ["PATH", "CAIRN_DATA", "CAIRN_DISK", "CAIRN_VERSION", "CAIRN_URL", "OTHER_S3_LISTN"];
        assert_eq!(sort_out(&others).unwrap(), ["CAIRN_URL", "CAIRN_VERSION"]);
        let of_kubernetes = [
            "CAIRN_SERVICE_HOST",
            "CAIRN_SERVICE_PORT",
            "CAIRN_SERVICE_PORT_S3",
            "CAIRN_PORT",
            "CAIRN_PORT_9000_TCP",
            "CAIRN_PORT_9000_TCP_PROTO",
            "CAIRN_PORT_9000_TCP_PORT",
            "CAIRN_PORT_9000_TCP_ADDR",
            "CAIRN_S3_SERVICE_HOST",
            "CAIRN_S3_PORT_9000_TCP_ADDR",
            "CAIRN_HEADLESS_PORT_53_UDP",
        ];
        assert_eq!(sort_out(&of_kubernetes).unwrap(), Vec::<String>::new());
        assert_eq!(sort_out(&["CAIRN_PORT_S3_TCP"]).unwrap(), ["CAIRN_PORT_S3_TCP"]);
    }

    #[test]
    fn distances() {
        for (one, other, wanted) in
            [("", "", 0), ("", "ab", 2), ("abc", "abc", 0), ("abc", "acb", 1), ("abc", "ab", 1), ("abcd", "xbcy", 2)]
        {
            assert_eq!(distance(one.as_bytes(), other.as_bytes()), wanted, "{one} {other}");
        }
    }
}
