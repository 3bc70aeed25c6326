//! The pages of Google's lists: `pageSize`, `pageToken` and `nextPageToken`.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::google_errors::GoogleError;

const MOST_PER_PAGE: usize = 1000;
const PER_PAGE: usize = 100;

/// The page that a request wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page {
    size: usize,
    start: usize,
}

impl Default for Page {
    fn default() -> Self {
        Self { size: PER_PAGE, start: 0 }
    }
}

impl Page {
    /// Reads a parameter of the query, if it is one of a page.
    pub(crate) fn read(&mut self, name: &str, value: &str) -> Result<(), GoogleError> {
        match name {
            "pageSize" => match value.parse::<usize>() {
                Ok(0) => {}
                Ok(size) => self.size = size.min(MOST_PER_PAGE),
                Err(_) => {
                    let text = "Invalid value at 'page_size' (TYPE_INT32)";
                    return Err(GoogleError::invalid_argument(text));
                }
            },
            "pageToken" if !value.is_empty() => {
                self.start = start(value)
                    .ok_or_else(|| GoogleError::invalid_argument("The page token is not valid."))?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The items of the page, and the token of the next one.
    pub(crate) fn of<T>(self, found: Vec<T>) -> (Vec<T>, Option<String>) {
        let end = self.start.saturating_add(self.size);
        let next = (end < found.len()).then(|| URL_SAFE_NO_PAD.encode(format!("offset:{end}")));
        (found.into_iter().skip(self.start).take(self.size).collect(), next)
    }
}

fn start(token: &str) -> Option<usize> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
    text.strip_prefix("offset:")?.parse().ok()
}
