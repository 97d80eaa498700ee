//! What a rain looks like: its waves, its users, its mix, and how badly deliveries behave. Kept
//! in YAML files of the JSON-compatible kind, with whole lines of comment.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Parts in a million.
pub const MILLION: u32 = 1_000_000;

const SPRING_2022: &str = include_str!("../../profiles/spring-2022.yaml");
const STEADY: &str = include_str!("../../profiles/steady.yaml");

const VERSION: u32 = 1;
/// Most users of a profile: act ids have nine digits.
const USERS_MAX: u64 = 1_000_000_000;
const USER_SKEW_MAX: u32 = 8;
/// Bounds that keep all products of the schedule within 64 bits.
const SECONDS_MAX: u64 = 100_000_000;
const SHARE_MAX: u64 = 1_000_000;
const SEGMENTS_MAX: usize = 1_000;

/// A profile, checked. Same profile, settings, seed and total: same bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    pub(super) file: ProfileFile,
    pub(super) start_ms: i64,
}

/// The file's form.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProfileFile {
    version: u32,
    pub(super) name: String,
    /// Event time of the first award, RFC 3339.
    start: String,
    /// How many people play.
    pub(super) users: u64,
    /// Which of them win often: Zipf's law with exponent `1 - 1/user_skew`; 1 is uniform.
    pub(super) user_skew: u32,
    /// Share of assets with a scale (money); the others are pieces, such as coupons.
    pub(super) money_ppm: u32,
    /// Weight of a reward type among its kind; 1 when not named.
    pub(super) weights: BTreeMap<String, u32>,
    pub(super) apps: Vec<String>,
    /// Share of awards that carry an extension map (R7).
    pub(super) ext_ppm: u32,
    pub(super) waves: Vec<Wave>,
    /// Delivered again soon after: an award among the last `recent_span`.
    pub(super) repeats_recent_ppm: u32,
    /// Delivered again at any age.
    pub(super) repeats_any_age_ppm: u32,
    pub(super) recent_span: u64,
    /// Delivered up to `late_by_s_max` after the event.
    pub(super) late_ppm: u32,
    pub(super) late_by_s_max: u64,
    /// An earlier order number with another payload.
    pub(super) conflicts_ppm: u32,
    /// Cut bytes, bad order numbers, unknown scenes, amounts out of bounds.
    pub(super) malformed_ppm: u32,
}

/// One rain. Waves follow each other and do not overlap.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wave {
    pub(super) starts_at_s: u64,
    pub(super) segments: Vec<Segment>,
}

/// A stretch of even rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    pub(super) length_s: u64,
    /// Its part of all awards, in proportion to the other segments' shares.
    pub(super) share: u64,
}

/// A profile that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// No built-in profile has this name.
    #[error("no profile {0:?}; there are {names}", names = Profile::NAMES.join(", "))]
    Unknown(String),
    /// The text is not a profile's.
    #[error("cannot read the profile: {0}")]
    Syntax(String),
    /// A value is out of its bounds.
    #[error("profile {name}: {problem}")]
    Value {
        /// The profile.
        name: String,
        /// Which value, and its bounds.
        problem: &'static str,
    },
}

impl Profile {
    /// Names of the built-in profiles.
    pub const NAMES: [&str; 2] = ["spring-2022", "steady"];

    /// A built-in profile.
    ///
    /// # Errors
    /// [`ProfileError::Unknown`].
    pub fn named(name: &str) -> Result<Self, ProfileError> {
        match name {
            "spring-2022" => Self::parse(SPRING_2022),
            "steady" => Self::parse(STEADY),
            _ => Err(ProfileError::Unknown(name.to_owned())),
        }
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// [`ProfileError`].
    pub fn parse(text: &str) -> Result<Self, ProfileError> {
        // Comments are blanked, not removed, so that the parser names the right line.
        let is_comment = |line: &&str| line.trim_start().starts_with('#');
        let lines: Vec<&str> = text.lines().map(|line| if is_comment(&line) { "" } else { line }).collect();
        let file: ProfileFile = serde_json::from_str(&lines.join("\n"))
            .map_err(|error| ProfileError::Syntax(error.to_string()))?;
        let start: jiff::Timestamp =
            file.start.parse().map_err(|error: jiff::Error| ProfileError::Syntax(error.to_string()))?;
        match file.problem() {
            Some(problem) => Err(ProfileError::Value { name: file.name, problem }),
            None => Ok(Self { start_ms: start.as_millisecond(), file }),
        }
    }

    /// The profile's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.file.name
    }
}

