//! The plots: bars with the median, the spread and the value. Grey text and no background suit a light page
//! and a dark one.

use std::{error::Error, path::Path};

use plotters::{
    element::{PathElement, Rectangle, Text},
    prelude::{DrawingArea, IntoDrawingArea, RGBColor, SVGBackend},
    style::{
        Color, IntoFont, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use crate::{
    measures::Row,
    statistics::{Spread, three_digits},
};

const WIDTH: u32 = 820;
const LABELS: i32 = 250;
const VALUES: i32 = 70;
const BAR: i32 = 16;
const GAP: i32 = 8;
const TITLE: i32 = 34;

const TEXT: RGBColor = RGBColor(128, 128, 128);
const OTHERS: RGBColor = RGBColor(122, 146, 176);
const SIDECAR: RGBColor = RGBColor(214, 112, 48);

/// A bar: its row, whether it is the sidecar's, and its value.
pub struct Bar {
    pub name: String,
    pub ours: bool,
    pub value: Spread,
}

/// The bars of all rows that have a value.
pub fn bars(rows: &[Row], values: impl Fn(&Row) -> Vec<f64>) -> Vec<Bar> {
    let bar = |row: &Row| {
        let value = Spread::of(values(row).into_iter())?;
        let name = row.name().replace("**", "");
        Some(Bar { ours: name.starts_with("sidecar"), name, value })
    };
    rows.iter().filter_map(bar).collect()
}

/// Draws some panels of bars, one below another, each with its own scale.
pub fn draw(path: &Path, panels: &[(&str, Vec<Bar>)]) -> Result<(), Box<dyn Error>> {
    let height = |bars: &[Bar]| TITLE + bars.len() as i32 * (BAR + GAP) + GAP;
    let whole: i32 = panels.iter().map(|(_, bars)| height(bars)).sum();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, whole as u32)).into_drawing_area();
        let mut top = 0;
        for (title, bars) in panels {
            panel(&area, title, bars, top)?;
            top += height(bars);
        }
        area.present()?;
    }
    std::fs::write(path, svg)?;
    Ok(())
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    title: &str,
    bars: &[Bar],
    top: i32,
) -> Result<(), Box<dyn Error>> {
    // plotters takes the size as that of a whole line, and writes four fifths of it.
    let style = |size: i32, position: Pos| -> TextStyle<'static> {
        ("sans-serif", size).into_font().color(&TEXT).pos(position)
    };
    area.draw(&Text::new(title, (8, top + 8), style(19, Pos::new(HPos::Left, VPos::Top))))?;
    // A bar that is much longer than the others is drawn too short, and has its value beside it.
    let mut medians: Vec<f64> = bars.iter().map(|bar| bar.value.max).collect();
    medians.sort_unstable_by(f64::total_cmp);
    let Some(mut longest) = medians.last().copied() else { return Ok(()) };
    while medians.len() > 1 && longest > 3.0 * medians[medians.len() - 2] {
        medians.pop();
        longest = medians[medians.len() - 1];
    }
    let room = f64::from(WIDTH as i32 - LABELS - VALUES - 40);
    let x = |value: f64| LABELS + (value / longest * room).min(room + 30.0) as i32;
    for (number, bar) in bars.iter().enumerate() {
        let (y, value) = (top + TITLE + number as i32 * (BAR + GAP), &bar.value);
        let (middle, end) = (y + BAR / 2, x(value.median));
        let right = style(16, Pos::new(HPos::Right, VPos::Center));
        area.draw(&Text::new(bar.name.clone(), (LABELS - 8, middle), right))?;
        let color = if bar.ours { SIDECAR } else { OTHERS };
        area.draw(&Rectangle::new([(LABELS, y), (end, y + BAR)], color.filled()))?;
        let is_cut = value.median > longest;
        if !is_cut {
            let line = ShapeStyle { color: TEXT.to_rgba(), filled: false, stroke_width: 2 };
            let spread = vec![(x(value.min), middle), (x(value.max), middle)];
            area.draw(&PathElement::new(spread, line))?;
        }
        let left = style(16, Pos::new(HPos::Left, VPos::Center));
        let cut = if is_cut { "… " } else { "" };
        let label = format!("{cut}{}", three_digits(value.median));
        area.draw(&Text::new(label, (x(value.max).max(end) + 6, middle), left))?;
    }
    Ok(())
}
