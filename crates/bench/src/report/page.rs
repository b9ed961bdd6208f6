//! The report as one page that can be read on its own: it needs no other file
//! and no script.

use std::fmt::Write as _;

use super::chart::{Axis, Bar, Chart, Line, escape};
use super::{Latency, LevelOutcome, Outcome, table};
use crate::series::Point;

const STYLE: &str = include_str!("page.css");
/// Up to this many stages, their plots are open.
const OPEN: usize = 3;

const HOW_TO_READ: &str = "\
<p>Latency is measured for good answers, from the moment a request was due until its last byte was read. In an open \
loop requests are due at a given rate, independent of the server. In a closed loop a client's request is due when its \
last one was answered, so a slow server gets fewer requests. <b>requests/s</b> are good answers a second; \
<b>goodput/s</b> are good answers within the objective a second. The objective is <b>held</b> if its percentage of all \
requests, refused and failed ones included, was in time. <b>queue</b>, <b>compute</b> and <b>batch</b> are averages of \
the server's own statistics. <b>lag</b> is how late the generator sent, and <b>own CPU</b> the part of one processor \
that it used: if one of them is large, the generator was measured and not the server.</p>\n";

pub(super) fn page(outcome: &Outcome) -> String {
    let url = || outcome.target.rsplit(' ').next().unwrap_or_default();
    let subject = outcome.settings.get("model").map_or_else(url, String::as_str);
    let title = format!("Load on {}", escape(subject));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n"
    );
    facts(&mut page, outcome);
    summary(&mut page, outcome);
    against_load(&mut page, &outcome.levels);
    stages(&mut page, &outcome.levels);
    page.push_str("<h2>How to read this</h2>\n");
    page.push_str(HOW_TO_READ);
    settings(&mut page, outcome);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn facts(page: &mut String, outcome: &Outcome) {
    let server = outcome.server_version.as_deref().unwrap_or("a server that doesn't say what it is");
    let _ = writeln!(
        page,
        "<p class=\"facts\">{} at {}, measured <time datetime=\"{began}\">{began}</time></p>",
        escape(server),
        escape(&outcome.server),
        began = outcome.environment.began
    );
    let _ =
        writeln!(page, "<p class=\"facts\">{}: {}</p>", escape(&outcome.target), escape(&outcome.content));
}

