//! The values of settings as they are written by people: one form for flags, environment and TOML.

use std::{fmt, path::PathBuf, str::FromStr, time::Duration};

use cairn_cluster::ProfileChoice;
use cairn_erasure::ErasureProfile;
use serde::Deserialize;
use tracing_subscriber::filter::{LevelFilter, Targets};

/// How the S3 face is secured.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) enum TlsChoice {
    /// A CA of the server's own.
    Auto,
    /// Plain HTTP.
    Off,
    /// PEM files that somebody else renews.
    Files {
        /// The chain, leaf first.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
}

impl FromStr for TlsChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => return Ok(Self::Auto),
            "off" => return Ok(Self::Off),
            _ => {}
        }
        match text.split_once(',') {
            Some((cert, key)) if !cert.is_empty() && !key.is_empty() && !key.contains(',') => {
                Ok(Self::Files { cert: cert.into(), key: key.into() })
            }
            _ => Err("`auto`, `off`, or two PEM files as `CERT,KEY`".to_owned()),
        }
    }
}

/// The profile of new placement groups.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct ProfileSetting(pub(crate) ProfileChoice);

impl fmt::Display for ProfileSetting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ProfileChoice::Auto => formatter.write_str("auto"),
            ProfileChoice::Fixed(profile) => profile.fmt(formatter),
        }
    }
}

impl FromStr for ProfileSetting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(ProfileChoice::Auto));
        }
        let profile: ErasureProfile = text.parse().map_err(|error| format!("{error}; or `auto`"))?;
        Ok(Self(ProfileChoice::Fixed(profile)))
    }
}

/// A bucket's ETag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum EtagSetting {
    /// The MD5 of the bytes
    Md5,
    /// A cheaper digest in the form of a multipart ETag
    Fast,
}

/// A storage class and its profile.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct StorageClass {
    /// Its name.
    pub(crate) name: String,
    /// Its profile.
    pub(crate) profile: ErasureProfile,
}

const CLASS_NAME_BYTES_MAX: usize = 64;

impl FromStr for StorageClass {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((name, profile)) = text.split_once('=') else {
            return Err("a name and a profile, as `REDUCED_REDUNDANCY=5+1`".to_owned());
        };
        let is_plain = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_';
        if name.is_empty() || name.len() > CLASS_NAME_BYTES_MAX || !name.bytes().all(is_plain) {
            return Err(format!(
                "`{name}` is no storage class: A to Z, digits and `_`, at most {CLASS_NAME_BYTES_MAX}"
            ));
        }
        if name == "STANDARD" {
            return Err("STANDARD is the bucket's profile: set that, or --profile".to_owned());
        }
        let profile = profile.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { name: name.to_owned(), profile })
    }
}

/// A length of time: a number and a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Period(pub(crate) Duration);

impl FromStr for Period {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_ms: u64 = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return Err("a number and one of ms, s, m, h, d, as in `25s`".to_owned()),
        };
        let number: u64 = number.parse().map_err(|_| "a number and a unit, as in `25s`".to_owned())?;
        let ms = number.checked_mul(unit_ms).ok_or_else(|| "too long".to_owned())?;
        Ok(Self(Duration::from_millis(ms)))
    }
}

/// How log lines are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        clap::ValueEnum::from_str(text, false).map_err(|_| "`text` or `json`".to_owned())
    }
}

/// Which log lines are written: a level, or levels by module.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct LogLevel(pub(crate) Targets);

/// Modules that are told apart, or talk too much at the level meant for our own.
const QUIETER: [(&str, tracing::Level); 2] = [("openraft", tracing::Level::WARN), ("h2", tracing::Level::WARN)];

impl FromStr for LogLevel {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const FORM: &str = "off, error, warn, info, debug or trace, or by module as in `info,cairn_meta=debug`";
        let mut words = text.split(',').map(str::trim);
        // A bare word that is no level would be taken as a module's name: a typo would switch all logs off.
        let bare_words_are_levels =
            words.all(|word| word.contains('=') || (!word.is_empty() && word.parse::<LevelFilter>().is_ok()));
        let named: Targets = text.parse().map_err(|_| FORM.to_owned())?;
        if !bare_words_are_levels {
            return Err(FORM.to_owned());
        }
        let quieter = QUIETER.iter().filter(|(module, _)| !text.contains(module));
        Ok(Self(named.with_targets(quieter.map(|(module, level)| (module.to_string(), *level)))))
    }
}

/// A number of bytes, with or without a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "SizeText")]
pub(crate) struct ByteCount(pub(crate) u64);

