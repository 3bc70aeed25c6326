//! Numbers within their bounds. The number next to zero is chosen.

use serde_json::{Number, Value};

use super::Object;

/// The largest number of multiples that are tried until one is exact in binary.
const TRIES: u32 = 1000;

/// The value of a bound, and whether it excludes equal numbers.
#[derive(Clone, Copy)]
struct Bound {
    at: Exact,
    is_open: bool,
}

/// A number of a schema. Whole numbers stay exact, however large they are.
#[derive(Clone, Copy)]
enum Exact {
    Whole(i128),
    Float(f64),
}

impl Exact {
    fn of(number: &Number) -> Option<Self> {
        let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        whole.map(Self::Whole).or_else(|| number.as_f64().map(Self::Float))
    }

    #[expect(clippy::cast_precision_loss, reason = "the value is rounded to a float on purpose")]
    fn float(self) -> f64 {
        match self {
            Self::Whole(whole) => whole as f64,
            Self::Float(float) => float,
        }
    }
}

/// In draft 4 `exclusiveMinimum` is a boolean that modifies `minimum`; since draft 6 it is a number
/// of its own.
fn bounds(schema: &Object, plain: &str, exclusive: &str) -> Vec<Bound> {
    let exact = |keyword: &str| match schema.get(keyword)? {
        Value::Number(number) => Exact::of(number),
        _ => None,
    };
    let is_open = schema.get(exclusive) == Some(&Value::Bool(true));
    let plain = exact(plain).map(|at| Bound { at, is_open });
    plain.into_iter().chain(exact(exclusive).map(|at| Bound { at, is_open: true })).collect()
}

fn step(schema: &Object) -> Option<f64> {
    schema.get("multipleOf").and_then(Value::as_f64).filter(|step| *step > 0.0)
}

pub(super) fn fits(schema: &Object, number: &Number) -> bool {
    let Some(number) = Exact::of(number) else { return false };
    let order = |bound: &Bound| match (number, bound.at) {
        (Exact::Whole(number), Exact::Whole(bound)) => Some(number.cmp(&bound)),
        (number, bound) => number.float().partial_cmp(&bound.float()),
    };
    let is_above = |bound: Bound| {
        order(&bound).is_some_and(|order| if bound.is_open { order.is_gt() } else { order.is_ge() })
    };
    let is_below = |bound: Bound| {
        order(&bound).is_some_and(|order| if bound.is_open { order.is_lt() } else { order.is_le() })
    };
    bounds(schema, "minimum", "exclusiveMinimum").into_iter().all(is_above)
        && bounds(schema, "maximum", "exclusiveMaximum").into_iter().all(is_below)
        && step(schema).is_none_or(|step| {
            let times = number.float() / step;
            (times - times.round()).abs() <= 1e-9 * times.abs().max(1.0)
        })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a float is rounded, and saturates at the limits"
)]
pub(super) fn integer(schema: &Object, nth: usize) -> Result<Value, String> {
    // The range of integers in `serde_json`.
    let (mut low, mut high) = (i128::from(i64::MIN), i128::from(u64::MAX));
    for Bound { at, is_open } in bounds(schema, "minimum", "exclusiveMinimum") {
        low = low.max(match at {
            Exact::Whole(at) => at + i128::from(is_open),
            Exact::Float(at) if is_open => (at.floor() as i128).saturating_add(1),
            Exact::Float(at) => at.ceil() as i128,
        });
    }
    for Bound { at, is_open } in bounds(schema, "maximum", "exclusiveMaximum") {
        high = high.min(match at {
            Exact::Whole(at) => at - i128::from(is_open),
            Exact::Float(at) if is_open => (at.ceil() as i128).saturating_sub(1),
            Exact::Float(at) => at.floor() as i128,
        });
    }
    let step = match step(schema) {
        None => 1,
        Some(step) => {
            let mut multiples = (1..=TRIES).map(|times| step * f64::from(times));
            let whole = multiples.find(|multiple| multiple.fract() == 0.0);
            (whole.ok_or("no integer is a `multipleOf`")? as i128).max(1)
        }
    };
    let nth = (nth as i128).saturating_mul(step);
    let up = |from: i128| from.saturating_add(step - 1).div_euclid(step).saturating_mul(step);
    let down = |from: i128| from.div_euclid(step).saturating_mul(step);
    let (first, last) = (up(low), down(high));
    let number = if first > 0 {
        first.saturating_add(nth)
    } else if last < 0 || nth > last {
        last.min(0).saturating_sub(nth)
    } else {
        nth
    };
    let number = (first..=last).contains(&number).then_some(number).ok_or("no integer fits")?;
    // The number fits one of the two types, because of the bounds above.
    Ok(match i64::try_from(number) {
        Ok(number) => number.into(),
        Err(_) => u64::try_from(number).unwrap_or(u64::MAX).into(),
    })
}

pub(super) fn any(schema: &Object, nth: usize) -> Result<Value, String> {
    let number = |float: f64| {
        #[expect(clippy::cast_possible_truncation, reason = "the float is a small integer")]
        if float.fract() == 0.0 && float.abs() < 9e15 {
            return Some(Number::from(float as i64));
        }
        Number::from_f64(float)
    };
    let fitting = |float: f64| number(float).filter(|number| fits(schema, number));
    let least = bounds(schema, "minimum", "exclusiveMinimum").into_iter().map(|b| b.at.float());
    let most = bounds(schema, "maximum", "exclusiveMaximum").into_iter().map(|b| b.at.float());
    let (least, most) = (least.reduce(f64::max), most.reduce(f64::min));
    let (low, high) = (least.unwrap_or(f64::MIN), most.unwrap_or(f64::MAX));
    let none = || "no number fits".to_owned();
    if let Some(step) = step(schema) {
        let first = (low.max(0.0).min(high) / step).trunc();
        let away = if high < 0.0 { -step } else { step };
        let first = first * step;
        let multiples = (0..TRIES).map(|times| first + away * f64::from(times));
        // 3 × 0.1 is 0.30000000000000004, which not every validator accepts as a multiple.
        let is_exact = |float: &f64| (float / step).fract() == 0.0;
        let fit = multiples.filter(is_exact).filter_map(fitting).nth(nth);
        return fit.map(Value::Number).ok_or_else(none);
    }
    let near = 0.0_f64.min(high).max(low);
    let between = low / 2.0 + high / 2.0;
    let candidates = [
        Some(near),
        least.map(f64::ceil),
        least.map(|least| least + 1.0),
        most.map(f64::floor),
        most.map(|most| most - 1.0),
        Some(between),
    ];
    let mut candidates = candidates.into_iter().flatten();
    let first = candidates.find(|float| fitting(*float).is_some()).ok_or_else(none)?;
    #[expect(clippy::cast_precision_loss, reason = "no array has this many items")]
    let nth = nth as f64;
    let part = |end: f64| first + (end - first) * (nth / (nth + 1.0));
    let others = [first + nth, first - nth, part(high), part(low)];
    others.into_iter().find_map(fitting).map(Value::Number).ok_or_else(none)
}
