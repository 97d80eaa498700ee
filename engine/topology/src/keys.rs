//! The known keys of every section, and the hint for an unknown one: a near match here, the
//! section where it belongs, or the list of what is known.

use strsim::damerau_levenshtein;

/// A map with a fixed set of keys.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Section {
    /// Where it stands; `<name>` is an id of the user's.
    pub(crate) path: &'static str,
    pub(crate) keys: &'static [&'static str],
}

macro_rules! sections {
    ($($name:ident = $path:literal [$($key:literal),*];)+) => {
        $(pub(crate) const $name: Section = Section { path: $path, keys: &[$($key),*] };)+
        /// Every section, the topology's first.
        pub(crate) const SECTIONS: &[Section] = &[$($name),+];
    };
}

sections! {
    ROOT = "topology.yaml" ["version", "name", "partitions", "log", "downstreams", "pools", "lanes", "views", "http"];
    LOG = "log" ["segments"];
    SEGMENTS = "log.segments" ["segment_size", "sync"];
    SYNC = "log.segments.sync" ["max_delay", "max_bytes"];
    DOWNSTREAM = "downstreams.<name>" ["embedded", "http", "simulated"];
    EMBEDDED = "downstreams.<name>.embedded" [];
    HTTP_DOWNSTREAM = "downstreams.<name>.http" ["url", "query_url", "mode", "batch", "max_in_flight", "timeout", "key_life", "bearer_file"];
    BATCH = "downstreams.<name>.http.batch" ["max_items", "max_delay"];
    SIMULATED = "downstreams.<name>.simulated" ["profile", "seed"];
    LANE = "lanes.<name>" ["reward_types", "downstream", "rate", "burst", "query_rate"];
    POOL = "pools.<name>" ["rate", "burst", "rank", "floor"];
    VIEWS = "views" ["wallet", "totals", "reconcile"];
    WALLET = "views.wallet" [];
    TOTALS = "views.totals" [];
    RECONCILE = "views.reconcile" ["overdue_after"];
    HTTP = "http" ["listen", "tokens_file", "max_connections", "request_timeout"];
    CAMPAIGN = "campaigns/*.yaml" ["version", "activity", "reward_types", "scenes"];
    REWARD_TYPE = "reward_types.<id> of campaigns/*.yaml" ["asset", "max_minor"];
    SCENE = "scenes.<id> of campaigns/*.yaml" ["reward_type", "text", "reconcile"];
}

/// Longest unknown key that is compared with the known ones: a bound on work, not a rule.
const COMPARED_BYTES_MAX: usize = 64;

/// The hint for an unknown key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// A known key of this section looks like it.
    Meant(&'static str),
    /// It is a key of another section: that section's path and the key.
    Belongs(&'static str, &'static str),
    /// Neither.
    Known,
}

/// Finds the hint for `unknown` in `section`.
pub(crate) fn hint(section: &Section, unknown: &str) -> Hint {
    if unknown.len() > COMPARED_BYTES_MAX {
        return Hint::Known;
    }
    if let Some(near) = nearest(section.keys, unknown) {
        return Hint::Meant(near);
    }
    let plain = folded(unknown);
    let others = || {
        let elsewhere = SECTIONS.iter().filter(|other| *other != section);
        elsewhere.filter_map(|other| Some((other.path, *other.keys.iter().find(|key| folded(key) == plain)?)))
    };
    let found = others().find(|(path, _)| path.starts_with(section.path)).or_else(|| others().next());
    found.map_or(Hint::Known, |(path, key)| Hint::Belongs(path, key))
}

/// The known word that `unknown` was most likely meant to be.
pub(crate) fn nearest<'k>(known: &[&'k str], unknown: &str) -> Option<&'k str> {
    if unknown.len() > COMPARED_BYTES_MAX {
        return None;
    }
    let plain = folded(unknown);
    let allowed = (plain.chars().count() / 3).max(1);
    let near = known.iter().filter(|word| word.len().abs_diff(unknown.len()) <= 2 * allowed);
    let measured = near.map(|word| (damerau_levenshtein(&folded(word), &plain), *word));
    let (distance, best) = measured.min_by_key(|(distance, _)| *distance)?;
    (plain.len() > 1 && distance <= allowed).then_some(best)
}

/// `maxItems`, `max-items` and `Max_Items` are all `max_items`.
fn folded(text: &str) -> String {
    text.chars().filter(|c| *c != '_' && *c != '-').map(|c| c.to_ascii_lowercase()).collect()
}

/// The help text for an unknown key.
pub(crate) fn help(section: &Section, unknown: &str) -> String {
    match hint(section, unknown) {
        Hint::Meant(key) => format!("did you mean `{key}`?"),
        Hint::Belongs(path, key) => match path.rsplit('.').next() {
            Some(under) if !path.contains('*') && !under.starts_with('<') => {
                format!("this key belongs under `{under}`: {path}.{key}")
            }
            _ => format!("this key belongs in {path}"),
        },
        Hint::Known if section.keys.is_empty() => "nothing can be set here: write `{}`".to_owned(),
        Hint::Known => format!("known here: {}", listed(section.keys)),
    }
}

