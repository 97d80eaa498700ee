//! The state of an order as users see it, from where its lane says it stands.

use hongbao_engine::store::{Store, StoreError};
use hongbao_schemas::journal::CreditStage;
use hongbao_schemas::order_state::OrderState;

use super::entry::Pointer;
use super::history::Exception;
use super::lanes::Standing;
use super::rows;
use super::state::State;
use super::wire::damaged;

/// What memory tells of an order's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Known(OrderState),
    /// Ended; the store may have a row that says it was not credited.
    Ended,
}

impl Outcome {
    /// What is told under the lock.
    pub(super) fn of(state: &State, at: Pointer) -> Self {
        let Some(lane) = state.lanes.of(at) else { return Self::Known(OrderState::Accepted) };
        match lane.standing(at.seq()) {
            None => Self::Known(OrderState::Accepted),
            Some(Standing::Ended) => Self::of_ended(state, at, lane.may_be_exception(at.seq())),
            Some(sent) if sent.is_unknown() => Self::Known(OrderState::Unknown),
            Some(_) => Self::Known(OrderState::Crediting),
        }
    }

    fn of_ended(state: &State, at: Pointer, may_be_exception: bool) -> Self {
        if !may_be_exception {
            return Self::Known(OrderState::Credited);
        }
        let frozen = || state.frozen.as_ref()?.exceptions.get(&at);
        match state.staged.exceptions.get(&at).or_else(frozen) {
            Some(row) => Self::Known(state_of_exception(row).unwrap_or(OrderState::Reported)),
            None => Self::Ended,
        }
    }

    /// The states of orders, with the store's help and outside of the lock.
    pub(super) fn resolve(
        store: &dyn Store,
        outcomes: impl Iterator<Item = (Pointer, Self)>,
    ) -> Result<Vec<OrderState>, StoreError> {
        let mut keys = Vec::new();
        let mut asked = Vec::new();
        let mut states = Vec::new();
        for (at, outcome) in outcomes {
            states.push(match outcome {
                Self::Known(state) => state,
                Self::Ended => {
                    asked.push(states.len());
                    keys.push(rows::seq_key(rows::EXCEPTION, at));
                    OrderState::Credited
                }
            });
        }
        if !keys.is_empty() {
            let keys: Vec<&[u8]> = keys.iter().map(<[u8; 12]>::as_slice).collect();
            for (place, row) in asked.into_iter().zip(store.multi_get(&keys)?) {
                if let Some(row) = row {
                    states[place] = state_of_exception(&row).ok_or_else(|| damaged("an exception"))?;
                }
            }
        }
        Ok(states)
    }
}

fn state_of_exception(row: &[u8]) -> Option<OrderState> {
    match Exception::decode(row)?.stage {
        CreditStage::Refused => Some(OrderState::Refused),
        CreditStage::Reported => Some(OrderState::Reported),
        _ => None,
    }
}
