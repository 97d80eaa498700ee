//! What the API says of itself: OpenAPI, probes, metrics, ids, problems on wrong paths.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;
use serde_json::json;

use crate::node::{Files, Server, award};

/// Method and path of every route in the router's source.
fn routes() -> BTreeSet<(String, String)> {
    let source = include_str!("../../api/src/routes.rs");
    let routes: BTreeSet<(String, String)> = source
        .split(".route(")
        .skip(1)
        .map(|rest| {
            let mut quoted = rest.split('"');
            let path = quoted.nth(1).unwrap().to_owned();
            let handler = quoted.next().unwrap().trim_start_matches([',', ' ']);
            (handler.split('(').next().unwrap().to_owned(), path)
        })
        .collect();
    assert!(routes.contains(&("post".to_owned(), "/v1/awards".to_owned())), "{routes:?}");
    routes
}

#[test]
fn openapi_has_every_route_and_no_other() {
    let files = Files::new();
    let server = Server::start(&files);
    let answer = server.api.get("/v1/openapi.json");
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    let openapi = answer.json();
    assert!(openapi["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut described = BTreeSet::new();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
            described.insert((method.clone(), path.clone()));
        }
    }
    assert_eq!(described, routes());
    server.stop();
}

/// What every request may meet before its handler is reached is described for every path.
#[test]
fn openapi_describes_what_any_request_may_meet() {
    let openapi: serde_json::Value = serde_json::from_str(include_str!("../../api/openapi.json")).unwrap();
    for (path, methods) in openapi["paths"].as_object().unwrap() {
        let (is_bounded, is_public) =
            (path.starts_with("/v1/"), ["/livez", "/readyz", "/v1/openapi.json"].contains(&path.as_str()));
        for (method, operation) in methods.as_object().unwrap() {
            let cases = [
                ("400", is_bounded),
                ("401", !is_public),
                ("403", !is_public),
                ("405", true),
                ("429", is_bounded),
                ("431", true),
            ];
            for (status, expected) in cases {
                let response = &operation["responses"][status];
                assert_eq!(response.is_object(), expected, "{method} {path}: {status}");
                let Some(place) = response["$ref"].as_str() else { continue };
                let described = openapi.pointer(place.strip_prefix('#').unwrap()).unwrap();
                assert!(described["description"].is_string(), "{place}");
            }
            assert!(!is_bounded || operation["responses"]["503"].is_object(), "{method} {path}: 503");
        }
    }
}

#[test]
fn headers_have_a_largest_size() {
    let files = Files::new();
    let server = Server::start(&files);
    for bytes in [20_000, 100_000] {
        let request = server.api.request(Method::GET, "/v1/counts").header("x-long", "x".repeat(bytes));
        let status = server.api.send(request).map(|answer| answer.status);
        assert_eq!(status.unwrap(), if bytes > 64 * 1024 { 431 } else { 200 });
    }
    server.stop();
}

/// Fields of an answer must be described where it is described.
#[test]
fn openapi_describes_the_fields_of_answers() {
    let files = Files::new();
    let server = Server::start(&files);
    server.api.decide(&json!([award("u_film_1_coupon_1"), award("u_rain_1_cash_1")]));
    server.until_credited(&["cash", "coupon"]);
    let openapi = server.api.get("/v1/openapi.json").text();
    let paths = [
        "/v1/awards/u_film_1_coupon_1",
        "/v1/wallets/u",
        "/v1/wallets/u/entries",
        "/v1/totals?group_by=activity_id,scene_id,reward_type",
        "/v1/lanes",
        "/v1/counts",
        "/v1/reconcile",
        "/v1/awards/unknown",
    ];
    for path in paths {
        let mut fields = BTreeSet::new();
        names(&server.api.get(path).json(), &mut fields);
        assert!(!fields.is_empty(), "{path}");
        for field in fields {
            assert!(openapi.contains(&format!("\"{field}\"")), "{path}: {field} is not described");
        }
    }
    server.stop();
}

fn names(value: &serde_json::Value, fields: &mut BTreeSet<String>) {
    if let Some(object) = value.as_object() {
        fields.extend(object.keys().cloned());
        object.values().for_each(|inner| names(inner, fields));
    }
    for inner in value.as_array().into_iter().flatten() {
        names(inner, fields);
    }
}