impl ProfileFile {
    fn problem(&self) -> Option<&'static str> {
        let shares_ppm =
            [self.repeats_recent_ppm, self.repeats_any_age_ppm, self.conflicts_ppm, self.malformed_ppm];
        let total_ppm: u64 = shares_ppm.iter().map(|share| u64::from(*share)).sum();
        let checks = [
            (self.version == VERSION, "version must be 1"),
            ((1..=USERS_MAX).contains(&self.users), "users must be from 1 to 1,000,000,000"),
            ((1..=USER_SKEW_MAX).contains(&self.user_skew), "user_skew must be from 1 to 8"),
            (self.money_ppm <= MILLION, "money_ppm must be at most 1,000,000"),
            (self.ext_ppm <= MILLION, "ext_ppm must be at most 1,000,000"),
            (self.late_ppm <= MILLION, "late_ppm must be at most 1,000,000"),
            (total_ppm < u64::from(MILLION), "repeats, conflicts and malformed must leave some others"),
            (self.recent_span > 0, "recent_span must be at least 1"),
            (self.late_by_s_max <= SECONDS_MAX, "late_by_s_max must be at most 100,000,000"),
            (!self.apps.is_empty(), "apps must not be empty"),
            (self.waves_fit(), "waves must be in order, apart, not empty, and within their bounds"),
        ];
        checks.iter().find(|(holds, _)| !holds).map(|(_, problem)| *problem)
    }

    fn waves_fit(&self) -> bool {
        let mut free_from_s = 0;
        for wave in &self.waves {
            if wave.starts_at_s < free_from_s || wave.starts_at_s > SECONDS_MAX || wave.segments.is_empty() {
                return false;
            }
            free_from_s = wave.starts_at_s;
            for segment in &wave.segments {
                let fits =
                    (1..=SECONDS_MAX).contains(&segment.length_s) && (1..=SHARE_MAX).contains(&segment.share);
                if !fits {
                    return false;
                }
                free_from_s += segment.length_s;
            }
        }
        let segments: usize = self.waves.iter().map(|wave| wave.segments.len()).sum();
        (1..=SEGMENTS_MAX).contains(&segments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_are_valid_and_named_as_they_are_called() {
        for name in Profile::NAMES {
            assert_eq!(Profile::named(name).unwrap().name(), name);
        }
        assert!(matches!(Profile::named("winter"), Err(ProfileError::Unknown(_))));
    }

    #[test]
    fn spring_2022_has_seven_rains_with_most_in_the_first_three_minutes() {
        let profile = Profile::named("spring-2022").unwrap();
        assert_eq!(profile.start_ms, 1_643_601_600_000, "2022-01-31 12:00 in Beijing");
        assert_eq!(profile.file.waves.len(), 7);
        for wave in &profile.file.waves {
            let [first, rest] = wave.segments[..] else { panic!("two segments") };
            assert_eq!((first.length_s, first.length_s + rest.length_s), (180, 600));
            assert!(first.share > rest.share * 2);
        }
    }

    #[test]
    fn bad_profiles_are_refused_with_their_reason() {
        let cases = [
            ("\"version\": 1", "\"version\": 2", "version"),
            ("\"users\": 100000000", "\"users\": 0", "users"),
            ("\"user_skew\": 3", "\"user_skew\": 9", "user_skew"),
            ("\"money_ppm\": 500000", "\"money_ppm\": 1000001", "money_ppm"),
            ("\"late_ppm\": 5000", "\"late_ppm\": 1000001", "late_ppm"),
            ("\"conflicts_ppm\": 100", "\"conflicts_ppm\": 950000", "leave some"),
            ("\"recent_span\": 1000000", "\"recent_span\": 0", "recent_span"),
            ("[\"douyin\"]", "[]", "apps"),
            ("\"share\": 1", "\"share\": 0", "waves"),
            ("\"name\"", "\"nmae\"", "unknown field `nmae`"),
            ("2022-01-31T12:00:00+08:00", "noon", "cannot read"),
        ];
        for (from, to, expected) in cases {
            assert!(STEADY.contains(from), "{from}");
            let error = Profile::parse(&STEADY.replace(from, to)).unwrap_err().to_string();
            assert!(error.contains(expected), "{to}: {error}");
        }
    }

    #[test]
    fn a_syntax_error_names_the_line_of_the_file() {
        let error = Profile::parse("# a comment\n{\n  \"version\": x\n}").unwrap_err().to_string();
        assert!(error.contains("line 3"), "{error}");
    }

    #[test]
    fn waves_must_not_overlap() {
        let overlapping = STEADY.replace(
            "{\"starts_at_s\": 0,",
            "{\"starts_at_s\": 0, \"segments\": [{\"length_s\": 10, \"share\": 1}]},\n{\"starts_at_s\": 9,",
        );
        assert!(matches!(Profile::parse(&overlapping), Err(ProfileError::Value { .. })));
    }
}
