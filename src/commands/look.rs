//! Commands that ask a server and print: wallet, trace, totals, lanes, lag.

use std::time::Duration;

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::cli::{Global, GroupBy, Output};
use crate::client::{Client, problem_text, segment};
use crate::exit::{FAILED, FOUND, Failure, OK, Outcome};
use crate::output::{amount, grouped, print_json, print_lines, table};

fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Number(number) => grouped(number),
        other => other.to_string(),
    }
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// `hongbao wallet`.
pub fn wallet(global: &Global, act_id: &str) -> Outcome {
    let wallet = Client::new(global)?.get(&format!("/v1/wallets/{}", segment(act_id)))?;
    if global.output != Output::Text {
        print_json(&wallet, global.output)?;
        return Ok(OK);
    }
    let lag_ms = wallet["lag_ms"].as_u64().unwrap_or(0);
    let mut lines = vec![format!("as of {} ({lag_ms} ms behind)", text(&wallet["as_of"]))];
    let balances: Vec<Vec<String>> = rows(&wallet["balances"])
        .iter()
        .map(|row| {
            let asset = row["asset"].as_str().unwrap_or_default();
            let money = |field: &str| amount(asset, row[field].as_i64().unwrap_or(0));
            vec![
                asset.to_owned(),
                money("balance_minor"),
                money("credited_minor"),
                money("pending_minor"),
                money("available_minor"),
            ]
        })
        .collect();
    if balances.is_empty() {
        lines.push(format!("{act_id} has no awards"));
    } else {
        lines.extend(table(&["ASSET", "BALANCE", "CREDITED", "PENDING", "AVAILABLE"], &balances, &[]));
    }
    let items: Vec<Vec<String>> = rows(&wallet["items"])
        .iter()
        .map(|item| {
            ["reward_type", "reward_id", "amount_minor", "state", "order_no"]
                .map(|field| text(&item[field]))
                .to_vec()
        })
        .collect();
    if !items.is_empty() {
        lines.push(String::new());
        lines.extend(table(&["ITEM", "ID", "PIECES", "STATE", "ORDER"], &items, &[1, 3, 4]));
    }
    print_lines(&lines)?;
    Ok(OK)
}

/// `hongbao trace`.
pub fn trace(global: &Global, order_no: &str) -> Outcome {
    let answer = Client::new(global)?.try_get(&format!("/v1/awards/{}", segment(order_no)))?;
    if answer.status.as_u16() != 200 {
        return Err(Failure::new(FAILED, anyhow!(problem_text(&answer.body))));
    }
    let order = answer.body;
    if global.output != Output::Text {
        print_json(&order, global.output)?;
        return Ok(OK);
    }
    let mut lines = vec![format!(
        "{}  {}  {} minor units to {}: {}",
        text(&order["order_no"]),
        text(&order["reward_type"]),
        text(&order["amount_minor"]),
        text(&order["act_id"]),
        text(&order["state"]),
    )];
    let events: Vec<Vec<String>> = rows(&order["timeline"])
        .iter()
        .map(|event| ["at", "stage", "position", "detail"].map(|field| text(&event[field])).to_vec())
        .collect();
    lines.extend(table(&["AT", "STAGE", "POSITION", "DETAIL"], &events, &[1, 2, 3]));
    print_lines(&lines)?;
    Ok(OK)
}

