//! Why intake refuses an award (R2).

/// The reasons, in the order in which they are checked: the first that applies is the verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The order number does not have the form of one.
    MalformedOrderNo,
    /// Its first part is not the award's `act_id`.
    OrderNoActIdMismatch,
    /// Its second part is not the award's `scene_id`.
    OrderNoSceneMismatch,
    /// The activity is not in the settings.
    UnknownActivity,
    /// The scene is not in the activity.
    UnknownScene,
    /// The reward type is not the scene's.
    RewardTypeMismatch,
    /// The amount is zero or below.
    AmountNotPositive,
    /// The amount is above the cap of its reward type (W4).
    AmountAboveCap,
}

impl Refusal {
    /// Every reason, in the order of the checks.
    pub const ALL: [Self; 8] = [
        Self::MalformedOrderNo,
        Self::OrderNoActIdMismatch,
        Self::OrderNoSceneMismatch,
        Self::UnknownActivity,
        Self::UnknownScene,
        Self::RewardTypeMismatch,
        Self::AmountNotPositive,
        Self::AmountAboveCap,
    ];

    /// The stable code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::MalformedOrderNo => "malformed_order_no",
            Self::OrderNoActIdMismatch => "order_no_act_id_mismatch",
            Self::OrderNoSceneMismatch => "order_no_scene_mismatch",
            Self::UnknownActivity => "unknown_activity",
            Self::UnknownScene => "unknown_scene",
            Self::RewardTypeMismatch => "reward_type_mismatch",
            Self::AmountNotPositive => "amount_not_positive",
            Self::AmountAboveCap => "amount_above_cap",
        }
    }

    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|refusal| refusal.code() == code)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Refusal;

    #[test]
    fn codes_in_the_order_of_the_checks() {
        let codes = Refusal::ALL.map(Refusal::code);
        assert_eq!(
            codes.join(" "),
            "malformed_order_no order_no_act_id_mismatch order_no_scene_mismatch unknown_activity \
             unknown_scene reward_type_mismatch amount_not_positive amount_above_cap"
        );
        assert!(Refusal::ALL.is_sorted());
        for refusal in Refusal::ALL {
            assert_eq!(Refusal::from_code(refusal.code()), Some(refusal));
        }
        assert_eq!(Refusal::from_code("MalformedOrderNo"), None);
    }
}
