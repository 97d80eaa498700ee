//! JSON: bodies of requests, settings, rain profiles.

use hongbao_producers::rain::Profile;
use hongbao_schemas::award::AwardBuf;
use hongbao_schemas::award_json::{self, Form, ParseError, Parsed};
use hongbao_schemas::limits::{AWARD_BYTES_MAX, JSON_PROBLEMS_MAX};
use hongbao_schemas::settings::Settings;

use crate::meter::{Bound, bounded};

/// An award of a few bytes takes a struct of strings; what is wrong takes sentences.
const AWARDS: Bound = Bound { factor: 16, base: 256 << 10 };
const MAPS: Bound = Bound { factor: 64, base: 64 << 10 };
const ITEMS_MAX: usize = 50;

pub(crate) fn awards(bytes: &[u8]) {
    let one = bounded(AWARDS, bytes.len(), || award_json::parse_award(bytes));
    for form in [Form::Json, Form::Ndjson] {
        let parsed = bounded(AWARDS, bytes.len(), || award_json::parse_many(bytes, form, ITEMS_MAX));
        match parsed {
            Ok(Parsed::One(award)) => {
                assert!(one.as_ref() == Ok(&award), "violation: {one:?} or {award:?}");
                writes_back(&award);
            }
            Ok(Parsed::Many(awards)) => {
                assert!(awards.len() <= ITEMS_MAX, "violation: {} items", awards.len());
                awards.iter().for_each(writes_back);
            }
            Err(ParseError::Problems(problems)) => {
                assert!((1..=JSON_PROBLEMS_MAX).contains(&problems.len()), "violation: problems");
                let told =
                    problems.iter().all(|problem| !problem.code.is_empty() && !problem.message.is_empty());
                assert!(told, "violation: a problem that says nothing");
            }
            Err(ParseError::TooManyItems { .. }) => (),
        }
    }
}

fn writes_back(award: &AwardBuf) {
    assert!(award.as_award().encoded_bytes_max() <= AWARD_BYTES_MAX + 1024, "violation: too large");
    let text = award_json::to_json(&award.as_award());
    let again = award_json::parse_award(text.as_bytes());
    assert!(again.as_ref() == Ok(award), "violation: {again:?} instead of {award:?}");
}

pub(crate) fn settings(bytes: &[u8]) {
    let Ok(settings) = bounded(MAPS, bytes.len(), || Settings::from_json(bytes)) else { return };
    let Ok(json) = settings.to_json() else { panic!("violation: cannot be written") };
    let Ok(again) = Settings::from_json(&json) else { panic!("violation: cannot be read again") };
    assert!(again == settings, "violation: other settings after a round trip");
    assert!(again.to_json().is_ok_and(|again| again == json), "violation: written in two ways");
}

pub(crate) fn rain_profile(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(profile) = bounded(MAPS, bytes.len(), || Profile::parse(text)) {
        assert!(!profile.name().is_empty() || text.contains("\"\""), "violation: no name");
    }
}
