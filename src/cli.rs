//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// Exit codes, shown below every help text.
const EXIT_CODES: &str = "Exit codes: 0 ok, 1 failed, 2 usage, 3 ran and found something, 4 partial, \
69 server unreachable, 77 not permitted, 78 configuration invalid, 130 interrupted.";

/// Hands out rewards at the scale of a national campaign, and never loses or doubles one.
///
/// Awards go into a partitioned log; intake removes duplicates by order number; rate-limited lanes
/// credit downstream systems, cash first; wallets show an award at once.
#[derive(Debug, Parser)]
#[command(name = "hongbao", version, after_help = EXIT_CODES, max_term_width = 100)]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// The command line as it was given.
    ///
    /// # Errors
    /// Help and version, which were asked for, and wrong usage.
    pub fn read() -> Result<Self, clap::Error> {
        let command = Self::command().mut_subcommands(|command| command.after_help(EXIT_CODES));
        Self::from_arg_matches(&command.try_get_matches()?)
    }
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub struct Global {
    /// The topology; `campaigns/*.yaml` beside it belong to it.
    #[arg(
        short,
        long,
        global = true,
        env = "HONGBAO_CONFIG",
        default_value = "topology.yaml",
        value_name = "FILE"
    )]
    pub config: PathBuf,
    /// Folder of the log and of all state.
    #[arg(long, global = true, env = "HONGBAO_DATA_DIR", default_value = "./data", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Server that looking commands ask.
    #[arg(
        long,
        global = true,
        env = "HONGBAO_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_name = "URL"
    )]
    pub server: String,
    /// File with the bearer token to send, where the server wants one.
    #[arg(long, global = true, env = "HONGBAO_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
    /// Form of what is printed on stdout.
    #[arg(short, long, global = true, value_enum, default_value = "text")]
    pub output: Output,
}

/// Form of what is printed on stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One JSON value.
    Json,
    /// One JSON value a line.
    Ndjson,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run everything in one process: log, intake, views, sinks and the API.
    Up(UpArgs),
    /// Check topology and campaigns, offline; every error at once.
    Validate,
    /// Draw what flows where, offline.
    Graph {
        /// Form of the drawing; text when left out, or json with -o json.
        #[arg(long, value_enum)]
        format: Option<GraphFormat>,
    },
    /// Look at the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Publish awards from NDJSON or an Avro object container file.
    Produce(ProduceArgs),
    /// Generate load: the same seed gives the same bytes.
    Rain(RainArgs),
    /// Show a person's wallet.
    Wallet {
        /// The person.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        act_id: String,
    },
    /// Show one order and how it came to stand where it stands.
    Trace {
        /// The order number.
        #[arg(value_parser = NonEmptyStringValueParser::new())]
        order_no: String,
    },
    /// Show live totals.
    Totals {
        /// Columns to group by; the asset is always one.
        #[arg(
            long,
            value_enum,
            value_delimiter = ',',
            default_values = ["activity_id", "reward_type"],
            value_name = "COLUMN,..."
        )]
        group_by: Vec<GroupBy>,
    },
    /// Show all lanes: caps, what was sent, backlog, lag.
    Lanes,
    /// Watch lanes and verdicts; prints once where stdout is not a terminal.
    Top {
        /// Seconds between two looks.
        #[arg(long, default_value_t = 1.0)]
        interval: f64,
    },
    /// Show how far each lane is behind.
    Lag {
        /// Exit with 3 when a lane is further behind, such as `60s`.
        #[arg(long, value_parser = duration)]
        max: Option<std::time::Duration>,
    },
    /// Print records of a topic, decoded, as NDJSON.
    Tap(TapArgs),
    /// Run a simulated downstream over HTTP, with faults and a book of its own.
    Downstream(DownstreamArgs),
    /// Make a bearer token for a server that is reached from other machines.
    Token {
        /// What it may do; each role may do what those before it may.
        #[arg(value_enum)]
        role: TokenRole,
        /// Whose it is, for the tokens file.
        #[arg(default_value = "somebody")]
        name: String,
    },
    /// Audit a data folder offline: fold the log again with a plain model and compare everything.
    ///
    /// Prints a line for each invariant: what was checked, and up to ten differences. Changes
    /// nothing, and is refused while a server holds the folder. Lanes are led to downstreams by
    /// --config; what a downstream over HTTP did is not known here. The model is plain and in
    /// memory: it needs about 2 KB for each award of the partitions that are audited at a time, as
    /// many as there are processors.
    Check,
    /// Measure one stage, self-contained.
    Bench(BenchArgs),
}

/// `hongbao up`.
#[derive(Debug, Args)]
pub struct UpArgs {
    /// Run a built-in topology with a rain of awards and simulated downstreams.
    #[arg(long)]
    pub demo: bool,
    /// Address of the API, instead of the topology's.
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// With --demo: awards of the rain a second; 0 for no rain.
    #[arg(long, default_value_t = 20_000, value_name = "N", requires = "demo")]
    pub rain_rate: u64,
    /// With --demo: stop the rain after so many awards.
    #[arg(long, value_name = "N", requires = "demo")]
    pub rain_awards: Option<u64>,
    /// With --demo: seed of the rain.
    #[arg(long, default_value_t = 1, requires = "demo")]
    pub seed: u64,
    /// Worker threads, instead of one a core.
    #[arg(long, value_name = "N")]
    pub workers: Option<usize>,
}

