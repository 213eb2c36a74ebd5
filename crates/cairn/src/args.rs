//! The command line. Names and defaults here are relied on by scripts.

use std::path::PathBuf;

use cairn_bench::{BenchArgs, EXAMPLES as BENCH_EXAMPLES};
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{ByteCount, EtagSetting, ProfileSetting, Settings};

/// An erasure-coded object store with an S3 face.
#[derive(Parser, Debug)]
#[command(name = "cairn", version, about, after_help = TOP_EXAMPLES, max_term_width = 120)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

const TOP_EXAMPLES: &str = "\
Examples:
  cairn server --data /srv/cairn
  cairn bucket create gitlab-cache --cache --data /srv/cairn
  cairn runner-config --bucket gitlab-cache --data /srv/cairn
  cairn status --data /srv/cairn

Commands speak to the running server by the socket in its data folder (--data DIR, or CAIRN_DATA in the environment), so
they run on its machine, as its user or root. Not so `server`, `recover`, `bench`, and `doctor` for a server elsewhere.";

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Start the store
    #[command(after_help = SERVER_EXAMPLES)]
    Server(Box<ServerArgs>),
    /// Make, list and remove buckets
    #[command(after_help = BUCKET_EXAMPLES)]
    Bucket(BucketArgs),
    /// Make, list, switch and remove access keys
    #[command(after_help = KEY_EXAMPLES)]
    Key(KeyArgs),
    /// Show disks, capacity, groups, repair and garbage
    #[command(after_help = STATUS_EXAMPLES)]
    Status(StatusArgs),
    /// Compare rows, shards and checksums of all disks; exit code 1 if something is wrong
    #[command(after_help = CHECK_EXAMPLES)]
    Check(CheckArgs),
    /// Write a snapshot of the metadata over the disks
    #[command(after_help = SNAPSHOT_EXAMPLES)]
    Snapshot(SnapshotArgs),
    /// Bring back the metadata of a store that lost it, from the newest snapshot on its disks
    #[command(after_help = RECOVER_EXAMPLES)]
    Recover(Box<RecoverArgs>),
    /// Print the GitLab runner's TOML and Helm values, with a fresh key for a bucket
    #[command(after_help = RUNNER_EXAMPLES)]
    RunnerConfig(RunnerConfigArgs),
    /// Go the whole road to a bucket as a client would, and name what is wrong and what to do; exit code 1 if anything is
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Box<DoctorArgs>),
    /// Ask the local server whether it can serve requests; exit code 0 if so
    #[command(after_help = HEALTHCHECK_EXAMPLES)]
    Healthcheck(HealthcheckArgs),
    /// Drive S3 endpoints with load and compare them
    #[command(after_help = BENCH_EXAMPLES)]
    Bench(Box<BenchArgs>),
}