impl FromStr for ByteCount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let unit_bytes: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kib" | "k" => 1 << 10,
            "mib" | "m" => 1 << 20,
            "gib" | "g" => 1 << 30,
            "tib" | "t" => 1 << 40,
            "pib" | "p" => 1 << 50,
            "eib" | "e" => 1 << 60,
            "kb" => 1000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "pb" => 1_000_000_000_000_000,
            "eb" => 1_000_000_000_000_000_000,
            _ => return Err("a number and a unit, as in `500GiB`".to_owned()),
        };
        if number.is_empty() {
            return Err("a number and a unit, as in `500GiB`".to_owned());
        }
        // Digits alone: what cannot be read is too long.
        let bytes = number.parse().ok().and_then(|number: u64| number.checked_mul(unit_bytes));
        bytes.map(Self).ok_or_else(|| format!("`{text}` is too large: less than 16EiB can be named"))
    }
}

/// A number of bytes as TOML has it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a size as \"50GiB\"")]
enum SizeText {
    Text(String),
    Bytes(u64),
}

impl TryFrom<SizeText> for ByteCount {
    type Error = String;

    fn try_from(size: SizeText) -> Result<Self, String> {
        match size {
            SizeText::Text(text) => text.parse(),
            SizeText::Bytes(bytes) => Ok(Self(bytes)),
        }
    }
}

impl fmt::Display for ByteCount {
    /// At most one decimal: for people, never read back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut unit_bytes: u64 = 1;
        for unit in ["B", "KiB", "MiB", "GiB", "TiB", "PiB"] {
            let next = unit_bytes.saturating_mul(1024);
            if self.0 < next || unit == "PiB" {
                let whole = self.0 / unit_bytes;
                let tenth = (self.0 % unit_bytes) / (unit_bytes / 10).max(1);
                return match unit {
                    "B" => write!(f, "{whole} B"),
                    _ => write!(f, "{whole}.{} {unit}", tenth.min(9)),
                };
            }
            unit_bytes = next;
        }
        Ok(())
    }
}

macro_rules! from_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                text.parse()
            }
        }
    )*};
}

from_text!(TlsChoice, ProfileSetting, StorageClass, Period, LogLevel);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_a_word_or_two_files() {
        assert_eq!("auto".parse(), Ok(TlsChoice::Auto));
        assert_eq!("off".parse(), Ok(TlsChoice::Off));
        assert_eq!("a.crt,a.key".parse(), Ok(TlsChoice::Files { cert: "a.crt".into(), key: "a.key".into() }));
        for bad in ["", "on", "a.crt", "a.crt,", ",a.key", "a,b,c"] {
            assert!(bad.parse::<TlsChoice>().is_err(), "{bad}");
        }
    }

    #[test]
    fn periods_have_a_unit() {
        assert_eq!("25s".parse(), Ok(Period(Duration::from_secs(25))));
        assert_eq!("1500ms".parse(), Ok(Period(Duration::from_millis(1500))));
        assert_eq!("7d".parse(), Ok(Period(Duration::from_secs(7 * 86400))));
        for bad in ["", "25", "s", "-1s", "1.5s", "25 s", "99999999999999999999s", "999999999999999999d"] {
            assert!(bad.parse::<Period>().is_err(), "{bad}");
        }
    }

    #[test]
    fn byte_counts_are_read_and_shown() {
        assert_eq!("0".parse(), Ok(ByteCount(0)));
        assert_eq!("10GiB".parse(), Ok(ByteCount(10 << 30)));
        assert_eq!("10 gb".parse(), Ok(ByteCount(10_000_000_000)));
        assert_eq!("15EiB".parse(), Ok(ByteCount(15 << 60)));
        for large in ["16EiB", "18446744073709551616", "999999999999999999999999TiB"] {
            assert!(large.parse::<ByteCount>().unwrap_err().contains("too large"), "{large}");
        }
        for bad in ["", "GiB", "10 apples", "1.5GiB", "-1", "99999999999 TiB"] {
            assert!(bad.parse::<ByteCount>().is_err(), "{bad}");
        }
        for (bytes, shown) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1536, "1.5 KiB"),
            ((1 << 20) - 1, "1023.9 KiB"),
            (10 << 30, "10.0 GiB"),
            (u64::MAX, "16383.9 PiB"),
        ] {
            assert_eq!(ByteCount(bytes).to_string(), shown);
        }
    }

    #[test]
    fn profiles_and_levels() {
        assert_eq!("auto".parse(), Ok(ProfileSetting(ProfileChoice::Auto)));
        let fixed = ErasureProfile::new(4, 2).unwrap();
        assert_eq!("4+2".parse(), Ok(ProfileSetting(ProfileChoice::Fixed(fixed))));
        assert!("4-2".parse::<ProfileSetting>().is_err());
        assert!("info,cairn_meta=debug".parse::<LogLevel>().is_ok());
        for bad in ["", "loud", "info,loud", "cairn_meta=loud"] {
            assert!(bad.parse::<LogLevel>().is_err(), "{bad}");
        }
        let level: LogLevel = "debug".parse().unwrap();
        assert!(!level.0.would_enable("openraft::core", &tracing::Level::DEBUG));
        assert!(level.0.would_enable("cairn_meta", &tracing::Level::DEBUG));
    }
}