/// `hongbao totals`.
pub fn totals(global: &Global, group_by: &[GroupBy]) -> Outcome {
    let group_by: Vec<&str> = group_by.iter().map(|column| column.name()).collect();
    let mut totals = Client::new(global)?.get(&format!("/v1/totals?group_by={}", group_by.join(",")))?;
    if global.output == Output::Ndjson {
        let as_of = totals["as_of"].take();
        let mut lines = totals["rows"].take();
        for line in lines.as_array_mut().into_iter().flatten() {
            line["as_of"] = as_of.clone();
        }
        print_json(&lines, global.output)?;
        return Ok(OK);
    }
    if global.output == Output::Json {
        print_json(&totals, global.output)?;
        return Ok(OK);
    }
    let columns = ["activity_id", "scene_id", "reward_type", "asset"];
    let shown: Vec<&str> =
        columns.into_iter().filter(|name| *name == "asset" || group_by.contains(name)).collect();
    let body: Vec<Vec<String>> = rows(&totals["rows"])
        .iter()
        .map(|row| {
            let asset = row["asset"].as_str().unwrap_or_default();
            let money = |field: &str| amount(asset, row[field].as_i64().unwrap_or(i64::MAX));
            let mut cells: Vec<String> = shown.iter().map(|name| text(&row[*name])).collect();
            cells.push(text(&row["accepted_count"]));
            cells.push(money("accepted_minor"));
            cells.push(text(&row["credited_count"]));
            cells.push(money("credited_minor"));
            cells
        })
        .collect();
    let mut header: Vec<String> = shown.iter().map(|name| name.to_uppercase()).collect();
    header.extend(["ACCEPTED", "SUM", "CREDITED", "SUM"].map(str::to_owned));
    let header: Vec<&str> = header.iter().map(String::as_str).collect();
    let mut lines = vec![format!("as of {}", text(&totals["as_of"]))];
    let left: Vec<usize> = (0..shown.len()).collect();
    lines.extend(table(&header, &body, &left));
    print_lines(&lines)?;
    Ok(OK)
}

/// The rows of `/v1/lanes` as a table.
pub fn lanes_table(lanes: &Value) -> Vec<String> {
    let body: Vec<Vec<String>> = rows(lanes)
        .iter()
        .map(|lane| {
            let mut cells = vec![text(&lane["lane"]), text(&lane["state"])];
            cells.push(format!("{}/s", text(&lane["limit_per_second"])));
            let fields = ["sent", "credited", "refused", "reported", "unknown", "backlog"];
            cells.extend(fields.map(|field| text(&lane[field])));
            cells.push(format!("{:.1}", lane["lag_seconds"].as_f64().unwrap_or(0.0)));
            cells
        })
        .collect();
    let header =
        ["LANE", "STATE", "LIMIT", "SENT", "CREDITED", "REFUSED", "REPORTED", "UNKNOWN", "BACKLOG", "LAG(S)"];
    table(&header, &body, &[1])
}

/// `hongbao lanes`.
pub fn lanes(global: &Global) -> Outcome {
    let lanes = Client::new(global)?.get("/v1/lanes")?;
    match global.output {
        Output::Text => print_lines(&lanes_table(&lanes))?,
        output => print_json(&lanes, output)?,
    }
    Ok(OK)
}

/// `hongbao lag`: 3 when a lane is further behind than allowed.
pub fn lag(global: &Global, max: Option<Duration>) -> Outcome {
    let lanes = Client::new(global)?.get("/v1/lanes")?;
    let mut over = false;
    let mut lines = Vec::new();
    let mut list = Vec::new();
    for lane in rows(&lanes) {
        let lag_seconds = lane["lag_seconds"].as_f64().unwrap_or(0.0);
        let above = max.is_some_and(|max| lag_seconds > max.as_secs_f64());
        over |= above;
        let mark = match max {
            Some(max) if above => format!("  > {} s", max.as_secs_f64()),
            _ => String::new(),
        };
        lines.push(vec![
            text(&lane["lane"]),
            format!("{} orders", text(&lane["backlog"])),
            format!("{lag_seconds:.1} s{mark}"),
        ]);
        list.push(json!({
            "lane": lane["lane"], "backlog": lane["backlog"], "lag_seconds": lag_seconds, "above_max": above,
        }));
    }
    match global.output {
        Output::Text => print_lines(&table(&["LANE", "BACKLOG", "LAG"], &lines, &[2]))?,
        output => print_json(&Value::Array(list), output)?,
    }
    Ok(if over { FOUND } else { OK })
}
