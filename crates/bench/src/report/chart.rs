//! Plots as SVG text, to stand in a page.

use std::fmt::Write as _;

/// A plot of lines or of bars.
#[derive(Debug, Clone, Default)]
pub(super) struct Chart {
    pub(super) title: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) lines: Vec<Line>,
    pub(super) bars: Vec<Bar>,
    /// Vertical lines, with their labels.
    pub(super) marks: Vec<(f64, String)>,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) logarithmic: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Line {
    pub(super) name: &'static str,
    /// `None` is a gap.
    pub(super) points: Vec<(f64, Option<f64>)>,
    /// For what was asked for, as opposed to what was measured.
    pub(super) dashed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Bar {
    pub(super) from: f64,
    pub(super) to: f64,
    pub(super) height: f64,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 44.0;
/// Points are drawn one by one up to this many; beyond, the line is enough.
const DOTS: usize = 60;
/// About how many marks an axis has.
const TICKS: f64 = 6.0;

impl Chart {
    pub(super) fn is_empty(&self) -> bool {
        self.bars.is_empty() && self.lines.iter().all(|line| line.values().next().is_none())
    }

    /// The figure, its legend and caption included.
    pub(super) fn svg(&self) -> String {
        let xs = self.lines.iter().flat_map(|line| line.points.iter().map(|(x, _)| *x));
        let xs = xs.chain(self.bars.iter().flat_map(|bar| [bar.from, bar.to]));
        let ys = self.lines.iter().flat_map(Line::values).chain(self.bars.iter().map(|bar| bar.height));
        let x = Scale::over(xs, &self.x, (LEFT, WIDTH - RIGHT), self.bars.is_empty() && !self.x.logarithmic);
        let y = Scale::over(ys, &self.y, (HEIGHT - BOTTOM, TOP), true);

        let title = escape(&self.title);
        let mut svg = format!(
            "<figure><figcaption>{title}</figcaption>\n<svg role=\"img\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             aria-label=\"{title}; {} over {}\">\n",
            escape(self.y.label),
            escape(self.x.label)
        );
        axes(&mut svg, self, &x, &y);
        for bar in &self.bars {
            let (left, right, top) = (x.at(bar.from), x.at(bar.to), y.at(bar.height));
            let (width, height) = ((right - left).max(1.0), HEIGHT - BOTTOM - top);
            let told = format!("{} to {} {}: {}", short(bar.from), short(bar.to), self.x.label, bar.height);
            let _ = writeln!(
                svg,
                "<rect class=\"bar\" x=\"{left:.1}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{height:.1}\"><title>{}</title></rect>",
                escape(&told)
            );
        }
        for (number, (value, name)) in self.marks.iter().enumerate() {
            mark(&mut svg, number, x.at(*value), name);
        }
        for (number, line) in self.lines.iter().enumerate() {
            draw(&mut svg, number, line, &x, &y);
        }
        svg.push_str("</svg>\n");
        legend(&mut svg, &self.lines);
        svg.push_str("</figure>\n");
        svg
    }
}

impl Line {
    fn values(&self) -> impl Iterator<Item = f64> {
        self.points.iter().filter_map(|(_, y)| *y)
    }
}

fn axes(svg: &mut String, chart: &Chart, x: &Scale, y: &Scale) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in y.ticks() {
        let at = y.at(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text x=\"{:.1}\" y=\"{at:.1}\" dy=\"4\" text-anchor=\"end\">{}</text>",
            LEFT - 6.0,
            short(tick)
        );
    }
    for tick in x.ticks() {
        let at = x.at(tick);
        let _ = writeln!(
            svg,
            "<line class=\"tick\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/><text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            bottom + 4.0,
            bottom + 17.0,
            short(tick)
        );
    }
    let middle = f64::midpoint(TOP, bottom);
    let _ = writeln!(
        svg,
        "<line class=\"axis\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{bottom}\" y2=\"{bottom}\"/>\
         <text class=\"label\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"label\" transform=\"translate(13 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LEFT, right),
        HEIGHT - 6.0,
        escape(chart.x.label),
        escape(chart.y.label)
    );
}

/// One below the other, so that marks close to each other can be read.
fn mark(svg: &mut String, number: usize, at: f64, name: &str) {
    let below = TOP + 10.0 + 13.0 * number as f64;
    let (shift, anchor) = if at > WIDTH - 60.0 { (-4.0, "end") } else { (4.0, "start") };
    let _ = writeln!(
        svg,
        "<line class=\"mark\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/><text class=\"mark\" x=\"{:.1}\" y=\"{below:.1}\" text-anchor=\"{anchor}\">{}</text>",
        HEIGHT - BOTTOM,
        at + shift,
        escape(name)
    );
}

fn draw(svg: &mut String, number: usize, line: &Line, x: &Scale, y: &Scale) {
    let mut path = String::new();
    let mut pen_up = true;
    for (px, py) in &line.points {
        let Some(py) = py else {
            pen_up = true;
            continue;
        };
        let _ = write!(path, "{}{:.1} {:.1}", if pen_up { "M" } else { "L" }, x.at(*px), y.at(*py));
        pen_up = false;
    }
    let dashed = if line.dashed { " dashed" } else { "" };
    let _ = writeln!(svg, "<path class=\"line s{number}{dashed}\" d=\"{path}\"/>");
    if line.points.len() > DOTS || line.dashed {
        return;
    }
    for (px, py) in &line.points {
        let Some(py) = py else { continue };
        let _ = writeln!(
            svg,
            "<circle class=\"dot s{number}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{}: {} at {}</title></circle>",
            x.at(*px),
            y.at(*py),
            escape(line.name),
            short(*py),
            short(*px)
        );
    }
}

fn legend(svg: &mut String, lines: &[Line]) {
    if lines.is_empty() {
        return;
    }
    svg.push_str("<ul class=\"legend\">");
    for (number, line) in lines.iter().enumerate() {
        let dashed = if line.dashed { " dashed" } else { "" };
        let _ = write!(svg, "<li class=\"s{number}{dashed}\">{}</li>", escape(line.name));
    }
    svg.push_str("</ul>\n");
}

/// From values to coordinates.
struct Scale {
    first: f64,
    last: f64,
    logarithmic: bool,
    places: (f64, f64),
}

impl Scale {
    fn over(values: impl Iterator<Item = f64>, axis: &Axis, places: (f64, f64), from_zero: bool) -> Self {
        let values = values.filter(|value| value.is_finite() && (!axis.logarithmic || *value > 0.0));
        let (mut first, mut last) =
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), v| (least.min(v), most.max(v)));
        if first > last {
            (first, last) = (1.0, 10.0);
        }
        if axis.logarithmic {
            // Leaves room on either side, which a single value needs.
            (first, last) = (first / 1.15, last * 1.15);
        } else {
            if from_zero {
                first = first.min(0.0);
            }
            last = if last > first { last + (last - first) * 0.04 } else { first + 1.0 };
        }
        Self { first, last, logarithmic: axis.logarithmic, places }
    }

    fn at(&self, value: f64) -> f64 {
        let part = if self.logarithmic {
            (value.max(self.first) / self.first).ln() / (self.last / self.first).ln()
        } else {
            (value - self.first) / (self.last - self.first)
        };
        self.places.0 + part * (self.places.1 - self.places.0)
    }

    /// 1, 2 and 5 times powers of ten: as many as fit.
    fn ticks(&self) -> Vec<f64> {
        if self.logarithmic {
            return self.logarithmic_ticks();
        }
        let rough = (self.last - self.first) / TICKS;
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * unit).find(|step| *step >= rough);
        let step = step.unwrap_or(unit);
        let first = (self.first / step).ceil() as i64;
        let last = (self.last / step).floor() as i64;
        (first..=last).map(|number| number as f64 * step).collect()
    }

    fn logarithmic_ticks(&self) -> Vec<f64> {
        let decades = (self.last / self.first).log10();
        let factors: &[f64] = if decades > 4.0 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let (first, last) = (self.first.log10().floor() as i32, self.last.log10().ceil() as i32);
        let all =
            (first..=last).flat_map(|power| factors.iter().map(move |factor| factor * 10_f64.powi(power)));
        all.filter(|tick| *tick >= self.first && *tick <= self.last).collect()
    }
}

