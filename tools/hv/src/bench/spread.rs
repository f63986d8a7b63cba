//! Several measurements of one thing whose times vary with the host's load.

use serde_json::{Value, json};

/// The median, and between what the others were.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Spread {
    pub least: f64,
    pub median: f64,
    pub most: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        Some(Self { least, median: values[values.len() / 2], most })
    }

    /// `M (L to H)`.
    pub fn text(&self) -> String {
        format!("{:.0} ({:.0} to {:.0})", self.median, self.least, self.most)
    }

    pub fn to_json(self) -> Value {
        json!({ "least": self.least, "median": self.median, "most": self.most })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_stands_before_the_ends() {
        let spread = Spread::of([3.0, 1.0, 9.0, 2.0, 4.0]);
        assert_eq!(spread.map(|spread| spread.text()).as_deref(), Some("3 (1 to 9)"));
        assert_eq!(Spread::of([]), None);
    }
}
