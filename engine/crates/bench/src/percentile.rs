//! Percentiles of small samples.

/// The value at `fraction` (0 to 1) of the sorted samples, by the nearest rank; None of nothing.
pub fn percentile(samples: &[f64], fraction: f64) -> Option<f64> {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * fraction.clamp(0.0, 1.0)).round() as usize).copied()
}

#[cfg(test)]
mod tests {
    use super::percentile;

    #[test]
    fn percentiles_are_samples() {
        let samples = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(
            [0.0, 0.5, 0.95, 1.0].map(|fraction| percentile(&samples, fraction)),
            [1.0, 3.0, 5.0, 5.0].map(Some)
        );
        assert_eq!(percentile(&[], 0.5), None);
    }
}