/// A number as short as its size allows.
pub(super) fn short(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 1e6 {
        return format!("{}M", short(value / 1e6));
    } else if size >= 1e4 {
        return format!("{}k", short(value / 1e3));
    } else if size >= 100.0 || size == 0.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.3}")
    };
    match text.split_once('.') {
        Some(_) => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        None => text,
    }
}

/// Escapes text for markup.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let shown: Vec<String> =
            [0.0, 0.05, 0.0123, 1.5, 12.34, 250.0, 9_999.0, 12_500.0, 2e6].map(short).into();
        assert_eq!(shown, ["0", "0.05", "0.012", "1.5", "12.3", "250", "9999", "12.5k", "2M"]);
    }

    #[test]
    fn scales_place_their_ends_and_round_their_ticks() {
        let axis = |logarithmic| Axis { label: "", logarithmic };
        let linear = Scale::over([20.0, 100.0].into_iter(), &axis(false), (0.0, 104.0), true);
        assert_eq!((linear.at(0.0), linear.at(100.0)), (0.0, 100.0));
        assert_eq!(linear.ticks(), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
        let log = Scale::over([1.0, 100.0].into_iter(), &axis(true), (0.0, 100.0), false);
        assert!((log.at(10.0) - 50.0).abs() < 1e-9);
        assert_eq!(log.ticks(), [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0]);
        for values in [vec![], vec![0.0], vec![5.0]] {
            for logarithmic in [false, true] {
                let scale = Scale::over(values.clone().into_iter(), &axis(logarithmic), (0.0, 100.0), true);
                assert!(scale.at(5.0).is_finite() && scale.ticks().len() < 20, "{values:?}");
            }
        }
    }

    #[test]
    fn a_gap_lifts_the_pen() {
        let points = vec![(0.0, Some(1.0)), (1.0, None), (2.0, Some(3.0)), (3.0, Some(2.0))];
        let line = Line { name: "a<b", points, dashed: false };
        let svg = Chart { title: "t".to_owned(), lines: vec![line], ..Chart::default() }.svg();
        assert_eq!(svg.matches("<circle").count(), 3);
        let path = svg.split("d=\"").nth(1).unwrap().split('"').next().unwrap();
        assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1));
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b") && !svg.contains("NaN"));
    }
}
