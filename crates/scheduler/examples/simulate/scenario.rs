//! The simulated scenarios: batch durations, arrivals, and numbers of
//! instances.

use std::fmt;

/// How long requests of a text model are, both ends included.
pub(crate) const LENGTHS: (u32, u32) = (8, 128);
/// Lengths are rounded up to a multiple of this.
pub(crate) const MULTIPLE_OF: u32 = 8;
/// Half of the way between the ends of `LENGTHS`, rounded up.
const USUAL_LENGTH: u32 = 72;

/// How long a batch takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Cost {
    /// Milliseconds for a batch, and for each row.
    Line(f64, f64),
    /// Milliseconds at these sizes; on the line between two of them.
    Points(&'static [(u32, f64)]),
    /// Milliseconds for a batch, and for each row times its padded length.
    Elements(f64, f64),
}

/// A model as the scheduler sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Curve {
    pub(crate) name: &'static str,
    pub(crate) max_batch: u32,
    pub(crate) cost: Cost,
    /// The device computes by itself while the next batch is collected.
    pub(crate) overlapped: bool,
    /// The latency target, in milliseconds, of scenarios that have one.
    target: f64,
}

const LIGHT: Curve =
    Curve { name: "light", max_batch: 64, cost: Cost::Line(0.3, 0.05), overlapped: false, target: 10.0 };
const STEEP: Curve =
    Curve { name: "steep", max_batch: 32, cost: Cost::Line(4.0, 1.0), overlapped: false, target: 80.0 };
const HEAVY: Curve =
    Curve { name: "heavy", max_batch: 16, cost: Cost::Line(0.0, 20.0), overlapped: false, target: 400.0 };
const CONVOLUTIONAL: Curve = Curve {
    name: "convolutional",
    max_batch: 32,
    // A ResNet-18 on one thread, as in the tests of `sizing`.
    cost: Cost::Points(&[(1, 37.0), (2, 65.0), (4, 121.0), (8, 237.0), (16, 530.0), (32, 1118.0)]),
    overlapped: false,
    target: 800.0,
};
const DEVICE: Curve =
    Curve { name: "device", max_batch: 64, cost: Cost::Line(5.0, 0.1), overlapped: true, target: 30.0 };
const TEXT: Curve =
    Curve { name: "text", max_batch: 32, cost: Cost::Elements(3.0, 0.22), overlapped: false, target: 0.0 };
const TEXT_DEVICE: Curve =
    Curve { name: "text on a device", cost: Cost::Elements(5.0, 0.005), overlapped: true, ..TEXT };

impl Curve {
    /// Milliseconds of a batch without noise; its rows are padded to `length`.
    pub(crate) fn millis(&self, rows: u32, length: u32) -> f64 {
        let rows_f = f64::from(rows);
        match self.cost {
            Cost::Line(fixed, row) => fixed + row * rows_f,
            Cost::Elements(fixed, element) => fixed + element * rows_f * f64::from(length),
            Cost::Points(points) => {
                let mut below = (0, 0.0);
                for (size, took) in points {
                    if *size >= rows {
                        let share = f64::from(rows - below.0) / f64::from(size - below.0);
                        return below.1 + (took - below.1) * share;
                    }
                    below = (*size, *took);
                }
                below.1 * rows_f / f64::from(below.0)
            }
        }
    }

    /// The most rows a second on one instance.
    fn capacity(&self) -> f64 {
        let rate = |rows: u32| f64::from(rows) * 1e3 / self.millis(rows, USUAL_LENGTH);
        (1..=self.max_batch).map(rate).fold(0.0, f64::max)
    }

    pub(crate) fn has_lengths(&self) -> bool {
        matches!(self.cost, Cost::Elements(..))
    }
}

/// How requests arrive.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Load {
    /// This many clients, each of which sends again once it is answered.
    Closed(u32),
    /// This share of the capacity of all instances, independent of their
    /// answers.
    Open(f64),
}

