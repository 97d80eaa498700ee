//! What a case says.

use std::collections::BTreeMap;
use std::time::Duration;

use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::ext::ExtBuf;
use hongbao_sinks::downstream::{Outcome, Told};
use hongbao_topology::{File, Topology, compile};
use serde::Deserialize;

use super::expect::See;
use super::world::World;
use super::yaml;

/// A case.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    title: String,
    #[serde(default = "shared_topology")]
    topology: String,
    #[serde(default = "shared_campaign")]
    campaign: String,
    steps: Vec<Step>,
}

fn shared_topology() -> String {
    include_str!("../topology_cases/shared/topology.yaml").to_owned()
}

fn shared_campaign() -> String {
    include_str!("../topology_cases/shared/campaign.yaml").to_owned()
}

/// Answers by downstream and order number.
type Answers<T> = BTreeMap<String, BTreeMap<String, Vec<T>>>;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Step {
    Award(AwardStep),
    Bytes(BytesStep),
    Say(Answers<Said>),
    Tell(Answers<Word>),
    Run(String),
    Sleep(String),
    Restart(Restart),
    Settings(String),
    See(See),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct AwardStep {
    order_no: String,
    act_id: Option<String>,
    #[serde(default = "spring")]
    activity_id: String,
    scene_id: Option<String>,
    reward_type: Option<String>,
    #[serde(default)]
    reward_id: String,
    #[serde(default = "one")]
    amount_minor: i64,
    verdict: String,
}

fn spring() -> String {
    "spring".to_owned()
}

const fn one() -> i64 {
    1
}

/// Bytes that are no award, straight into a partition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BytesStep {
    partition: u16,
    text: String,
    verdict: String,
}

/// An answer to a send.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Said {
    Credited,
    Duplicate,
    Throttled,
    Rejected,
    Unknown,
    NotSent,
}

impl Said {
    fn outcome(self) -> Outcome {
        match self {
            Self::Credited => Outcome::Credited,
            Self::Duplicate => Outcome::AlreadyCredited,
            Self::Throttled => Outcome::Throttled { retry_after: Some(Duration::from_millis(300)) },
            Self::Rejected => Outcome::Rejected("not eligible".into()),
            Self::Unknown => Outcome::Unknown("timeout".into()),
            Self::NotSent => Outcome::NotSent("connection refused".into()),
        }
    }
}

/// An answer to an ask.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Credited,
    Rejected,
    Pending,
    Absent,
    Unknown,
}

impl Word {
    fn told(self) -> Told {
        match self {
            Self::Credited => Told::Credited,
            Self::Rejected => Told::Rejected("not eligible".into()),
            Self::Pending => Told::Pending,
            Self::Absent => Told::Absent,
            Self::Unknown => Told::Unknown("timeout".into()),
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Restart {
    /// Everything is committed first.
    Commit,
    /// The stores hold what the last commit left in them.
    Crash,
}

fn topology(topology: &str, campaign: &str) -> Topology {
    let campaign = File { name: "campaigns/campaign.yaml", text: campaign };
    compile(File { name: "topology.yaml", text: topology }, &[campaign], &|_| None)
        .unwrap_or_else(|problems| panic!("{}", hongbao_topology::render(&problems)))
}

fn duration(text: &str) -> Duration {
    text.parse::<jiff::SignedDuration>().unwrap().try_into().unwrap()
}

impl Case {
    /// Reads a case, which must say nothing that is not known.
    pub fn read(text: &str) -> Self {
        serde_json::from_value(yaml::parse(text)).unwrap_or_else(|error| panic!("{error}:\n{text}"))
    }

    /// Plays it.
    pub fn run(&self) {
        let mut world = World::new(topology(&self.topology, &self.campaign));
        for (index, step) in self.steps.iter().enumerate() {
            let context = format!("{}, step {}", self.title, index + 1);
            self.play(step, &mut world, &context);
            world.is_sound(&context);
        }
    }

    fn play(&self, step: &Step, world: &mut World, context: &str) {
        match step {
            Step::Award(step) => {
                let award = step.award(world);
                let mut record = Vec::new();
                award.as_award().encode(&mut record);
                let partition = world.partition_of(&award.act_id);
                assert_eq!(world.decide(partition, &record), step.verdict, "{context}: {step:?}");
            }
            Step::Bytes(step) => {
                let verdict = world.decide(step.partition, step.text.as_bytes());
                assert_eq!(verdict, step.verdict, "{context}: {step:?}");
            }
            Step::Say(answers) => each(answers, |downstream, order_no, said| {
                world.script(downstream).say(order_no, said.outcome());
            }),
            Step::Tell(answers) => each(answers, |downstream, order_no, word| {
                world.script(downstream).tell(order_no, word.told());
            }),
            Step::Run(time) => world.run(duration(time)),
            Step::Sleep(time) => world.sleep(duration(time)),
            Step::Restart(Restart::Commit) => {
                world.commit();
                world.restart();
            }
            Step::Restart(Restart::Crash) => world.restart(),
            Step::Settings(campaign) => world.change(&topology(&self.topology, campaign)),
            Step::See(see) => see.check(world, context),
        }
    }
}

fn each<T: Copy>(answers: &Answers<T>, mut add: impl FnMut(&str, &str, T)) {
    for (downstream, orders) in answers {
        for (order_no, answers) in orders {
            answers.iter().for_each(|answer| add(downstream, order_no, *answer));
        }
    }
}

impl AwardStep {
    /// What is left out follows from the order number and the settings.
    fn award(&self, world: &World) -> AwardBuf {
        let parts: Vec<&str> = self.order_no.rsplitn(5, '_').collect();
        let part = |index: usize| parts.get(index).copied().unwrap_or_default().to_owned();
        let scene_id = self.scene_id.clone().unwrap_or_else(|| part(3));
        let reward_type = self.reward_type.clone().or_else(|| world.reward_type_of(&scene_id));
        AwardBuf {
            order_no: self.order_no.clone(),
            act_id: self.act_id.clone().unwrap_or_else(|| part(4)),
            activity_id: self.activity_id.clone(),
            reward_type: reward_type.unwrap_or_default(),
            scene_id,
            reward_id: self.reward_id.clone(),
            amount_minor: self.amount_minor,
            event_time_ms: 1_801_828_800_000,
            app: String::new(),
            ext: ExtBuf::new(),
        }
    }
}