/// A column of totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum GroupBy {
    /// The parent activity.
    ActivityId,
    /// The scene.
    SceneId,
    /// The type of the reward.
    RewardType,
}

impl GroupBy {
    /// The column's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActivityId => "activity_id",
            Self::SceneId => "scene_id",
            Self::RewardType => "reward_type",
        }
    }
}

/// Form of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GraphFormat {
    /// Mermaid.
    Mermaid,
    /// Graphviz.
    Dot,
    /// Nodes and edges.
    Json,
    /// Lines.
    Text,
}

/// Roles of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TokenRole {
    /// Publish awards and read orders.
    Producer,
    /// Read everything.
    Viewer,
    /// Act.
    Operator,
}

/// `hongbao config`.
#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Print the topology after variables and defaults; secrets stay out.
    Show,
}

/// `hongbao produce`.
#[derive(Debug, Args)]
pub struct ProduceArgs {
    /// NDJSON, or an Avro object container file (`.avro`); stdin when left out.
    #[arg(short, long)]
    pub file: Option<PathBuf>,
    /// Where items that failed are written, as NDJSON.
    #[arg(long, default_value = "produce-errors.ndjson", value_name = "FILE")]
    pub errors: PathBuf,
    /// Items a request.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub batch: u32,
}

/// `hongbao rain`.
#[derive(Debug, Args)]
pub struct RainArgs {
    /// Awards to send.
    #[arg(long, default_value_t = 100_000, value_name = "N")]
    pub awards: u64,
    /// Awards a second at most, such as `20000/s`; as fast as it goes when left out.
    #[arg(long, value_parser = rate, value_name = "R/s")]
    pub rate: Option<u64>,
    /// Mix of awards: spring-2022 or steady.
    #[arg(long, default_value = "spring-2022", value_name = "NAME")]
    pub profile: String,
    /// Seed; the same seed, profile and campaigns give the same bytes.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Print the awards as NDJSON instead of sending them.
    #[arg(long)]
    pub print: bool,
}

/// `hongbao tap`.
#[derive(Debug, Args)]
pub struct TapArgs {
    /// Name of the topic: awards, journal, orders.LANE, dlq.intake.
    #[arg(value_parser = NonEmptyStringValueParser::new())]
    pub topic: String,
    /// Only this partition.
    #[arg(long)]
    pub partition: Option<u16>,
    /// `start`, `end`, `offset:N`, an RFC 3339 time, or `-15m`.
    #[arg(long, value_name = "POS", allow_hyphen_values = true)]
    pub from: Option<String>,
    /// As --from. Without --from and --to, new records are printed until Ctrl-C; with --from
    /// alone, up to the present end.
    #[arg(long, value_name = "POS", allow_hyphen_values = true)]
    pub to: Option<String>,
    /// Only records whose field has this value; may be repeated.
    #[arg(long = "where", value_name = "FIELD=VALUE")]
    pub filters: Vec<String>,
    /// Stop after so many records.
    #[arg(long, value_name = "N")]
    pub limit: Option<u64>,
}

/// `hongbao downstream`.
#[derive(Debug, Args)]
pub struct DownstreamArgs {
    /// Address to serve on.
    #[arg(long, default_value = "127.0.0.1:9502", value_name = "ADDR")]
    pub listen: SocketAddr,
    /// How it behaves.
    #[arg(long, default_value = "steady", value_name = "NAME")]
    pub profile: String,
    /// Seed of its faults.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// File that keeps its book across restarts.
    #[arg(long, value_name = "FILE")]
    pub book: Option<PathBuf>,
}

/// `hongbao bench`.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to measure.
    #[arg(value_enum)]
    pub name: BenchName,
    /// Events to measure with, instead of the benchmark's own number.
    #[arg(long, value_name = "N")]
    pub events: Option<u64>,
    /// Duplicates of any age: `recent` has 1%, `hard` 9%, both beside 8% recent ones (intake only).
    #[arg(long, value_enum, default_value = "recent")]
    pub mix: Mix,
    /// Folder to work in; a temporary one when left out.
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum BenchName {
    /// Append to the segment log, and read it.
    Log,
    /// Encode and decode awards.
    Codec,
    /// Decode, decide, encode and append durably.
    Intake,
    /// Orders through the dispatcher to a downstream that answers at once.
    Dispatch,
    /// The fold of wallet, orders, totals and reconciliation.
    Wallet,
    /// Offered through the log, decided, credited, in all views, durable.
    EndToEnd,
    /// From a killed process to the first correct output.
    Recovery,
}

/// Duplicates in a benchmark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mix {
    /// 8% within the last million and 1% of any age.
    Recent,
    /// 9% of any age.
    Hard,
}

fn duration(text: &str) -> Result<std::time::Duration, String> {
    let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|span| span.try_into().ok());
    parsed.ok_or_else(|| "a time such as 500ms, 60s or 15m".to_owned())
}

fn rate(text: &str) -> Result<u64, String> {
    let number = text.strip_suffix("/s").unwrap_or(text);
    let parsed = number.parse().ok().filter(|rate| *rate > 0);
    parsed.ok_or_else(|| "awards a second, such as 20000/s".to_owned())
}