/// What to write for a required key.
pub(crate) fn add(key: &str) -> String {
    let example = match key {
        "version" => "1",
        "partitions" => "8",
        "rate" => "20000/s",
        "reward_types" => "[cash]",
        "rank" => "[cash, coupon]",
        "downstream" => "bank",
        "url" => "http://127.0.0.1:9502/grant",
        "key_life" => "24h` (how long it remembers an idempotency key; `0s` for never",
        "profile" => "flaky",
        "asset" => "CNY/2",
        "max_minor" => "20000` (the most that one award may give, in minor units",
        "reward_type" => "cash",
        _ => return format!("add `{key}`"),
    };
    let close = if example.contains('(') { ")" } else { "`" };
    format!("add it, such as `{key}: {example}{close}")
}

/// Words for a message: `a`, `b`, `c`.
pub(crate) fn listed(words: &[&str]) -> String {
    words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let cases = [
            (&LANE, "rat", Hint::Meant("rate")),
            (&LANE, "reward_type", Hint::Meant("reward_types")),
            (&LANE, "rewardTypes", Hint::Meant("reward_types")),
            (&BATCH, "max-items", Hint::Meant("max_items")),
            (&HTTP_DOWNSTREAM, "Url", Hint::Meant("url")),
            (&DOWNSTREAM, "url", Hint::Belongs("downstreams.<name>.http", "url")),
            (&DOWNSTREAM, "max_items", Hint::Belongs("downstreams.<name>.http.batch", "max_items")),
            (&LANE, "max_items", Hint::Belongs("downstreams.<name>.http.batch", "max_items")),
            (&SEGMENTS, "max_delay", Hint::Belongs("log.segments.sync", "max_delay")),
            (&HTTP, "url", Hint::Belongs("downstreams.<name>.http", "url")),
            (&ROOT, "scenes", Hint::Belongs("campaigns/*.yaml", "scenes")),
            (&LOG, "kafka", Hint::Known),
            (&LANE, "x", Hint::Known),
            (&LANE, "", Hint::Known),
        ];
        for (section, unknown, expected) in cases {
            assert_eq!(hint(section, unknown), expected, "{} {unknown}", section.path);
        }
        assert_eq!(hint(&LANE, &"rate".repeat(1000)), Hint::Known);
    }

    #[test]
    fn help_texts() {
        assert_eq!(help(&LANE, "rat"), "did you mean `rate`?");
        assert_eq!(help(&DOWNSTREAM, "Url"), "this key belongs under `http`: downstreams.<name>.http.url");
        assert_eq!(
            help(&HTTP, "segment_size"),
            "this key belongs under `segments`: log.segments.segment_size"
        );
        assert_eq!(help(&LOG, "kafka"), "known here: `segments`");
        assert_eq!(help(&EMBEDDED, "kafka"), "nothing can be set here: write `{}`");
        assert_eq!(help(&ROOT, "scenes"), "this key belongs in campaigns/*.yaml");
        assert_eq!(help(&ROOT, "rank"), "this key belongs in pools.<name>");
        assert_eq!(help(&BATCH, "listen"), "this key belongs under `http`: http.listen");
    }

    /// The ways in which keys are usually misspelt.
    fn typos(key: &str) -> Vec<String> {
        let chars: Vec<char> = key.chars().collect();
        let middle = chars.len() / 2;
        let mut swapped = chars.clone();
        swapped.swap(middle - 1, middle);
        let mut dropped = chars.clone();
        dropped.remove(middle);
        let mut doubled = chars.clone();
        doubled.insert(middle, chars[middle]);
        let mut capital = chars;
        capital[0] = capital[0].to_ascii_uppercase();
        let texts = [swapped, dropped, doubled, capital].map(|chars| chars.into_iter().collect::<String>());
        texts.into_iter().filter(|typo| typo != key).collect()
    }

    /// Where `key` stands as a key in a text.
    fn places(text: &str, key: &str) -> Vec<usize> {
        let key = format!("{key}:");
        let begins = |at: usize| at == 0 || text[..at].ends_with([' ', '{', '\n']);
        let ends = |at: usize| text[at + key.len()..].starts_with([' ', '\n']);
        text.match_indices(&key).map(|(at, _)| at).filter(|at| begins(*at) && ends(*at)).collect()
    }

    #[test]
    fn every_key_with_a_typo_gets_a_suggestion_and_nothing_else() {
        const FILES: [&str; 2] =
            [include_str!("../tests/base/topology.yaml"), include_str!("../tests/base/campaign.yaml")];
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            let mut tried = 0;
            for (index, at) in
                [0, 1].iter().flat_map(|file| places(FILES[*file], key).into_iter().map(|at| (*file, at)))
            {
                for typo in typos(key) {
                    let mut files = FILES.map(str::to_owned);
                    files[index].replace_range(at..at + key.len(), &typo);
                    let topology = crate::File { name: "topology.yaml", text: &files[0] };
                    let campaign = crate::File { name: "campaigns/base.yaml", text: &files[1] };
                    let problems = crate::compile(topology, &[campaign], &|_| None).unwrap_err();
                    let text = crate::render(&problems);
                    assert_eq!(problems.len(), 1, "{text}");
                    assert_eq!(problems[0].code(), crate::Code::UnknownKey, "{text}");
                    assert_eq!(problems[0].help(), Some(format!("did you mean `{key}`?").as_str()), "{text}");
                    let line = 1 + FILES[index][..at].matches('\n').count();
                    assert_eq!(problems[0].line() as usize, line, "{text}");
                    tried += 1;
                }
            }
            assert!(tried > 0, "`{key}` is in no base file");
        }
    }
}
