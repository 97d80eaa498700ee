//! Tables of what an answer leads to (I10, I11, I14).

use super::*;

const LIFE: Duration = Duration::from_secs(100);

fn rules(key_life: KeyLife, can_query: bool) -> Rules {
    Rules {
        key_life,
        can_query,
        key_margin: Duration::from_secs(10),
        send_time: Duration::ZERO,
        attempts_max: 3,
        unresolved_max: Duration::from_secs(1_000),
    }
}

/// Unresolved before, counted attempts, seconds since the first intent (none is unknowable).
fn standing(is_unresolved: bool, failures: u32, elapsed_s: Option<u64>) -> Standing {
    let elapsed = elapsed_s.map(Duration::from_secs);
    Standing { is_unresolved, failures, elapsed, held_for: elapsed.unwrap_or_default() }
}

/// A verdict in a few words, without its reason.
fn brief(verdict: &Verdict) -> String {
    let then = |then: &Then| match then {
        Then::Ask => "ask".to_owned(),
        Then::Send { after: None } => "send".to_owned(),
        Then::Send { after: Some(after) } => format!("send after {}", after.as_secs()),
    };
    match verdict {
        Verdict::End(stage, _) => stage.as_str().to_owned(),
        Verdict::Hold(stage, _, next) => format!("{}, {}", stage.as_str(), then(next)),
        Verdict::Keep(next) => then(next),
    }
}

fn unknown() -> Outcome {
    Outcome::Unknown("timeout".into())
}

#[test]
fn a_definite_answer_settles_an_order_only_if_no_earlier_attempt_is_unresolved() {
    let rules = rules(KeyLife::Lasts(LIFE), true);
    let throttled = Outcome::Throttled { retry_after: Some(Duration::from_secs(7)) };
    let table = [
        (Outcome::Credited, "credited", "credited"),
        (Outcome::AlreadyCredited, "credited", "credited"),
        (Outcome::Rejected("no".into()), "refused", "reported"),
        (Outcome::Conflict("order_conflict".into()), "reported", "reported"),
        (throttled, "deferred, send after 7", "deferred, send after 7"),
        (Outcome::NotSent("refused".into()), "deferred, send", "deferred, send"),
        (unknown(), "unknown, ask", "unknown, ask"),
    ];
    for (outcome, first_attempt, after_unresolved) in table {
        let first = rules.after_send(&outcome, &standing(false, 0, Some(0)));
        assert_eq!(brief(&first), first_attempt, "{outcome:?} at first");
        let later = rules.after_send(&outcome, &standing(true, 0, Some(5)));
        assert_eq!(brief(&later), after_unresolved, "{outcome:?} after an unresolved attempt");
    }
}

#[test]
fn an_unknown_attempt_is_asked_about_or_sent_again_within_the_life_of_its_key() {
    let lasts = KeyLife::Lasts(LIFE);
    // Key life, can ask, counted attempts, seconds since the first intent.
    let table = [
        (lasts, true, 0, Some(0), "unknown, ask"),
        (lasts, true, 9, Some(500), "unknown, ask"),
        (lasts, false, 0, Some(0), "unknown, send"),
        (lasts, false, 2, Some(89), "unknown, send"),
        (lasts, false, 3, Some(0), "reported"),
        (lasts, false, 0, Some(90), "reported"),
        (lasts, false, 0, None, "reported"),
        (KeyLife::Forever, false, 0, None, "unknown, send"),
        (KeyLife::Forever, false, 3, Some(0), "reported"),
        (KeyLife::None, true, 0, Some(0), "unknown, ask"),
        (KeyLife::None, false, 0, Some(0), "reported"),
    ];
    for (key_life, can_query, failures, elapsed_s, expected) in table {
        let rules = rules(key_life, can_query);
        let name = format!("{key_life:?} {can_query} {failures} {elapsed_s:?}");
        let verdict = rules.after_send(&unknown(), &standing(false, failures, elapsed_s));
        assert_eq!(brief(&verdict), expected, "{name}");
        let verdict = rules.after_restart(&standing(true, failures, elapsed_s));
        assert_eq!(brief(&verdict), expected, "{name}, found at the start");
    }
}

#[test]
fn what_was_told_is_followed() {
    let lasts = KeyLife::Lasts(LIFE);
    let conflict = Told::Conflict("order_conflict".into());
    let (rejected, lost) = (Told::Rejected("no".into()), Told::Unknown("timeout".into()));
    let table = [
        (&Told::Credited, lasts, 9, Some(5_000), "credited"),
        (&rejected, lasts, 9, Some(5_000), "refused"),
        (&conflict, lasts, 9, Some(5_000), "reported"),
        (&Told::Pending, lasts, 9, Some(1_000), "ask"),
        (&Told::Pending, lasts, 9, Some(1_001), "reported"),
        (&lost, KeyLife::None, 0, Some(1_000), "ask"),
        (&lost, KeyLife::None, 0, Some(1_001), "reported"),
        (&Told::Absent, lasts, 2, Some(89), "send"),
        (&Told::Absent, lasts, 3, Some(89), "reported"),
        (&Told::Absent, lasts, 0, Some(90), "reported"),
        (&Told::Absent, lasts, 0, None, "reported"),
        (&Told::Absent, KeyLife::Forever, 0, Some(900), "send"),
        (&Told::Absent, KeyLife::None, 0, Some(0), "reported"),
    ];
    for (told, key_life, failures, elapsed_s, expected) in table {
        let verdict = rules(key_life, true).after_ask(told, &standing(true, failures, elapsed_s));
        assert_eq!(brief(&verdict), expected, "{told:?} {key_life:?} {failures} {elapsed_s:?}");
    }
}

#[test]
fn what_is_due_is_sent_only_while_it_may_be() {
    let lasts = KeyLife::Lasts(LIFE);
    // Key life, can ask, unresolved, seconds since the first intent.
    let table = [
        (lasts, true, false, Some(5_000), "send"),
        (KeyLife::None, false, false, Some(5_000), "send"),
        (lasts, true, true, Some(89), "send"),
        (lasts, true, true, Some(90), "ask"),
        (lasts, true, true, None, "ask"),
        (lasts, false, true, Some(90), "reported"),
        (KeyLife::Forever, false, true, None, "send"),
        (KeyLife::None, true, true, Some(0), "ask"),
    ];
    for (key_life, can_query, is_unresolved, elapsed_s, expected) in table {
        let verdict = rules(key_life, can_query).when_due(&standing(is_unresolved, 0, elapsed_s));
        assert_eq!(brief(&verdict), expected, "{key_life:?} {can_query} {is_unresolved} {elapsed_s:?}");
    }
}

#[test]
fn the_margin_is_the_time_of_sending_and_at_most_a_quarter_of_the_life_besides() {
    // The life, how long sending may take, seconds since the first intent.
    for (life_s, send_s, elapsed_s, may) in [
        (20, 0, 14, true),
        (20, 0, 15, false),
        (20, 0, 21, false),
        (20, 5, 9, true),
        (20, 5, 10, false),
        (100, 30, 59, true),
        (100, 30, 60, false),
        (20, 60, 0, false),
    ] {
        let send_time = Duration::from_secs(send_s);
        let rules = Rules { send_time, ..rules(KeyLife::Lasts(Duration::from_secs(life_s)), true) };
        let name = format!("{life_s} {send_s} {elapsed_s}");
        assert_eq!(rules.may_resend(Some(Duration::from_secs(elapsed_s))), may, "{name}");
    }
}
