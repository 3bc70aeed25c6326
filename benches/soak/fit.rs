//! A straight line through samples.

/// A slope, and its standard error.
#[derive(Clone, Copy, Debug)]
pub struct Slope {
    pub slope: f64,
    pub error: f64,
}

/// Neighbouring samples are alike, so the line goes through the means of this many parts of the
/// time, whose errors are nearly independent.
const PARTS: usize = 24;

/// Fits a line by least squares to pairs of a time, 0 to 1, and a value. The first part of the
/// time, up to `from`, is left out. Returns `None` if there are too few samples.
pub fn fit(samples: &[(f64, f64)], from: f64) -> Option<Slope> {
    let mut parts = vec![(0.0, 0.0, 0.0); PARTS];
    for (time, value) in samples.iter().filter(|(time, _)| *time >= from) {
        let part = (((time - from) / (1.0 - from) * PARTS as f64) as usize).min(PARTS - 1);
        let (times, values, number) = &mut parts[part];
        *times += time;
        *values += value;
        *number += 1.0;
    }
    let points: Vec<(f64, f64)> = parts
        .iter()
        .filter(|(_, _, number)| *number > 0.0)
        .map(|(times, values, number)| (times / number, values / number))
        .collect();
    let number = points.len() as f64;
    if points.len() < 4 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / number;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let square: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let product: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    let slope = product / square;
    let rest: f64 = points.iter().map(|point| (point.1 - y - slope * (point.0 - x)).powi(2)).sum();
    Some(Slope { slope, error: (rest / (number - 2.0) / square).sqrt() })
}
