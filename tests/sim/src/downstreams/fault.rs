//! What can go wrong with a request to a service.

use serde::{Deserialize, Serialize};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestFault {
    /// 500, and nothing was done.
    FailBefore,
    /// 500, and everything was done.
    FailAfter,
    /// The request never arrives, and no answer comes.
    LoseRequest,
    /// Everything was done, and no answer comes.
    LoseAnswer,
    /// No answer comes, and the request arrives so many milliseconds later.
    Late(u64),
    /// 429, and the time after which to come back.
    Throttle(Option<u64>),
    /// 503 and nothing was done, and the seconds after which to come back.
    Unavailable(Option<u64>),
    /// The connection is refused.
    Refuse,
    /// 401.
    Unauthorized,
    /// 413: too large, nothing was done.
    TooLarge,
    /// Of the items only every other one is done, and of those only every third answered.
    Partial,
    /// Every other item is throttled.
    ThrottleItems,
    /// The items are taken on and done so many milliseconds later.
    Pending(u64),
    /// The answer breaks off.
    CutAnswer,
    /// 200 with something that is no answer.
    Nonsense,
    /// The answer takes so many milliseconds more.
    Slow(u64),
    /// 409: another request with the key is still worked on; nothing was done.
    Conflict,
    /// Every item that is not known is rejected for now.
    RejectItems,
    /// This status, and nothing was done.
    Status(u16),
    /// This status, and everything was done: of one that says nothing about it.
    StatusAfter(u16),
}

impl RequestFault {
    /// The name of its kind.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FailBefore => "fail_before",
            Self::FailAfter => "fail_after",
            Self::LoseRequest => "lose_request",
            Self::LoseAnswer => "lose_answer",
            Self::Late(_) => "late",
            Self::Throttle(_) => "throttle",
            Self::Unavailable(_) => "unavailable",
            Self::Refuse => "refuse",
            Self::Unauthorized => "unauthorized",
            Self::TooLarge => "too_large",
            Self::Partial => "partial",
            Self::ThrottleItems => "throttle_items",
            Self::Pending(_) => "pending_items",
            Self::CutAnswer => "cut_answer",
            Self::Nonsense => "nonsense",
            Self::Slow(_) => "slow",
            Self::Conflict => "conflict",
            Self::RejectItems => "reject_items",
            Self::Status(status) | Self::StatusAfter(status) => match status {
                300..=399 => "redirect",
                400 => "bad_request",
                403 => "forbidden",
                404 => "not_found",
                405 => "not_allowed",
                413 => "too_large_status",
                422 => "unprocessable",
                502 => "bad_gateway",
                _ => "other_status",
            },
        }
    }
}
