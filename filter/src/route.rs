//! The route of a request: a name of low cardinality for all requests of its kind.

/// A path with places for values, such as `/users/{id}` or `/static/*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

/// Whether the name of Envoy's route is the route of the span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteName {
    /// If it begins with a slash: then whoever wrote the proxy's configuration meant a template.
    Auto,
    /// Whatever it is.
    Always,
    /// Not at all.
    #[default]
    Never,
}

impl RouteName {
    /// The route that this name is.
    pub(crate) fn route(self, name: &[u8]) -> Option<&[u8]> {
        match self {
            RouteName::Auto => name.starts_with(b"/").then_some(name),
            RouteName::Always => Some(name),
            RouteName::Never => None,
        }
    }
}

impl Template {
    /// The template of this text; `None` if it does not begin with a slash.
    pub fn new(text: &str) -> Option<Self> {
        text.starts_with('/').then(|| Self(text.to_owned()))
    }

    /// The template's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a path is of this template: each `{name}` stands for one segment that is not empty,
    /// and a star as the last segment for all that follow.
    pub(crate) fn matches(&self, path: &str) -> bool {
        let mut segments = path.split('/');
        let mut wanted = self.0.split('/').peekable();
        while let Some(want) = wanted.next() {
            if want == "*" && wanted.peek().is_none() {
                return segments.next().is_some();
            }
            let Some(segment) = segments.next() else {
                return false;
            };
            let is_place = want.starts_with('{') && want.ends_with('}');
            if !(want == segment || is_place && !segment.is_empty()) {
                return false;
            }
        }
        segments.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stand_for_one_segment_and_a_last_star_for_the_rest() {
        for (template, path, matches) in [
            ("/users/{id}", "/users/7", true),
            ("/users/{id}", "/users/", false),
            ("/users/{id}", "/users/7/cart", false),
            ("/users/{id}/cart", "/users/7/cart", true),
            ("/static/*", "/static/a/b.css", true),
            ("/static/*", "/static/", true),
            ("/static/*", "/static", false),
            ("/", "/", true),
        ] {
            assert_eq!(
                Template::new(template).unwrap().matches(path),
                matches,
                "{template} {path}"
            );
        }
    }

    #[test]
    fn a_route_name_counts_by_itself_only_if_it_is_a_path() {
        assert_eq!(RouteName::Auto.route(b"default"), None);
        assert_eq!(
            RouteName::Auto.route(b"/users/{id}"),
            Some(&b"/users/{id}"[..])
        );
        assert_eq!(RouteName::Always.route(b"default"), Some(&b"default"[..]));
        assert_eq!(RouteName::Never.route(b"/users/{id}"), None);
    }
}
