//! Where an order stands, as users see it.

/// The state of an order number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OrderState {
    /// Accepted; nothing was sent yet.
    Accepted,
    /// Sent, or about to be.
    Crediting,
    /// An attempt is unresolved.
    Unknown,
    /// The downstream has it. Final.
    Credited,
    /// Refused by intake; the order number is not used up.
    Rejected,
    /// Refused by the downstream, definitely.
    Refused,
    /// Needs a person.
    Reported,
}

impl OrderState {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Accepted,
        Self::Crediting,
        Self::Unknown,
        Self::Credited,
        Self::Rejected,
        Self::Refused,
        Self::Reported,
    ];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Crediting => "crediting",
            Self::Unknown => "unknown",
            Self::Credited => "credited",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::Reported => "reported",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == name)
    }
}

impl std::fmt::Display for OrderState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::OrderState;

    #[test]
    fn names() {
        let names = OrderState::ALL.map(OrderState::as_str);
        assert_eq!(names.join(" "), "accepted crediting unknown credited rejected refused reported");
        for state in OrderState::ALL {
            assert_eq!(OrderState::from_name(state.as_str()), Some(state));
        }
        assert_eq!(OrderState::from_name("done"), None);
    }
}
