//! Which exits are listed: a line of words, each of which has to hold.

use recorder::{Exit, ExitKind};

use crate::index::KindSet;

/// Longest line.
const MAX_TEXT: usize = 200;

/// What an exit has to be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    /// As the person wrote it.
    text: String,
    /// Of one of these kinds; none: of any.
    kinds: KindSet,
    ports: Vec<u64>,
    msrs: Vec<u64>,
    vectors: Vec<u64>,
    words: Vec<String>,
}

/// A line that is no filter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// A number is missing.
    #[error("`{0}` needs a number: port=0x3f8")]
    NoNumber(String),
    /// It goes on and on.
    #[error("that is too long for a filter")]
    Long,
}

/// A number as people write them.
#[must_use]
pub fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

impl Filter {
    /// Kinds by name (or the first part of it, as `port`), `port=N`, `msr=N`, `vector=N`, and words of what the exit says.
    /// Several kinds, ports, MSRs or vectors are alternatives; the rest has to hold together. `None`: an empty line.
    ///
    /// # Errors
    /// What stands after `=` is no number.
    pub fn parse(text: &str) -> Result<Option<Self>, FilterError> {
        if text.len() > MAX_TEXT {
            return Err(FilterError::Long);
        }
        let mut filter = Self { text: text.trim().to_owned(), ..Self::default() };
        for word in text.split_whitespace() {
            if let Some((name, value)) = word.split_once('=') {
                let list = match name {
                    "port" => &mut filter.ports,
                    "msr" => &mut filter.msrs,
                    "vector" => &mut filter.vectors,
                    _ => {
                        filter.words.push(word.to_lowercase());
                        continue;
                    }
                };
                list.push(number(value).ok_or_else(|| FilterError::NoNumber(word.to_owned()))?);
                continue;
            }
            let named = |kind: &ExitKind| {
                kind.name() == word || kind.name().split_once('-').is_some_and(|(first, _)| first == word)
            };
            let mut kinds = ExitKind::ALL.into_iter().filter(named).peekable();
            if kinds.peek().is_none() {
                filter.words.push(word.to_lowercase());
            }
            filter.kinds = kinds.fold(filter.kinds, KindSet::with);
        }
        Ok((!filter.text.is_empty()).then_some(filter))
    }

    /// Of one kind alone.
    #[must_use]
    pub fn of_kind(kind: ExitKind) -> Self {
        Self { text: kind.name().to_owned(), kinds: KindSet::NONE.with(kind), ..Self::default() }
    }

    /// As the person wrote it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The kinds, if nothing else matters.
    #[must_use]
    pub fn only_kinds(&self) -> Option<KindSet> {
        let Self { text: _, kinds, ports, msrs, vectors, words } = self;
        let plain = ports.is_empty() && msrs.is_empty() && vectors.is_empty() && words.is_empty();
        plain.then_some(*kinds)
    }

    /// Whether an exit may be of that kind.
    #[must_use]
    pub fn may_be(&self, kind: ExitKind) -> bool {
        self.kinds.is_empty() || self.kinds.has(kind)
    }

    /// Whether an exit is listed.
    #[must_use]
    pub fn holds(&self, exit: &Exit) -> bool {
        if !self.may_be(exit.kind()) {
            return false;
        }
        let (ports, msrs, vectors) = (&self.ports, &self.msrs, &self.vectors);
        let numbered = ports.is_empty() && msrs.is_empty() && vectors.is_empty()
            || match *exit {
                Exit::PortRead { port, .. } | Exit::PortWrite { port, .. } => {
                    ports.contains(&u64::from(port))
                }
                Exit::MsrRead { index, .. } | Exit::MsrWrite { index, .. } => {
                    msrs.contains(&u64::from(index))
                }
                Exit::Interrupt { vector }
                | Exit::SoftwareInterrupt { vector }
                | Exit::Exception { vector, .. } => vectors.contains(&u64::from(vector)),
                _ => false,
            };
        numbered && (self.words.is_empty() || self.says(exit))
    }

    fn says(&self, exit: &Exit) -> bool {
        let text = exit.to_string();
        self.words.iter().all(|word| text.contains(word.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).unwrap().unwrap()
    }

    const OUT: Exit = Exit::PortWrite { port: 0x3f8, size: 1, value: 0x41 };
    const IN: Exit = Exit::PortRead { port: 0x3fd, size: 1, value: 0x60 };
    const TIMER: Exit = Exit::Interrupt { vector: 0x20 };
    const EFER: Exit = Exit::MsrWrite { index: 0xc000_0080, value: 0x500 };

    #[test]
    fn kinds_are_alternatives_and_may_be_named_by_their_first_part() {
        let both = filter("port");
        assert!(both.holds(&OUT) && both.holds(&IN) && !both.holds(&TIMER));
        assert_eq!(both.only_kinds(), Some(KindSet::NONE.with(ExitKind::PortRead).with(ExitKind::PortWrite)));
        let mixed = filter("port-write interrupt");
        assert!(mixed.holds(&OUT) && !mixed.holds(&IN) && mixed.holds(&TIMER));
    }

    #[test]
    fn ports_msrs_and_vectors_are_numbers() {
        assert!(filter("port=0x3f8").holds(&OUT) && !filter("port=0x3f8").holds(&IN));
        assert!(filter("vector=32").holds(&TIMER) && !filter("vector=33").holds(&TIMER));
        assert!(filter("msr=0xc0000080 port=0x3f8").holds(&EFER));
        assert_eq!(Filter::parse("port=abc"), Err(FilterError::NoNumber("port=abc".to_owned())));
        assert_eq!(filter("port=1").only_kinds(), None);
    }

    #[test]
    fn other_words_are_looked_for_in_what_the_exit_says() {
        assert!(filter("0x41").holds(&OUT) && !filter("0x41").holds(&IN));
        assert!(filter("port-write value 0x41").holds(&OUT));
        assert!(!filter("port-read 0x41").holds(&OUT));
    }

    #[test]
    fn an_empty_line_is_no_filter() {
        assert_eq!(Filter::parse("  "), Ok(None));
        assert_eq!(Filter::parse(&"x".repeat(300)), Err(FilterError::Long));
    }
}
