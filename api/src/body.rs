//! A request's body, within its bound.

use std::future::poll_fn;
use std::pin::Pin;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};

use crate::problem::Problem;

/// Longest body that is taken, in bytes.
const BYTES_MAX: usize = 4 * 1024 * 1024;
/// Of a longer one so much more is read and thrown away: many clients read no answer before they
/// have sent everything, and would see a broken connection instead of the problem.
const DISCARDED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Reads the whole body.
pub async fn read(headers: &HeaderMap, mut body: Body) -> Result<Vec<u8>, Problem> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    // With `Expect: 100-continue` nothing is under way until the body is read.
    let waits = headers.contains_key(header::EXPECT);
    if declared > BYTES_MAX && (waits || declared > BYTES_MAX + DISCARDED_BYTES_MAX) {
        return Err(too_long());
    }
    let mut bytes = Vec::new();
    let mut length = 0;
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let Ok(frame) = frame else {
            let detail = "the body ended before it was whole; nothing was taken";
            return Err(Problem::new(StatusCode::BAD_REQUEST, "incomplete_body", "Incomplete body", detail));
        };
        let Ok(data) = frame.into_data() else { continue };
        length += data.len();
        if length <= BYTES_MAX {
            bytes.extend_from_slice(&data);
        } else {
            bytes = Vec::new();
        }
        if length > BYTES_MAX + DISCARDED_BYTES_MAX {
            break;
        }
    }
    if length > BYTES_MAX { Err(too_long()) } else { Ok(bytes) }
}

fn too_long() -> Problem {
    too_large(format!("the body is above {BYTES_MAX} bytes"))
}

/// What is above a limit, which `detail` names.
pub fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", "Too large", detail)
}
