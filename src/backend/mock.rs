//! A backend whose time and faults are in the test's hand.
