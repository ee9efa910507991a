//! What physical pages are to the CPU besides memory: page tables that a walk has read, code that has been decoded. A
//! store to such a page has consequences, a store to any other has none.

/// Pages told apart: 4 GiB. Pages that share a number cost a needless consequence, nothing else.
const PAGES: usize = 1 << 20;

/// A walk has read from the page.
pub(crate) const TABLE: u8 = 1;
/// Blocks have been decoded from the page and not changed since.
pub(crate) const CODE: u8 = 2;

/// A byte of tags for each physical page.
#[derive(Debug)]
pub(crate) struct Pages {
    tags: Box<[u8]>,
    /// How often a page with code has been written: what was decoded before must be compared with memory again.
    versions: Box<[u32]>,
    tables: Vec<u32>,
    code: Vec<u32>,
    /// Counts the consequences: changes whenever translations are forgotten or code is written.
    consequences: u64,
    /// Pages that have become tables or code since somebody last asked, while somebody asks.
    news: Option<Vec<u32>>,
}

#[inline(always)]
const fn number(gpa: u64) -> usize {
    (gpa >> 12) as usize & (PAGES - 1)
}

impl Pages {
    pub(crate) fn new() -> Self {
        Self {
            tags: vec![0; PAGES].into_boxed_slice(),
            versions: vec![0; PAGES].into_boxed_slice(),
            tables: Vec::new(),
            code: Vec::new(),
            consequences: 0,
            news: None,
        }
    }

    /// Hands over the pages that have become tables or code since the last call; from the first call on they are listed.
    pub(crate) fn take_news(&mut self, into: &mut Vec<u32>) {
        into.append(self.news.get_or_insert_default());
    }

    /// A page that was nothing special becomes something.
    #[inline]
    fn tell(&mut self, number: usize) {
        if self.tags[number] == 0
            && let Some(news) = &mut self.news
        {
            news.push(number as u32);
            // Pages come and go as tables are forgotten; the list must not grow with that.
            if news.len() == news.capacity() {
                news.sort_unstable();
                news.dedup();
            }
        }
    }

    /// Changes whenever translations are forgotten or code is written.
    #[inline(always)]
    pub(crate) fn consequences(&self) -> u64 {
        self.consequences
    }

    /// The tags of the page of a physical address.
    #[inline(always)]
    pub(crate) fn tags(&self, gpa: u64) -> u8 {
        self.tags[number(gpa)]
    }

    /// Notes that a walk has read from the page of this physical address.
    #[inline]
    pub(crate) fn note_table(&mut self, gpa: u64) {
        let number = number(gpa);
        if self.tags[number] & TABLE == 0 {
            self.tell(number);
            self.tags[number] |= TABLE;
            self.tables.push(number as u32);
        }
    }

    /// No translation is remembered any more.
    pub(crate) fn forget_tables(&mut self) {
        for number in self.tables.drain(..) {
            self.tags[number as usize] &= !TABLE;
        }
        self.consequences = self.consequences.wrapping_add(1);
    }

    /// Notes that code of this page has been decoded, or compared with what was decoded. Returns the page's version.
    pub(crate) fn note_code(&mut self, gpa: u64) -> u32 {
        let number = number(gpa);
        if self.tags[number] & CODE == 0 {
            self.tell(number);
            self.tags[number] |= CODE;
            self.code.push(number as u32);
        }
        self.versions[number]
    }

    /// The version of a page's code.
    #[inline(always)]
    pub(crate) fn version(&self, gpa: u64) -> u32 {
        self.versions[number(gpa)]
    }

    /// A page has been written: if it holds code, that must be compared with memory before it is used again.
    #[inline]
    pub(crate) fn stored(&mut self, gpa: u64) {
        if self.tags(gpa) & CODE != 0 {
            self.code_stored(number(gpa));
        }
    }

    #[cold]
    fn code_stored(&mut self, number: usize) {
        self.tags[number] &= !CODE;
        self.versions[number] = self.versions[number].wrapping_add(1);
        self.consequences = self.consequences.wrapping_add(1);
        // The list may name a page twice; it must not grow with every store.
        if self.code.len() > 4096 {
            let tags = &self.tags;
            self.code.sort_unstable();
            self.code.dedup();
            self.code.retain(|number| tags[*number as usize] & CODE != 0);
            if self.code.len() > 2048 {
                self.all_stored();
            }
        }
    }

    /// Memory may have been written anywhere.
    pub(crate) fn all_stored(&mut self) {
        for number in self.code.drain(..) {
            let number = number as usize;
            if self.tags[number] & CODE != 0 {
                self.tags[number] &= !CODE;
                self.versions[number] = self.versions[number].wrapping_add(1);
            }
        }
        self.consequences = self.consequences.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_to_code_makes_a_new_version_once() {
        let mut pages = Pages::new();
        let version = pages.note_code(0x5123);
        pages.stored(0x6000);
        assert_eq!(pages.version(0x5000), version);
        pages.stored(0x5fff);
        pages.stored(0x5fff);
        assert_eq!(pages.version(0x5000), version + 1);
        assert_eq!(pages.tags(0x5000), 0);
        assert_eq!(pages.note_code(0x5000), version + 1);
        pages.all_stored();
        assert_eq!(pages.version(0x5000), version + 2);
    }

    #[test]
    fn what_becomes_special_is_told_once_to_whoever_asks() {
        let mut pages = Pages::new();
        let mut news = Vec::new();
        pages.note_code(0x1000);
        pages.take_news(&mut news);
        assert!(news.is_empty());
        pages.note_code(0x1000);
        pages.note_table(0x2000);
        pages.note_code(0x2000);
        pages.stored(0x2000);
        pages.forget_tables();
        pages.note_table(0x2000);
        pages.take_news(&mut news);
        assert_eq!(news, [2, 2]);
        news.clear();
        pages.take_news(&mut news);
        assert!(news.is_empty());
    }

    #[test]
    fn tables_are_forgotten_and_code_stays() {
        let mut pages = Pages::new();
        pages.note_table(0x5000);
        pages.note_code(0x5000);
        pages.forget_tables();
        assert_eq!(pages.tags(0x5000), CODE);
    }
}