const SERVER_EXAMPLES: &str = "\
Each but --check can also come from the environment, as CAIRN_ and its name (CAIRN_S3_LISTEN; lists separated by commas), or
from a TOML file under the same name (s3-listen = [\"0.0.0.0:9000\"]). Flags go before the environment, the environment
before the file. CAIRN_ROOT_ACCESS_KEY and CAIRN_ROOT_SECRET_KEY set the root key; without them one is made at the
first start and shown once. A variable CAIRN_… that is nearly the name of a setting is refused; another one that is
not known is told of in the log, but for those that Kubernetes makes for a service.

Probes ask the S3 address without a signature: GET /-/live answers 200 while the process answers at all (restart it if
not), GET /-/ready while requests can be served (send none if not).

The file can declare buckets and keys, which are made and kept so, also while the server runs (SIGHUP reads it again):
  [[bucket]]      name, cache = true, quota = \"50GiB\", profile = \"4+2\", etag = \"fast\"
  [[key]]         name, bucket, prefix, read-only, and where it goes: file = \"/path\" or, in Kubernetes, secret = \"NAME\"
  [kubernetes]    ca-config-map = \"NAME\", root-secret = \"NAME\": published into the pod's namespace

Examples:
  cairn server --data /srv/cairn
  cairn server --data /srv/cairn --s3-listen 0.0.0.0:9000 --tls-name cache.example.org
  cairn server --disk /mnt/a --disk /mnt/b --disk /mnt/c --meta /srv/cairn-meta --tls /etc/tls/s3.crt,/etc/tls/s3.key
  cairn server --config /etc/cairn.toml --check";

const BUCKET_EXAMPLES: &str = "\
Examples:
  cairn bucket create gitlab-cache --cache --quota 500GiB
  cairn bucket create archive --profile 8+4
  cairn bucket set archive --profile auto --etag fast
  cairn bucket quota gitlab-cache 500GiB
  cairn bucket quota gitlab-cache none
  cairn bucket list";

const KEY_EXAMPLES: &str = "\
Examples:
  cairn key create --bucket gitlab-cache --description 'runner on k3s'
  cairn key create --bucket backups --prefix laptop/ --read-only
  cairn key list
  cairn key disable ABCDEFGHIJKLMNOPQRST";

const STATUS_EXAMPLES: &str = "Examples:\n  cairn status --data /srv/cairn\n  cairn status --json | jq .disks";

const CHECK_EXAMPLES: &str = "\
Every unit of every shard is read and its checksum compared. With --quick rows and the disks'
listings alone are compared, which reads no object's bytes.

Examples:
  cairn check --data /srv/cairn
  cairn check --quick --json";

const SNAPSHOT_EXAMPLES: &str = "\
The server writes one a day (--snapshot-every) and keeps the last three. `cairn recover` brings the newest back.

Examples:
  cairn snapshot create --data /srv/cairn
  cairn snapshot drop-newer --yes";

const RECOVER_EXAMPLES: &str = "\
For a store whose metadata folder is lost. The server must not run; the key file (DIR/keys/secret.key) and any k disks
of the profile are needed. What was written after the snapshot is listed and kept on the disks; nothing of it is
deleted until `cairn snapshot drop-newer`. Give the same flags as the server has.

An older copy of the metadata's folder is refused by the server, since the disks have gone on. With --copy it is gone on
from; the copy is started for it, and changes by that.

Examples:
  cairn recover --data /srv/cairn
  cairn recover --data /srv/cairn --copy /backup/cairn/meta
  cairn recover --disk /mnt/a --disk /mnt/b --disk /mnt/c --meta /srv/cairn-meta";

const RUNNER_EXAMPLES: &str = "\
Examples:
  cairn runner-config --bucket gitlab-cache --endpoint cache.example.org:9000
  cairn runner-config --bucket gitlab-cache --prefix team-a --only toml > cache.toml";

const DOCTOR_EXAMPLES: &str = "\
Each step is one line: ok, FAILED with the reason and what to do, or - if it was not tried. Two probe objects are written
under the prefix and removed again. With --data alone the server's address, CA and bucket are taken from it, and a key is
made for the time of the run. With --runner-config the cache of a GitLab runner is examined as the runner sees it; keys
that its Helm chart passes on are read from CACHE_S3_ACCESS_KEY and CACHE_S3_SECRET_KEY. Any S3 server can be examined.

Examples:
  cairn doctor --data /srv/cairn
  cairn doctor --endpoint https://cache.example.org:9000 --ca ca.crt --access-key ABCDEFGHIJKLMNOPQRST --bucket gitlab-cache
  cairn doctor --runner-config /etc/gitlab-runner/config.toml --ca /etc/gitlab-runner/certs/ca.crt
  cairn doctor --runner-config config.toml --runner k3s --runner-ca /etc/gitlab-runner/certs --json";

const HEALTHCHECK_EXAMPLES: &str = "\
Asks GET /-/ready on the S3 address, over TLS as a client would, and gives up after 15 s.

Example:
  cairn healthcheck --data /srv/cairn";

const BUCKET_CREATE_EXAMPLES: &str = "\
Examples:
  cairn bucket create gitlab-cache --cache --quota 500GiB
  cairn bucket create archive --profile 8+4 --if-missing
  cairn bucket create scratch --etag fast --quota none --data /srv/cairn";

const BUCKET_SET_EXAMPLES: &str = "\
Examples:
  cairn bucket set archive --profile auto --etag fast
  cairn bucket set gitlab-cache --cache true";

const BUCKET_QUOTA_EXAMPLES: &str = "\
Examples:
  cairn bucket quota gitlab-cache 500GiB
  cairn bucket quota gitlab-cache none";

const KEY_CREATE_EXAMPLES: &str = "\
Examples:
  cairn key create --bucket gitlab-cache --description 'runner on k3s'
  cairn key create --bucket backups --prefix laptop/ --read-only --json";

/// The environment variables that some command reads.
pub(crate) fn known_variables() -> Vec<String> {
    let mut known = Settings::variables();
    let mut commands = vec![<Cli as clap::CommandFactory>::command()];
    while let Some(command) = commands.pop() {
        let variables = command.get_arguments().filter_map(|argument| argument.get_env());
        known.extend(variables.map(|name| name.to_string_lossy().into_owned()));
        commands.extend(command.get_subcommands().cloned());
    }
    known
}

/// Flags of `cairn server`.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// What can be set
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// TOML file with the same names as the flags
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Validate the configuration, folders, certificates, key files and addresses, make nothing, and exit
    #[arg(long)]
    pub(crate) check: bool,
}

/// Where the running server is.
#[derive(Args, Debug)]
pub(crate) struct DataArgs {
    /// Data folder of the running server (its --data, or its --meta if it has none)
    #[arg(long, env = "CAIRN_DATA", value_name = "DIR", global = true)]
    pub(crate) data: Option<PathBuf>,
}

/// Flags of `cairn bucket`.
#[derive(Args, Debug)]
pub(crate) struct BucketArgs {
    /// Where
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: BucketCommand,
}

/// What to do with buckets.
#[derive(Subcommand, Debug)]
pub(crate) enum BucketCommand {
    /// Make a bucket
    #[command(after_help = BUCKET_CREATE_EXAMPLES)]
    Create {
        /// Its name
        name: String,
        /// Its objects are a cache's: ranges of one presigned URL stay on one version, writes go on without parity
        /// while disks are away, Last-Modified is the uploaded file's
        #[arg(long)]
        cache: bool,
        /// Data and parity units of its objects, `auto` = the server's
        #[arg(long, value_name = "auto|k+m")]
        profile: Option<ProfileSetting>,
        /// ETag of its objects: MD5, or a cheaper one that clients do not compare
        #[arg(long, value_name = "md5|fast")]
        etag: Option<EtagSetting>,
        /// Most bytes of objects and open parts, as `500GiB`; `none` is no limit, as is leaving it out
        #[arg(long, value_name = "SIZE|none", value_parser = parse_quota)]
        quota: Option<Quota>,
        /// Answer well if the bucket is there already; its settings stay as they are
        #[arg(long)]
        if_missing: bool,
    },
    /// Change a bucket's settings; objects that are there stay as they were written
    #[command(after_help = BUCKET_SET_EXAMPLES)]
    #[command(group = clap::ArgGroup::new("setting").required(true).multiple(true).args(["cache", "profile", "etag"]))]
    Set {
        /// Its name
        name: String,
        /// Whether its objects are a cache's
        #[arg(long, value_name = "true|false")]
        cache: Option<bool>,
        /// Data and parity units of new objects, `auto` = the server's
        #[arg(long, value_name = "auto|k+m")]
        profile: Option<ProfileSetting>,
        /// ETag of new objects: MD5, or a cheaper one that clients do not compare
        #[arg(long, value_name = "md5|fast")]
        etag: Option<EtagSetting>,
    },
    /// Remove an empty bucket, and with it the access keys that are limited to it
    #[command(after_help = "Example:\n  cairn bucket delete archive")]
    Delete {
        /// Its name
        name: String,
    },
    /// List all buckets
    #[command(after_help = "Examples:\n  cairn bucket list\n  cairn bucket list --json | jq .bytes")]
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one bucket
    #[command(after_help = "Examples:\n  cairn bucket info archive\n  cairn bucket info archive --json | jq .settings")]
    Info {
        /// Its name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the most bytes of objects and open parts, or lift the limit with `none`
    #[command(after_help = BUCKET_QUOTA_EXAMPLES)]
    Quota {
        /// The bucket's name
        name: String,
        /// As `500GiB`, or `none`
        #[arg(value_name = "SIZE|none", value_parser = parse_quota)]
        limit: Quota,
    },
}

/// A quota as it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Quota(pub(crate) Option<u64>);

fn parse_quota(text: &str) -> Result<Quota, String> {
    if text == "none" {
        return Ok(Quota(None));
    }
    text.parse::<ByteCount>().map(|bytes| Quota(Some(bytes.0))).map_err(|error| format!("{error}; or `none`"))
}

/// Flags of `cairn key`.
#[derive(Args, Debug)]
pub(crate) struct KeyArgs {
    /// Where
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: KeyCommand,
}

/// What to do with access keys.
#[derive(Subcommand, Debug)]
pub(crate) enum KeyCommand {
    /// Make a key limited to a bucket, which goes when the bucket goes; its secret is shown now and never again
    #[command(after_help = KEY_CREATE_EXAMPLES)]
    Create {
        /// The bucket
        #[arg(long)]
        bucket: String,
        /// Limit it to keys that begin with this
        #[arg(long, default_value = "")]
        prefix: String,
        /// May read and list, not write or delete
        #[arg(long)]
        read_only: bool,
        /// For people
        #[arg(long, default_value = "")]
        description: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List all keys, without their secrets
    #[command(after_help = "Examples:\n  cairn key list\n  cairn key list --json | jq .access_key")]
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Switch a key off
    #[command(after_help = "Example:\n  cairn key disable ABCDEFGHIJKLMNOPQRST")]
    Disable {
        /// Which: `cairn key list` shows all
        access_key: String,
    },
    /// Switch a key on again
    #[command(after_help = "Example:\n  cairn key enable ABCDEFGHIJKLMNOPQRST")]
    Enable {
        /// Which: `cairn key list` shows all
        access_key: String,
    },
    /// Remove a key for good
    #[command(after_help = "Example:\n  cairn key remove ABCDEFGHIJKLMNOPQRST")]
    Remove {
        /// Which: `cairn key list` shows all
        access_key: String,
    },
}

/// Flags of `cairn status`.
#[derive(Args, Debug)]
pub(crate) struct StatusArgs {
    /// Where
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `cairn check`.
#[derive(Args, Debug)]
pub(crate) struct CheckArgs {
    /// Where
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// Compare rows and the disks' listings alone: what is damaged within a shard is not seen
    #[arg(long)]
    pub(crate) quick: bool,
    /// Read every unit and compare its checksum: the default
    #[arg(long, conflicts_with = "quick")]
    pub(crate) verify: bool,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

/// Flags of `cairn snapshot`.
#[derive(Args, Debug)]
pub(crate) struct SnapshotArgs {
    /// Where
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: SnapshotCommand,
}

/// What to do with snapshots.
#[derive(Subcommand, Debug)]
pub(crate) enum SnapshotCommand {
    /// Write one now
    #[command(after_help = "Example:\n  cairn snapshot create --data /srv/cairn")]
    Create {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// After a recovery: let the shards that are newer than its snapshot be deleted
    #[command(after_help = "Example:\n  cairn snapshot drop-newer --yes")]
    DropNewer {
        /// They are lost for good
        #[arg(long)]
        yes: bool,
    },
}

/// Flags of `cairn recover`.
#[derive(Args, Debug)]
pub(crate) struct RecoverArgs {
    /// Go on from this copy of the metadata's folder instead of the newest snapshot on the disks
    #[arg(long, value_name = "DIR")]
    pub(crate) copy: Option<PathBuf>,
    /// As for the server
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// TOML file with the same names as the flags
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Flags of `cairn runner-config`.
#[derive(Args, Debug)]
pub(crate) struct RunnerConfigArgs {
    /// Where
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The bucket of the cache
    #[arg(long)]
    pub(crate) bucket: String,
    /// Host and port as the jobs reach the server; without it the address the server listens on
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) endpoint: Option<String>,
    /// Prefix of all keys of this runner; the new key is limited to it
    #[arg(long, default_value = "")]
    pub(crate) prefix: String,
    /// Print one part alone
    #[arg(long)]
    pub(crate) only: Option<RunnerPart>,
}

/// A part of the runner's configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum RunnerPart {
    /// The runner's TOML
    Toml,
    /// The secret and values for the Helm chart
    Helm,
}

/// Flags of `cairn healthcheck`.
#[derive(Args, Debug)]
pub(crate) struct HealthcheckArgs {
    /// Where
    #[command(flatten)]
    pub(crate) data: DataArgs,
}

/// Flags of `cairn doctor`.
#[derive(Args, Debug)]
pub(crate) struct DoctorArgs {
    /// Where
    #[command(flatten)]
    pub(crate) data: DataArgs,
    /// The server, as https://HOST:PORT or http://HOST:PORT
    #[arg(long, value_name = "URL")]
    pub(crate) endpoint: Option<String>,
    /// PEM file of the CA to trust, instead of the system's store
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Access key; its secret comes from CAIRN_SECRET_KEY or --secret-key-file
    #[arg(long, value_name = "KEY")]
    pub(crate) access_key: Option<String>,
    /// File with the secret, of mode 0600
    #[arg(long, value_name = "FILE", requires = "access_key")]
    pub(crate) secret_key_file: Option<PathBuf>,
    /// The bucket
    #[arg(long)]
    pub(crate) bucket: Option<String>,
    /// How the keys of the probe objects begin
    #[arg(long)]
    pub(crate) prefix: Option<String>,
    /// The region to sign for; without it the server is asked
    #[arg(long)]
    pub(crate) region: Option<String>,
    /// Reach the bucket as BUCKET.HOST rather than HOST/BUCKET
    #[arg(long)]
    pub(crate) virtual_hosted: bool,
    /// config.toml of a GitLab runner
    #[arg(long, value_name = "FILE")]
    pub(crate) runner_config: Option<PathBuf>,
    /// Which of its runners, if several have a cache
    #[arg(long, value_name = "NAME", requires = "runner_config")]
    pub(crate) runner: Option<String>,
    /// The CA that is mounted into the runner's jobs: ca.crt, or its folder
    #[arg(long, value_name = "FILE|DIR")]
    pub(crate) runner_ca: Option<PathBuf>,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
}

impl DoctorArgs {
    /// Whether the running server is to be asked at all: a data folder in the environment is no wish.
    pub(crate) const fn asks_the_server(&self) -> bool {
        self.runner_config.is_none() && (self.endpoint.is_none() || self.access_key.is_none())
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// All commands with the words that call them, parents before their own.
    fn commands() -> Vec<(String, clap::Command)> {
        let mut found = vec![("cairn".to_owned(), Cli::command())];
        let mut at = 0;
        while at < found.len() {
            let (words, command) = found[at].clone();
            found.extend(
                command.get_subcommands().map(|inner| (format!("{words} {}", inner.get_name()), inner.clone())),
            );
            at += 1;
        }
        found
    }

    #[test]
    fn every_command_has_examples_of_its_own_and_they_parse() {
        let mut examples = 0;
        for (words, command) in commands() {
            let text = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            let lines: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("  ")).collect();
            let lines: Vec<&str> = lines.into_iter().filter(|line| line.starts_with("cairn ")).collect();
            assert!(!lines.is_empty(), "`{words} --help` has no example");
            for line in lines {
                assert!(line.starts_with(&words), "{line} is no example of {words}");
                let plain = line.split(['|', '>']).next().unwrap().replace("'runner on k3s'", "runner");
                Cli::try_parse_from(plain.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
                examples += 1;
            }
        }
        assert!(examples >= 40, "{examples} examples");
    }

    #[test]
    fn every_command_and_flag_says_what_it_is() {
        for (words, command) in commands() {
            assert!(command.get_about().is_some(), "{words}");
            for argument in command.get_arguments() {
                assert!(argument.get_help().is_some(), "{words}: {}", argument.get_id());
            }
        }
    }

    #[test]
    fn every_variable_is_known() {
        let known = known_variables();
        for name in ["CAIRN_DATA", "CAIRN_S3_LISTEN", "CAIRN_ROOT_SECRET_KEY", "CAIRN_CONFIG"] {
            assert!(known.iter().any(|one| one == name), "{name}");
        }
        assert!(!known.iter().any(|one| one == "CAIRN_CHECK"), "a flag that is no setting");
    }

    #[test]
    fn data_may_stand_before_and_behind_the_subcommand() {
        for line in ["cairn bucket --data D list", "cairn bucket list --data D"] {
            let cli = Cli::try_parse_from(line.split(' ')).unwrap();
            let Command::Bucket(bucket) = cli.command else { panic!("{line}") };
            assert_eq!(bucket.data.data, Some(PathBuf::from("D")));
        }
    }

    #[test]
    fn quotas() {
        assert_eq!(parse_quota("none"), Ok(Quota(None)));
        assert_eq!(parse_quota("2KiB"), Ok(Quota(Some(2048))));
        assert!(parse_quota("much").unwrap_err().contains("`none`"));
        let made = |quota: &str| {
            let cli = Cli::try_parse_from(["cairn", "bucket", "create", "b", "--quota", quota]).unwrap();
            let Command::Bucket(BucketArgs { command: BucketCommand::Create { quota, .. }, .. }) = cli.command else {
                panic!("another command")
            };
            quota
        };
        assert_eq!((made("none"), made("1KiB")), (Some(Quota(None)), Some(Quota(Some(1024)))));
    }
}
