//! The colours of services.
//!
//! A trace's services take colours in the order of their first span, so that everyone who opens the
//! trace sees the same ones; hashing names would make six services collide more often than not.
//! None is red, which is for errors only.

use std::fmt::Write as _;

/// For a light and for a dark page. Neighbours differ most, since most traces have few services.
const COLOURS: [(&str, &str); 20] = [
    ("#2f6fde", "#6ea8fe"),
    ("#b86400", "#f0a04b"),
    ("#0b857d", "#3cc7bb"),
    ("#8250df", "#b392f0"),
    ("#588000", "#a3cf4f"),
    ("#bd3399", "#f08cd2"),
    ("#0880b0", "#56c7f2"),
    ("#8f6238", "#cba27a"),
    ("#1c8040", "#56cf7f"),
    ("#4b53c9", "#8f96f5"),
    ("#8c6d00", "#dcc04a"),
    ("#8c3f8f", "#d08fd6"),
    ("#007a85", "#4dd0e1"),
    ("#5f6b7a", "#a5b1c2"),
    ("#24835c", "#74e0b3"),
    ("#6a5acd", "#a99cf0"),
    ("#a8552a", "#e39a73"),
    ("#3f7391", "#86b6d0"),
    ("#a05a84", "#dba1c1"),
    ("#6b7238", "#b5bd7c"),
];

/// The class that gives the colour of the `index`th service; colours repeat after the last.
pub(super) fn class(index: usize) -> String {
    format!("c{}", index % COLOURS.len())
}

/// The rules of the classes, to go with the style sheet: inline styles are forbidden to the pages.
pub(super) fn css() -> String {
    let mut css = String::new();
    for (index, (light, dark)) in COLOURS.iter().enumerate() {
        let _ = writeln!(
            css,
            ".c{index} {{ --service: light-dark({light}, {dark}); }}"
        );
    }
    css
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The relative luminance of WCAG 2.
    fn luminance(colour: &str) -> f64 {
        let channel = |at: usize| {
            let value = f64::from(u8::from_str_radix(&colour[at..at + 2], 16).unwrap()) / 255.0;
            if value <= 0.04045 {
                value / 12.92
            } else {
                ((value + 0.055) / 1.055).powf(2.4)
            }
        };
        0.2126 * channel(1) + 0.7152 * channel(3) + 0.0722 * channel(5)
    }

    fn contrast(a: &str, b: &str) -> f64 {
        let [a, b] = [luminance(a), luminance(b)];
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// The light and the dark value of a colour that the style sheet names.
    fn token(name: &str) -> (&str, &str) {
        let css = include_str!("style.css");
        let rule = css.split_once(&format!("--{name}: light-dark(")).unwrap().1;
        rule.split_once(')').unwrap().0.split_once(", ").unwrap()
    }

    #[test]
    fn colours_stand_out_from_both_pages() {
        let page = token("page");
        for (light, dark) in COLOURS {
            assert!(contrast(light, page.0) >= 3.0, "{light}");
            assert!(contrast(dark, page.1) >= 3.0, "{dark}");
        }
    }

    #[test]
    fn text_can_be_read_on_every_ground() {
        for ground in ["page", "raised", "selected"] {
            let ground_colours = token(ground);
            for text in ["text", "muted", "accent", "error"] {
                let text_colours = token(text);
                let ratios = [
                    contrast(text_colours.0, ground_colours.0),
                    contrast(text_colours.1, ground_colours.1),
                ];
                assert!(
                    ratios.iter().all(|&ratio| ratio >= 4.5),
                    "{text} on {ground}: {ratios:?}"
                );
            }
        }
    }
}
