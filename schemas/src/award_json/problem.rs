//! What is wrong with a piece of JSON, and where.

use std::fmt::Write;

use serde::Serialize;

use crate::limits::{JSON_PROBLEMS_MAX, PROBLEM_TEXT_BYTES_MAX, cut};

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JsonProblem {
    /// RFC 6901, such as `/3/ext/colour`; empty for the whole. Very long names in it are cut.
    pub pointer: String,
    /// A stable code; see the [module](super).
    pub code: &'static str,
    /// A sentence for a person.
    pub message: String,
}

impl JsonProblem {
    pub(super) fn not_json(message: &str) -> Self {
        Self { pointer: String::new(), code: "invalid_json", message: message.to_owned() }
    }
}

impl std::fmt::Display for JsonProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}: {}", self.pointer, self.message)
    }
}

/// Collects problems and knows the place being read.
#[derive(Debug)]
pub(super) struct Problems {
    list: Vec<JsonProblem>,
    item: Option<usize>,
    /// Names from the item down to the place being read.
    names: Vec<String>,
    stopped: bool,
    too_many_items: bool,
}

impl Problems {
    pub(super) const fn new() -> Self {
        Self { list: Vec::new(), item: None, names: Vec::new(), stopped: false, too_many_items: false }
    }

    /// Goes on to the item of this index.
    pub(super) fn enter_item(&mut self, index: usize) {
        self.item = Some(index);
        self.names.clear();
    }

    /// Goes to the whole body again.
    pub(super) fn leave_items(&mut self) {
        self.item = None;
        self.names.clear();
    }

    /// Goes to the member `name` of the place being read.
    pub(super) fn enter(&mut self, name: &str) {
        self.names.push(cut(name, PROBLEM_TEXT_BYTES_MAX).to_owned());
    }

    /// Goes back to what holds the place being read. Not called after an error, so that the place
    /// of what is not JSON can be named.
    pub(super) fn leave(&mut self) {
        self.names.pop();
    }

    /// Notes a problem at the place being read.
    pub(super) fn add(&mut self, code: &'static str, message: String) {
        if self.stopped {
            return;
        }
        let pointer = self.pointer();
        self.list.push(JsonProblem { pointer, code, message });
        self.stopped = self.list.len() >= JSON_PROBLEMS_MAX;
    }

    /// Notes a problem at the member `name` of the place being read.
    pub(super) fn add_at(&mut self, name: &str, code: &'static str, message: String) {
        self.enter(name);
        self.add(code, message);
        self.leave();
    }

    /// Notes why the parser gave up, unless it was told to.
    pub(super) fn add_json_error(&mut self, error: &serde_json::Error) {
        let message = error.to_string();
        let code = if message.starts_with("number out of range") {
            "number_out_of_range" // the one thing the parser says of a number that it reads but cannot hold
        } else if error.is_data() {
            "wrong_type"
        } else {
            "invalid_json"
        };
        self.add(code, message);
    }

    /// How many problems there are.
    pub(super) const fn count(&self) -> usize {
        self.list.len()
    }

    /// Whether to give up.
    pub(super) const fn stopped(&self) -> bool {
        self.stopped
    }

    /// Gives up because there are more items than allowed.
    pub(super) const fn stop_for_items(&mut self) {
        self.too_many_items = true;
        self.stopped = true;
    }

    pub(super) const fn too_many_items(&self) -> bool {
        self.too_many_items
    }

    pub(super) fn into_first(self) -> Option<JsonProblem> {
        self.list.into_iter().next()
    }

    pub(super) fn into_list(self) -> Vec<JsonProblem> {
        self.list
    }

    fn pointer(&self) -> String {
        let mut pointer = String::new();
        if let Some(item) = self.item {
            // Writing into a string does not fail.
            write!(pointer, "/{item}").unwrap_or_default();
        }
        for name in &self.names {
            pointer.push('/');
            pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        }
        pointer
    }
}
