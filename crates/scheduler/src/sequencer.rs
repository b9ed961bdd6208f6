//! `preserve_ordering`: answers leave in the order in which their requests
//! came, although batches end in any order.

use std::collections::BTreeMap;

/// Holds answers back until all before them have left.
///
/// Every number from [`ResponseSequencer::enter`] must be passed once to
/// [`ResponseSequencer::leave`]: with an answer in its turn, or without one if
/// the request is answered out of turn (refused, late, cancelled) and must not
/// delay others.
#[derive(Debug)]
pub struct ResponseSequencer<A> {
    /// The next number.
    entered: u64,
    /// The lowest number that has not left.
    turn: u64,
    /// The answers that came before their turn.
    held: BTreeMap<u64, Option<A>>,
}

impl<A> Default for ResponseSequencer<A> {
    fn default() -> Self {
        Self { entered: 0, turn: 0, held: BTreeMap::new() }
    }
}

impl<A> ResponseSequencer<A> {
    /// The number of a request that arrives now.
    pub fn enter(&mut self) -> u64 {
        let number = self.entered;
        self.entered += 1;
        number
    }

    /// Takes the answer to number `number`, and returns the answers that may
    /// leave now, in order.
    pub fn leave(&mut self, number: u64, answer: Option<A>) -> Vec<A> {
        self.held.insert(number, answer);
        let mut leaving = Vec::new();
        while let Some(answer) = self.held.remove(&self.turn) {
            leaving.extend(answer);
            self.turn += 1;
        }
        leaving
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_answer_waits_for_those_before_it_and_for_none_that_gave_up() {
        let mut sequencer = ResponseSequencer::default();
        let numbers: Vec<u64> = (0..5).map(|_| sequencer.enter()).collect();
        assert_eq!(sequencer.leave(numbers[2], Some("c")), [""; 0]);
        assert_eq!(sequencer.leave(numbers[1], None), [""; 0]);
        assert_eq!(sequencer.leave(numbers[0], Some("a")), ["a", "c"], "b gave its turn up");
        assert_eq!(sequencer.leave(numbers[4], Some("e")), [""; 0]);
        let late = sequencer.enter();
        assert_eq!(sequencer.leave(late, Some("f")), [""; 0]);
        assert_eq!(sequencer.leave(numbers[3], None), ["e", "f"]);
    }

    proptest! {
        #[test]
        fn whatever_the_order_all_leave_in_that_of_their_numbers(
            keys in prop::collection::vec((any::<u32>(), any::<bool>()), 0..50),
        ) {
            let mut sequencer = ResponseSequencer::default();
            let mut coming: Vec<(u32, u64, bool)> =
                keys.iter().map(|(key, answered)| (*key, sequencer.enter(), *answered)).collect();
            coming.sort_unstable();
            let mut left = Vec::new();
            for (_, number, answered) in coming {
                left.extend(sequencer.leave(number, answered.then_some(number)));
            }
            let answered = (0..).zip(&keys).filter(|(_, (_, answered))| *answered).map(|(number, _)| number);
            prop_assert_eq!(left, answered.collect::<Vec<u64>>());
        }
    }
}