#[test]
fn probes_and_metrics() {
    let files = Files::new();
    let server = Server::start(&files);
    server.api.decide(&award("u1_rain_1_cash_1"));
    server.api.decide(&award("u1_rain_1_cash_1"));
    server.until_credited(&["cash"]);
    for probe in ["/livez", "/readyz"] {
        assert_eq!(server.api.get(probe).status, 200, "{probe}");
    }
    let answer = server.api.get("/metrics");
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let text = answer.text();
    let (mut described, mut values) = (BTreeSet::new(), BTreeMap::new());
    for line in text.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let mut words = comment.splitn(3, ' ');
            assert!(["HELP", "TYPE"].contains(&words.next().unwrap()), "{line}");
            described.insert(words.next().unwrap().to_owned());
            assert!(!words.next().unwrap().is_empty(), "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap();
        assert!(name.starts_with("hongbao_"), "{line}");
        assert!(!name.contains("u1"), "a label names a person: {line}");
        values.insert(name.to_owned(), value.parse::<f64>().unwrap());
    }
    for name in values.keys() {
        let family = name.split('{').next().unwrap();
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| family.strip_suffix(end));
        let known = described.contains(family) || of_histogram.is_some_and(|name| described.contains(name));
        assert!(known, "{name} has no HELP");
    }
    let expected = [
        ("hongbao_awards_total{verdict=\"accepted\"}", 1.0),
        ("hongbao_awards_total{verdict=\"duplicate\"}", 1.0),
        ("hongbao_lane_orders_total{lane=\"cash\",outcome=\"credited\"}", 1.0),
        ("hongbao_lane_backlog{lane=\"cash\"}", 0.0),
        ("hongbao_contradictions_total", 0.0),
        ("hongbao_http_requests_total{route=\"/v1/awards\",status=\"2xx\"}", 2.0),
    ];
    for (name, value) in expected {
        assert_eq!(values.get(name), Some(&value), "{name} in\n{text}");
    }
    server.stop();
}

#[test]
fn wrong_paths_and_methods_are_problems() {
    let files = Files::new();
    let server = Server::start(&files);
    let cases = [
        (Method::GET, "/", 404, "unknown_path"),
        (Method::GET, "/v1/wallet/u1", 404, "unknown_path"),
        (Method::GET, "/v1/wallets/", 404, "unknown_path"),
        (Method::GET, "/v1/wallets/u1/", 404, "unknown_path"),
        (Method::POST, "/v2/awards", 404, "unknown_path"),
        (Method::GET, "/v1/awards", 405, "method_not_allowed"),
        (Method::PUT, "/v1/awards", 405, "method_not_allowed"),
        (Method::DELETE, "/v1/awards/u1_rain_1_cash_1", 405, "method_not_allowed"),
        (Method::POST, "/v1/counts", 405, "method_not_allowed"),
    ];
    for (method, path, status, code) in cases {
        let answer = server.api.send(server.api.request(method.clone(), path)).unwrap();
        assert_eq!((answer.status, answer.problem()), (status, code.to_owned()), "{method} {path}");
        // RFC 9110: whoever is told that a method is wrong is told which are right.
        let allowed = answer.header("allow").contains(if path == "/v1/awards" { "POST" } else { "GET" });
        assert_eq!(allowed, status == 405, "{method} {path}: {:?}", answer.headers);
    }
    server.stop();
}

#[test]
fn every_answer_has_an_id_of_its_own() {
    let files = Files::new();
    let server = Server::start(&files);
    let mut ids = BTreeSet::new();
    let paths = ["/livez", "/readyz", "/metrics", "/v1/openapi.json", "/v1/counts", "/v1/lanes", "/v1/x"];
    for path in paths.iter().cycle().take(3 * paths.len()) {
        let answer = server.api.get(path);
        let id = answer.header("x-request-id");
        assert!(id.starts_with("req_") && ids.insert(id.to_owned()), "{path}: {id:?}");
    }
    let answer = server.api.decide(&json!([award("u_rain_1_cash_1")]));
    assert!(ids.insert(answer.header("x-request-id").to_owned()));
    server.stop();
}