/// The special feature of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Usual,
    /// There is a latency target.
    Target,
    /// Lengths differ.
    Lengths,
    /// The load begins before the larger sizes have run.
    Cold,
    /// Batches of 8 and more take three times as long at first.
    Disturbed,
    /// A batch takes longer next to another instance's, as on processors that
    /// share caches and memory; sizes were timed alone.
    Contended,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] =
        [Self::Usual, Self::Target, Self::Lengths, Self::Cold, Self::Disturbed, Self::Contended];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::Target => "target",
            Self::Lengths => "lengths",
            Self::Cold => "cold",
            Self::Disturbed => "disturbed",
            Self::Contended => "contended",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scenario {
    pub(crate) kind: Kind,
    pub(crate) curve: Curve,
    pub(crate) instances: usize,
    pub(crate) load: Load,
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} instances, ", self.curve.name, self.instances)?;
        match self.load {
            Load::Closed(clients) => write!(f, "{clients} clients")?,
            Load::Open(share) => write!(f, "open loop at {:.0} %", share * 100.0)?,
        }
        match self.kind {
            Kind::Usual | Kind::Lengths => Ok(()),
            Kind::Target => write!(f, ", target {} ms", self.curve.target),
            Kind::Cold => write!(f, ", just started"),
            Kind::Disturbed => write!(f, ", disturbed before"),
            Kind::Contended => write!(f, ", contended"),
        }
    }
}

impl Scenario {
    pub(crate) fn target(&self) -> Option<f64> {
        (self.kind == Kind::Target).then_some(self.curve.target)
    }

    /// Requests a second of an open loop.
    pub(crate) fn offered(&self) -> Option<f64> {
        match self.load {
            Load::Closed(_) => None,
            Load::Open(share) => Some(share * self.curve.capacity() * self.instances as f64),
        }
    }

    /// How many requests are answered, and how many of these aren't counted.
    pub(crate) fn requests(&self) -> (usize, usize) {
        match self.kind {
            Kind::Usual | Kind::Target | Kind::Lengths | Kind::Contended => (4000, 1000),
            Kind::Cold => (800, 0),
            Kind::Disturbed => (8000, 5000),
        }
    }
}

/// Scenarios of each curve, count of instances and load.
type Group<'a> = (Kind, &'a [Curve], &'a [usize], &'a [Load]);

/// All rows.
pub(crate) fn all() -> Vec<Scenario> {
    use Load::{Closed, Open};
    let loads = [Closed(1), Closed(4), Closed(8), Closed(32), Closed(64), Open(0.5), Open(0.85)];
    let groups: [Group<'_>; 7] = [
        (Kind::Usual, &[LIGHT, STEEP, HEAVY, CONVOLUTIONAL], &[2, 8], &loads),
        (Kind::Usual, &[DEVICE], &[1, 2, 8], &loads),
        (Kind::Target, &[LIGHT, STEEP, HEAVY, CONVOLUTIONAL, DEVICE], &[2, 8], &loads[1..]),
        (Kind::Lengths, &[TEXT, TEXT_DEVICE], &[1, 2, 8], &loads[2..]),
        (Kind::Cold, &[STEEP, CONVOLUTIONAL], &[2, 8], &[Closed(8), Closed(32), Closed(64), Open(0.5)]),
        (Kind::Disturbed, &[STEEP, HEAVY], &[2, 8], &[Closed(32), Closed(64), Open(0.85)]),
        (
            Kind::Contended,
            &[STEEP, HEAVY, CONVOLUTIONAL],
            &[2, 8],
            &[Closed(4), Closed(8), Closed(32), Closed(64), Open(0.5)],
        ),
    ];
    let mut all = Vec::new();
    for (kind, curves, counts, loads) in groups {
        for curve in curves {
            for instances in counts {
                all.extend(loads.iter().map(|load| Scenario {
                    kind,
                    curve: *curve,
                    instances: *instances,
                    load: *load,
                }));
            }
        }
    }
    all
}
