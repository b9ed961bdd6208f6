//! What families and labels are made by.

use prometheus::Registry;
use prometheus::core::Collector;
use prometheus::proto::LabelPair;

/// Names are constants of the program: a bad or doubled one is caught by the
/// test of the table and can't depend on input.
#[allow(clippy::expect_used)]
pub(super) fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<C>,
) -> C {
    let metric = metric.expect("metric names and labels are valid");
    registry.register(Box::new(metric.clone())).expect("metric names are distinct");
    metric
}

pub(super) fn pair(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}