fn summary(page: &mut String, outcome: &Outcome) {
    page.push_str("<h2>Summary</h2>\n<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Summary\"><table>\n<thead><tr>");
    let columns = table::columns(&outcome.levels);
    for (title, _) in &columns {
        let _ = write!(page, "<th scope=\"col\">{}</th>", escape(title));
    }
    page.push_str("</tr></thead>\n<tbody>\n");
    for level in &outcome.levels {
        page.push_str("<tr>");
        for (number, (title, cell)) in columns.iter().enumerate() {
            let text = escape(&cell(level));
            let _ = match (number, *title, level.objective_held) {
                (0, _, _) => write!(page, "<th scope=\"row\">{text}</th>"),
                (_, "held", Some(true)) => write!(page, "<td class=\"held\">{text}</td>"),
                (_, "held", Some(false)) => write!(page, "<td class=\"failed\">{text}</td>"),
                (_, _, _) => write!(page, "<td>{text}</td>"),
            };
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</tbody>\n</table></div>\n");
    let remarks = outcome.remarks();
    if !remarks.is_empty() {
        page.push_str("<ul class=\"remarks\">\n");
        for remark in remarks {
            let _ = writeln!(page, "<li>{}</li>", escape(&remark));
        }
        page.push_str("</ul>\n");
    }
}

/// Latency and rate against the offered load, if there are several loads of one
/// kind, each run separately.
fn against_load(page: &mut String, levels: &[LevelOutcome]) {
    let closed = levels.iter().all(|level| level.concurrency.is_some());
    let open = levels.iter().all(|level| level.offered_rate.is_some());
    let apart = levels.windows(2).all(|pair| pair[0].stage != pair[1].stage);
    if levels.len() < 2 || !(closed || open) || !apart {
        return;
    }
    let mut levels: Vec<&LevelOutcome> = levels.iter().collect();
    let place = |level: &LevelOutcome| {
        level.concurrency.map_or(level.offered_rate.unwrap_or(0.0), |concurrency| concurrency as f64)
    };
    // A search does not measure the rates in order.
    levels.sort_by(|a, b| place(a).total_cmp(&place(b)));
    let x = if closed {
        Axis { label: "requests under way (concurrency)", logarithmic: true }
    } else {
        Axis { label: "requests offered a second", logarithmic: false }
    };
    let line = |name, pick: &dyn Fn(&LevelOutcome) -> Option<f64>| Line {
        name,
        points: levels.iter().map(|level| (place(level), pick(level))).collect(),
        dashed: false,
    };
    let latency =
        |name, pick: fn(&Latency) -> f64| line(name, &move |level| level.latency.as_ref().map(pick));
    let latencies = Chart {
        title: "Latency against load".to_owned(),
        x: x.clone(),
        y: Axis { label: "milliseconds", logarithmic: true },
        lines: vec![
            latency("p50", |latency| latency.p50_ms),
            latency("p99", |latency| latency.p99_ms),
            latency("p99.9", |latency| latency.p99_9_ms),
        ],
        ..Chart::default()
    };
    let mut rates = Chart {
        title: "Answers against load".to_owned(),
        x,
        y: Axis { label: "a second", logarithmic: false },
        lines: vec![line("good answers", &|level| Some(level.requests_per_second))],
        ..Chart::default()
    };
    if levels.iter().any(|level| level.goodput_per_second.is_some()) {
        rates.lines.push(line("within the objective", &|level| level.goodput_per_second));
    }
    if open {
        rates.lines.push(Line { dashed: true, ..line("offered", &|level| level.offered_rate) });
    }
    plots(page, &[latencies, rates]);
}

/// Each stage over time, and the spread of its latencies.
fn stages(page: &mut String, levels: &[LevelOutcome]) {
    page.push_str("<h2>Each load</h2>\n");
    let stages: Vec<&[LevelOutcome]> = levels.chunk_by(|a, b| a.stage == b.stage).collect();
    let open = if stages.len() <= OPEN { " open" } else { "" };
    for stage in &stages {
        let name: Vec<&str> = stage.iter().map(|level| level.load.as_str()).collect();
        let _ = writeln!(page, "<details{open}><summary>{}</summary>", escape(&name.join(", then ")));
        let mut charts = over_time(stage);
        charts.extend(stage.iter().map(spread));
        plots(page, &charts);
        page.push_str("</details>\n");
    }
}

fn over_time(stage: &[LevelOutcome]) -> Vec<Chart> {
    let points: Vec<&Point> = stage.iter().flat_map(|level| &level.intervals).collect();
    let line = |name, pick: fn(&Point) -> Option<f64>| Line {
        name,
        points: points.iter().map(|point| (point.at_seconds, pick(point))).collect(),
        dashed: false,
    };
    let time = Axis { label: "seconds", logarithmic: false };
    let latency = Chart {
        title: "Latency over time".to_owned(),
        x: time.clone(),
        y: Axis { label: "milliseconds", logarithmic: true },
        lines: vec![
            line("p50", |point| point.p50_ms),
            line("p99", |point| point.p99_ms),
            line("longest", |point| point.max_ms),
        ],
        ..Chart::default()
    };
    let mut rate = Chart {
        title: "Answers over time".to_owned(),
        x: time,
        y: Axis { label: "a second", logarithmic: false },
        lines: vec![
            line("good answers", |point| Some(point.answers_per_second)),
            line("refusals and errors", |point| {
                (point.seconds > 0.0).then(|| point.errors as f64 / point.seconds)
            }),
        ],
        ..Chart::default()
    };
    let mut offered = Vec::new();
    let mut at = 0.0;
    for level in stage {
        if let Some((from, to)) = level.offered {
            offered.extend([(at, Some(from)), (at + level.seconds, Some(to))]);
        }
        at += level.seconds;
    }
    if !offered.is_empty() {
        rate.lines.push(Line { name: "offered", points: offered, dashed: true });
    }
    vec![rate, latency]
}

fn spread(level: &LevelOutcome) -> Chart {
    let bars = level.histogram.iter();
    let bars = bars.map(|bucket| Bar { from: bucket.from_ms, to: bucket.to_ms, height: bucket.count as f64 });
    let marks = level.latency.iter().flat_map(|latency| {
        [
            (latency.p50_ms, "p50".to_owned()),
            (latency.p99_ms, "p99".to_owned()),
            (latency.p99_9_ms, "p99.9".to_owned()),
        ]
    });
    Chart {
        title: format!("How latencies are spread, {}", level.load),
        x: Axis { label: "milliseconds", logarithmic: true },
        y: Axis { label: "answers", logarithmic: false },
        bars: bars.collect(),
        marks: marks.collect(),
        ..Chart::default()
    }
}

fn plots(page: &mut String, charts: &[Chart]) {
    page.push_str("<div class=\"plots\">\n");
    for chart in charts.iter().filter(|chart| !chart.is_empty()) {
        page.push_str(&chart.svg());
    }
    page.push_str("</div>\n");
}

fn settings(page: &mut String, outcome: &Outcome) {
    let environment = &outcome.environment;
    let processors = format!("{} × {}", environment.processors, environment.processor);
    let bytes = match outcome.request_bytes_range {
        (least, most) if least == most => format!("{least}"),
        (least, most) => format!("{least} to {most}"),
    };
    let about = [
        ("generator", environment.generator.clone()),
        ("generator's processors", processors),
        ("generator's system", environment.system.clone()),
        ("server", outcome.server.clone()),
        ("server's version", outcome.server_version.clone().unwrap_or_default()),
        ("different requests", outcome.different_requests.to_string()),
        ("bytes of a request's body", bytes),
    ];
    page.push_str(
        "<h2>Settings and versions</h2>\n<div class=\"scroll\"><table class=\"settings\">\n<tbody>\n",
    );
    let settings = outcome.settings.iter().map(|(name, value)| (*name, value.clone()));
    for (name, value) in about.into_iter().chain(settings).filter(|(_, value)| !value.is_empty()) {
        let (name, value) = (escape(name), escape(&value));
        let _ = writeln!(page, "<tr><th scope=\"row\">{name}</th><td>{value}</td></tr>");
    }
    page.push_str("</tbody>\n</table></div>\n");
}

#[cfg(test)]
mod tests {
    use super::super::tests::{level, outcome};
    use super::*;

    /// Checks that elements are closed in order, as a parser would.
    fn check(page: &str) {
        const VOID: [&str; 1] = ["meta"];
        let mut open: Vec<&str> = Vec::new();
        let (body, style) = (page.find("</style>").unwrap(), page.find("<style>").unwrap());
        let markup = [&page[..style], &page[body + "</style>".len()..]].concat();
        let leaked: &'static str = Box::leak(markup.into_boxed_str());
        for tag in leaked.split('<').skip(2) {
            let (tag, _) = tag.split_once('>').unwrap_or_else(|| panic!("unfinished: {tag}"));
            let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "closed out of order");
            } else if !tag.ends_with('/') && !VOID.contains(&name) {
                open.push(name);
            }
        }
        assert_eq!(open, [""; 0]);
    }

    #[test]
    fn the_page_is_whole_and_needs_nothing_else() {
        let mut loads = vec![level(1), level(8), level(64)];
        for (stage, level) in loads.iter_mut().enumerate() {
            level.stage = stage;
        }
        let page = page(&outcome(loads));
        check(&page);
        // Two against the load, three for each: two over time, and the spread.
        assert_eq!(page.matches("<svg ").count(), 2 + 3 * 3);
        assert_eq!(page.matches("<svg role=\"img\"").count(), 11);
        for outside in ["src=", "href=", "url(", "@import", "<script"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("prefers-color-scheme: dark"));
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn words_of_a_server_are_no_markup() {
        let mut outcome = outcome(vec![level(1)]);
        outcome.server_version = Some("<b>evil & \"co\"".to_owned());
        let page = page(&outcome);
        check(&page);
        assert!(page.contains("&lt;b&gt;evil &amp; &quot;co&quot; at localhost:8000, measured <time"));
        assert!(!page.contains("Latency against load"), "one load is no curve");
    }

    #[test]
    fn a_load_without_answers_still_has_a_page() {
        let mut silent = level(1);
        (silent.latency, silent.histogram, silent.intervals) = (None, Vec::new(), Vec::new());
        check(&page(&outcome(vec![silent])));
    }
}
