//! For tests: settings with all kinds of scenes, and a sender that keeps what it takes.

use std::sync::Mutex;
use std::time::Duration;

use hongbao_schemas::settings::Settings;

use crate::sender::{SendError, Sender};

/// Settings with two money types and three of pieces.
pub(crate) fn settings() -> Settings {
    let json = r#"{
        "number": 1,
        "name": "spring-2027",
        "reward_types": {
            "cash": {"asset": "CNY/2", "max_minor": 20000, "lane": "cash"},
            "cash.video": {"asset": "CNY/2", "max_minor": 500, "lane": "cash"},
            "coupon.film": {"asset": "COUPON/0", "max_minor": 1, "lane": "coupon"},
            "coupon.drink": {"asset": "COUPON/0", "max_minor": 3, "lane": "coupon"},
            "pendant": {"asset": "PENDANT/0", "max_minor": 1, "lane": "other"}
        },
        "activities": {
            "spring-2027": {"scenes": {
                "rain-1": {"reward_type": "cash", "text": "rain", "reconcile": true},
                "cards-1": {"reward_type": "cash.video", "text": "cards", "reconcile": true},
                "film-1": {"reward_type": "coupon.film", "text": "film", "reconcile": false},
                "drink-1": {"reward_type": "coupon.drink", "text": "drink", "reconcile": true},
                "pendant-1": {"reward_type": "pendant", "text": "pendant", "reconcile": true}
            }}
        },
        "reconcile_overdue_after_ms": 900000
    }"#;
    serde_json::from_str(json).unwrap()
}

/// Keeps every award with its key.
#[derive(Default)]
pub(crate) struct Taken {
    awards: Mutex<Vec<(String, Vec<u8>)>>,
    refusal: Mutex<Option<SendError>>,
}

impl Taken {
    pub(crate) fn take(&self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.awards.lock().unwrap())
    }

    pub(crate) fn refuse(&self, error: SendError) {
        *self.refusal.lock().unwrap() = Some(error);
    }
}

impl Sender for Taken {
    fn submit(&self, act_id: &str, award: &[u8]) -> Result<(), SendError> {
        if let Some(error) = self.refusal.lock().unwrap().clone() {
            return Err(error);
        }
        self.awards.lock().unwrap().push((act_id.to_owned(), award.to_vec()));
        Ok(())
    }

    fn wait_durable(&self, _timeout: Duration) -> Result<(), SendError> {
        Ok(())
    }
}
