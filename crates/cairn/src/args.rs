//! The command line. Names and defaults here are relied on by scripts.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{ByteCount, Settings};

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
  cairn bucket create gitlab-cache --data /srv/cairn
  cairn runner-config --bucket gitlab-cache --data /srv/cairn
  cairn status --data /srv/cairn

All but `server` speak to the running server by the socket in its data folder, so they run on its machine, as its user.";

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
    /// Print the GitLab runner's TOML and Helm values, with a fresh key for a bucket
    #[command(after_help = RUNNER_EXAMPLES)]
    RunnerConfig(RunnerConfigArgs),
    /// Ask the local server whether it can serve requests; exit code 0 if so
    #[command(after_help = "Example:\n  cairn healthcheck --data /srv/cairn")]
    Healthcheck(HealthcheckArgs),
}

const SERVER_EXAMPLES: &str = "\
Each flag can also come from the environment, as CAIRN_ and its name (CAIRN_S3_LISTEN; lists separated by commas), or
from a TOML file under the same name (s3-listen = [\"0.0.0.0:9000\"]). Flags go before the environment, the environment
before the file. CAIRN_ROOT_ACCESS_KEY and CAIRN_ROOT_SECRET_KEY set the root key; without them one is made at the
first start and shown once.

Examples:
  cairn server --data /srv/cairn
  cairn server --data /srv/cairn --s3-listen 0.0.0.0:9000 --tls-name cache.example.org
  cairn server --disk /mnt/a --disk /mnt/b --disk /mnt/c --meta /srv/cairn-meta --tls /etc/tls/s3.crt,/etc/tls/s3.key
  cairn server --config /etc/cairn.toml --check";

const BUCKET_EXAMPLES: &str = "\
Examples:
  cairn bucket create gitlab-cache
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
Without --verify rows and the disks' listings are compared, which reads no object's bytes. With it every unit of every
shard is read and its checksum compared.

Examples:
  cairn check --data /srv/cairn
  cairn check --verify --json";

const RUNNER_EXAMPLES: &str = "\
Examples:
  cairn runner-config --bucket gitlab-cache --endpoint cache.example.org:9000
  cairn runner-config --bucket gitlab-cache --prefix team-a --only toml > cache.toml";

/// Flags of `cairn server`.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// What can be set
    #[command(flatten)]
    pub(crate) settings: Settings,
    /// TOML file with the same names as the flags
    #[arg(long, env = "CAIRN_CONFIG", value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Validate the configuration, folders, certificates and addresses, and exit
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
    Create {
        /// Its name
        name: String,
        /// Answer well if the bucket is there already
        #[arg(long)]
        if_missing: bool,
    },
    /// Remove an empty bucket
    Delete {
        /// Its name
        name: String,
    },
    /// List all buckets
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Show one bucket
    Info {
        /// Its name
        name: String,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Set the most bytes of objects and open parts, or lift the limit with `none`
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
    text.parse::<ByteCount>().map(|bytes| Quota(Some(bytes.0)))
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
    /// Make a key limited to a bucket; its secret is shown now and never again
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
    List {
        /// One JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Switch a key off
    Disable {
        /// Which
        access_key: String,
    },
    /// Switch a key on again
    Enable {
        /// Which
        access_key: String,
    },
    /// Remove a key
    Remove {
        /// Which
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
    /// Read every unit and compare its checksum
    #[arg(long)]
    pub(crate) verify: bool,
    /// As one JSON object
    #[arg(long)]
    pub(crate) json: bool,
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_example_parses() {
        let texts = [
            TOP_EXAMPLES,
            SERVER_EXAMPLES,
            BUCKET_EXAMPLES,
            KEY_EXAMPLES,
            STATUS_EXAMPLES,
            CHECK_EXAMPLES,
            RUNNER_EXAMPLES,
        ];
        let mut examples = 0;
        for line in texts.iter().flat_map(|text| text.lines()).filter(|line| line.starts_with("  cairn ")) {
            let command = line.split(['|', '>']).next().unwrap().replace("'runner on k3s'", "runner");
            Cli::try_parse_from(command.split_whitespace()).unwrap_or_else(|error| panic!("{line}: {error}"));
            examples += 1;
        }
        assert!(examples >= 20, "{examples} examples");
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
        assert!(parse_quota("much").is_err());
    }
}
