//! What a node under attack is given: cash to the embedded ledger, coupons over HTTP, pendants to
//! either a simulation within the process or the downstream outside.

/// What the downstream outside knows of idempotency keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// It knows each for a day: an order that is sent twice takes effect once.
    ForADay,
    /// It knows none, and can be asked: an order that is sent twice is paid twice.
    None,
}

impl Keys {
    /// The name of the profile that does everything wrong now and then.
    #[must_use]
    pub fn flaky(self) -> &'static str {
        match self {
            Self::ForADay => "flaky",
            Self::None => "no_keys",
        }
    }

    /// What a profile knows of them.
    #[must_use]
    pub fn of_profile(name: &str) -> Self {
        if name == Self::None.flaky() { Self::None } else { Self::ForADay }
    }

    /// `key_life`.
    fn life(self) -> &'static str {
        match self {
            Self::ForADay => "24h",
            Self::None => "0s",
        }
    }
}

/// What differs from test to test.
#[derive(Clone, Copy, Debug)]
pub struct Shape<'a> {
    pub partitions: u16,
    /// Base address of the downstream outside.
    pub mall: &'a str,
    pub timeout_ms: u64,
    pub batch_items: u64,
    pub keys: Keys,
    /// Profile of the simulation that gives pendants; without one the downstream outside does.
    pub partner: Option<&'a str>,
}

/// Name of the topology, and first part of every idempotency key.
pub const NAME: &str = "crash";

/// `campaigns/spring.yaml`.
pub const CAMPAIGN: &str = "\
version: 1
activity: spring
reward_types:
  cash:        {asset: CNY/2, max_minor: 20000}
  coupon.film: {asset: COUPON/0, max_minor: 2}
  pendant:     {asset: PENDANT/0, max_minor: 1}
scenes:
  rain:    {reward_type: cash}
  film:    {reward_type: coupon.film}
  firework: {reward_type: pendant}
";

/// `topology.yaml`.
#[must_use]
pub fn topology(shape: &Shape<'_>) -> String {
    let Shape { partitions, mall, timeout_ms, batch_items, keys, partner } = shape;
    let key_life = keys.life();
    let other = if partner.is_some() { "partner" } else { "mall" };
    let partner = partner.map_or(String::new(), |profile| {
        format!("  partner:\n    simulated: {{profile: {profile}, seed: 11}}\n")
    });
    format!(
        "\
version: 1
name: {NAME}
partitions: {partitions}
log:
  segments: {{segment_size: 16MiB, sync: {{max_delay: 1ms, max_bytes: 1MiB}}}}
downstreams:
  bank:
    embedded: {{}}
  mall:
    http: {{url: \"{mall}/grant\", query_url: \"{mall}/query\", key_life: {key_life}, \
         timeout: {timeout_ms}ms, batch: {{max_items: {batch_items}, max_delay: 1ms}}}}
{partner}pools:
  payment: {{rate: 40000/s, burst: 300, rank: [cash, coupon], floor: 10%}}
lanes:
  cash:   {{reward_types: [cash], downstream: bank, rate: 40000/s}}
  coupon: {{reward_types: [coupon.film], downstream: mall, rate: 20000/s}}
  other:  {{reward_types: [pendant], downstream: {other}, rate: 20000/s}}
"
    )
}
