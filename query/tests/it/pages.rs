//! The pages, as a browser without JavaScript meets them.

use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};

use crate::harness::{Answer, NOW_NS, app, get, request, request_of, span, text};

/// The address of the style sheet that a page links to, from the page.
fn style_sheet(page: &Answer) -> String {
    let (_, link) = page
        .body
        .split_once(r#"rel="stylesheet" href=""#)
        .expect("a link");
    link.split_once('"')
        .expect("an attribute's end")
        .0
        .to_owned()
}

#[tokio::test]
async fn every_page_is_strict_about_what_it_loads() {
    let app = app(vec![request("cart", vec![span(1, 1, 0, "GET /")])]).await;
    for path in [
        "/",
        "/search?service=cart",
        "/trace/1?span=0000000000000001",
        "/nothing/here",
    ] {
        let page = get(&app, path).await;
        assert_eq!(
            page.header("content-type"),
            "text/html; charset=utf-8",
            "{path}"
        );
        assert_eq!(page.header("cache-control"), "no-cache", "{path}");
        let policy = page.header("content-security-policy");
        assert!(
            policy.starts_with("default-src 'none'; style-src 'self';"),
            "{path}: {policy}"
        );
        for forbidden in [
            "<script", " style=", "<style", " onclick", "http://", "https://", "=\"/",
        ] {
            assert!(!page.body.contains(forbidden), "{path} has {forbidden}");
        }
    }
}

#[tokio::test]
async fn style_sheets_may_be_kept_for_ever() {
    let app = app(vec![request("cart", vec![span(1, 1, 0, "GET /")])]).await;
    for (path, root) in [
        ("/", ""),
        ("/search", ""),
        ("/trace/1", "../"),
        ("/a/b/c", "../../"),
    ] {
        let link = style_sheet(&get(&app, path).await);
        let file = link.strip_prefix(root).unwrap();
        assert!(file.starts_with("assets/style-"), "{path}: {link}");
        let style = get(&app, &format!("/{file}")).await;
        assert_eq!(style.status, 200, "{file}");
        assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
        assert_eq!(
            style.header("cache-control"),
            "public, max-age=31536000, immutable"
        );
        assert!(style.body.contains(".c0 {") && style.body.contains(".d1 {"));
    }
    assert_eq!(get(&app, "/assets/style-0.css").await.status, 404);
}

#[tokio::test]
async fn an_empty_store_teaches_how_to_fill_it() {
    let page = get(&app(vec![]).await, "/").await;
    assert_eq!(page.status, 200);
    page.has_in_order(&[
        "<h1",
        "Search traces",
        "No traces yet",
        "cargo xtask demo",
        "4317",
    ]);
}

#[tokio::test]
async fn the_first_page_shows_the_latest_traces() {
    let failed = Status {
        code: 2,
        message: String::new(),
    };
    let app = app(vec![
        request("cart", vec![span(0xa1, 1, 0, "GET /cart")]),
        request(
            "stock",
            vec![Span {
                status: Some(failed),
                ..span(0xa1, 2, 1, "GET /items")
            }],
        ),
    ])
    .await;
    let page = get(&app, "/").await;
    page.has_in_order(&[
        r#"<option value="">Any service"#,
        r#"<option value="cart">"#,
        "1 trace<",
        "2023-11-14 21:13:20 \u{2013} 22:13:20 UTC",
        r#"href="trace/000000000000000000000000000000a1""#,
        "cart</span> GET /cart",
        "stock",
        "1 error",
        "1.50 ms",
        "22:13:10.000",
    ]);
}

#[tokio::test]
async fn a_search_that_found_its_limit_says_that_there_may_be_more() {
    let app = app(vec![request(
        "cart",
        vec![span(1, 1, 0, "a"), span(2, 1, 0, "a")],
    )])
    .await;
    get(&app, "/?limit=2")
        .await
        .has_in_order(&["The latest 2 traces<"]);
    get(&app, "/?limit=3").await.has_in_order(&[">2 traces<"]);
}

#[tokio::test]
async fn a_search_keeps_what_was_asked_in_its_form() {
    let app = app(vec![request("cart", vec![span(1, 1, 0, "GET /cart")])]).await;
    let page = get(
        &app,
        "/search?service=cart&operation=POST&tags=a%3D%22b%22&minDuration=1s&lookback=6h&limit=7",
    )
    .await;
    assert_eq!(page.status, 200);
    page.has_in_order(&[
        r#"<option value="cart" selected>"#,
        r#"name="operation" list="operations" value="POST""#,
        r#"<option value="GET /cart">"#,
        r#"value="a=&quot;b&quot;""#,
        r#"name="minDuration" value="1s""#,
        "<option selected>7</option>",
        r#"<option value="6h" selected>"#,
        "No trace matches",
    ]);
}

#[tokio::test]
async fn a_form_that_cannot_be_used_says_why() {
    let page = get(&app(vec![]).await, "/search?minDuration=fast").await;
    assert_eq!(page.status, 400);
    page.has_in_order(&[
        r#"value="fast""#,
        r#"role="alert""#,
        "Min duration: expected a duration",
    ]);
}

#[tokio::test]
async fn a_trace_is_drawn_row_by_row() {
    let start = NOW_NS - 10_000_000_000;
    let timed = |span: Span, from: u64, to: u64| Span {
        start_time_unix_nano: start + from * 1_000_000,
        end_time_unix_nano: start + to * 1_000_000,
        ..span
    };
    let failed = Status {
        code: 2,
        message: "refused".into(),
    };
    let app = app(vec![
        request(
            "stock",
            vec![Span {
                status: Some(failed),
                ..timed(span(1, 3, 2, "GET /items"), 40, 60)
            }],
        ),
        request(
            "cart",
            vec![
                timed(span(1, 1, 0, "GET /cart"), 0, 80),
                Span {
                    kind: 3,
                    ..timed(span(1, 2, 1, "call stock"), 20, 70)
                },
            ],
        ),
    ])
    .await;
    let page = get(&app, "/trace/1").await;
    assert_eq!(page.status, 200);
    let (_, rows) = page
        .body
        .split_once("<section class=\"waterfall\"")
        .unwrap();
    insta::assert_snapshot!(rows.replace("><", ">\n<"));
    page.has_in_order(&[
        "<h1>",
        "cart</span> GET /cart",
        "80.0 ms",
        "Spans",
        "3",
        "Errors",
        "1",
    ]);
}

#[tokio::test]
async fn a_selected_span_tells_everything_about_itself() {
    let full = Span {
        attributes: vec![text("http.route", "/cart"), text("long", &"x".repeat(600))],
        events: vec![Event {
            time_unix_nano: NOW_NS - 9_999_500_000,
            name: "retry".into(),
            attributes: vec![text("why", "timeout")],
            ..Event::default()
        }],
        links: vec![Link {
            trace_id: 9_u128.to_be_bytes().to_vec(),
            span_id: 8_u64.to_be_bytes().to_vec(),
            ..Link::default()
        }],
        status: Some(Status {
            code: 2,
            message: "no upstream".into(),
        }),
        dropped_attributes_count: 3,
        ..span(1, 2, 1, "call stock")
    };
    let resource = vec![text("service.name", "cart"), text("host.name", "node-7")];
    let app = app(vec![request_of(
        resource,
        vec![span(1, 1, 0, "GET /cart"), full],
    )])
    .await;
    let page = get(&app, "/trace/1?span=0000000000000002").await;
    let cut = format!("{}\u{2026} <a", "x".repeat(500));
    page.has_in_order(&[
        r#"aria-current="true""#,
        r#"<aside class="panel""#,
        "call stock",
        "no upstream",
        r##"<a href="?span=0000000000000001#row-0">"##,
        "http.",
        "route",
        "/cart",
        &cut,
        r##"href="?span=0000000000000002&amp;full=1#row-1""##,
        "all 600 bytes",
        "3 more were dropped",
        "500 \u{b5}s",
        "retry",
        "timeout",
        r#"href="00000000000000000000000000000009?span=0000000000000008""#,
        "node-7",
    ]);
    let full = get(&app, "/trace/1?span=0000000000000002&full=1").await;
    full.has_in_order(&[&"x".repeat(600)]);
}

#[tokio::test]
async fn services_and_values_lead_to_the_traces_that_have_them() {
    let odd = Span {
        attributes: vec![text("user", "a \"b\" & c")],
        ..span(1, 1, 0, "GET /")
    };
    let app = app(vec![request("my cart", vec![odd])]).await;
    let page = get(&app, "/trace/1?span=0000000000000001").await;
    let links = page
        .body
        .split("href=\"")
        .filter_map(|link| link.strip_prefix("../search?"));
    let mut n_links = 0;
    for link in links {
        let query = link
            .split_once('"')
            .expect("an attribute's end")
            .0
            .replace("&amp;", "&");
        let found = get(&app, &format!("/search?{query}")).await;
        found.has_in_order(&["1 trace<", "trace/00000000000000000000000000000001"]);
        n_links += 1;
    }
    // The service in the head and in the panel, the value, and the resource's.
    assert_eq!(n_links, 4);
}

#[tokio::test]
async fn each_of_two_spans_with_one_id_can_be_selected() {
    let twin = Span {
        kind: 3,
        ..span(1, 1, 0, "second")
    };
    let app = app(vec![request("cart", vec![span(1, 1, 0, "first"), twin])]).await;
    let page = get(&app, "/trace/1?span=0000000000000001.1").await;
    page.has_in_order(&[
        "?span=0000000000000001#row-0",
        "?span=0000000000000001.1#row-1",
        "<aside",
        "second",
    ]);
}

#[tokio::test]
async fn a_span_that_is_not_there_is_said_to_be_missing() {
    let app = app(vec![request("cart", vec![span(1, 1, 0, "GET /")])]).await;
    let page = get(&app, "/trace/1?span=00000000000000ff").await;
    assert_eq!(page.status, 200);
    page.has_in_order(&["GET /", "<aside", "No such span", "00000000000000ff"]);
    let unreadable = get(&app, "/trace/1?span=x&from=-1").await;
    assert_eq!(unreadable.status, 200);
    assert!(!unreadable.body.contains("<aside"));
}

#[tokio::test]
async fn a_long_trace_comes_a_thousand_rows_at_a_time() {
    let spans = (1..=2_500).map(|n| span(1, n, u64::from(n > 1), "work"));
    let app = app(vec![request("cart", spans.collect())]).await;
    let n_rows = |page: &Answer| page.body.matches("<tr class=").count();

    let first = get(&app, "/trace/1").await;
    assert_eq!(n_rows(&first), 1_000);
    first.has_in_order(&[
        "Rows 1 \u{2013} 1\u{202f}000",
        r#"href="?from=1000""#,
        r#"href="?from=2000""#,
    ]);
    let last = get(&app, "/trace/1?from=99999999").await;
    assert_eq!(n_rows(&last), 500);
    last.has_in_order(&["Rows 2\u{202f}001", r#"href="?from=0""#, r#"id="row-2000""#]);
    // A link to a span leads to its rows.
    let linked = get(&app, &format!("/trace/1?span={:016x}", 1_501)).await;
    linked.has_in_order(&[
        r#"id="row-1000""#,
        r#"aria-current="true""#,
        r#"id="row-1999""#,
    ]);
}

#[tokio::test]
async fn hostile_text_stays_text() {
    let hostile = "\"><script>alert(1)</script><img src=x onerror='alert(2)'>";
    let span = Span {
        attributes: vec![text(hostile, hostile)],
        trace_state: hostile.into(),
        events: vec![Event {
            name: hostile.into(),
            ..Event::default()
        }],
        status: Some(Status {
            code: 2,
            message: hostile.into(),
        }),
        ..span(1, 1, 0, hostile)
    };
    let app = app(vec![request(hostile, vec![span])]).await;
    let query = "service=%22%3E%3Cscript%3E&operation=%22%3E%3Cscript%3E&tags=%22%3E%3Cscript%3E";
    for path in [
        "/",
        &format!("/search?{query}"),
        "/trace/1?span=0000000000000001",
        "/trace/%3Cscript%3E",
    ] {
        let page = get(&app, path).await;
        assert!(!page.body.contains("<script"), "{path}");
        assert!(!page.body.contains("<img src=x"), "{path}");
    }
}

#[tokio::test]
async fn wrong_addresses_get_pages_too() {
    let app = app(vec![]).await;
    let cases = [
        ("/trace/xyz", 400, "That is not a trace id"),
        ("/trace?id=xyz", 400, "That is not a trace id"),
        (
            "/trace/abc",
            404,
            "There is no trace <code>00000000000000000000000000000abc</code>",
        ),
        ("/settings", 404, "There is no such page"),
    ];
    for (path, status, words) in cases {
        let page = get(&app, path).await;
        assert_eq!(page.status, status, "{path}");
        page.has_in_order(&["<main>", words]);
    }
}

#[tokio::test]
async fn the_box_for_ids_leads_to_the_trace() {
    let answer = get(&app(vec![]).await, "/trace?id=%20ABC%20").await;
    assert_eq!(answer.status, 303);
    assert_eq!(
        answer.header("location"),
        "trace/00000000000000000000000000000abc"
    );
}

#[tokio::test]
async fn pages_work_below_a_path_prefix() {
    let inner = app(vec![request("cart", vec![span(1, 1, 0, "GET /")])]).await;
    let outer = axum::Router::new().nest("/tracing", inner);
    let page = get(&outer, "/tracing/trace/1").await;
    assert_eq!(page.status, 200);
    let style = style_sheet(&page).replace("../", "/tracing/");
    assert_eq!(get(&outer, &style).await.status, 200);
    assert_eq!(get(&outer, "/tracing/api/services").await.status, 200);
}

#[tokio::test]
async fn extreme_times_are_shown_somehow() {
    let times = [0, 1, NOW_NS, u64::MAX];
    let spans = times
        .iter()
        .flat_map(|&start| times.map(|end| (start, end)))
        .zip(1..);
    let spans = spans.map(|((start, end), id)| Span {
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        ..span(1, id, id / 2, "odd")
    });
    let app = app(vec![request("cart", spans.collect())]).await;
    for path in [
        "/?start=1970-01-01T00:00",
        "/trace/1?span=0000000000000004",
        "/api/traces/1",
    ] {
        assert_eq!(get(&app, path).await.status, 200, "{path}");
    }
}
