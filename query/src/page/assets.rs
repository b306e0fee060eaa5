//! What the pages load: embedded as written, under names that change with the content.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};

use super::{palette, waterfall};

/// A file that pages link to.
pub(super) struct Asset {
    /// With a hash of the content, so that browsers may keep it for ever.
    pub(super) name: String,
    content_type: &'static str,
    content: String,
}

/// The style sheet: the part that people write, and the rules that are counted out.
pub(super) static STYLE: LazyLock<Asset> = LazyLock::new(|| {
    let written = include_str!("style.css");
    let content = format!("{written}\n{}{}", palette::css(), waterfall::depth_css());
    Asset::new("style", "css", "text/css; charset=utf-8", content)
});

/// The mark in a browser's tab.
pub(super) static ICON: LazyLock<Asset> = LazyLock::new(|| {
    Asset::new(
        "icon",
        "svg",
        "image/svg+xml",
        include_str!("icon.svg").to_owned(),
    )
});

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, content: String) -> Self {
        let name = format!("{stem}-{:016x}.{extension}", fnv1a_64(content.as_bytes()));
        Self {
            name,
            content_type,
            content,
        }
    }
}

/// `GET /assets/{name}`
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = [&*STYLE, &*ICON]
        .into_iter()
        .find(|asset| asset.name == name)
    else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, asset.content.as_str()).into_response()
}

/// FNV-1a: short, and good enough to tell versions of our own files apart.
fn fnv1a_64(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_change_with_the_content() {
        assert_eq!(fnv1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert!(STYLE.name.starts_with("style-") && STYLE.name.ends_with(".css"));
    }
}
