//! Files and functions stay small enough to be read in one go.

use std::collections::BTreeSet;

use segue_tidy::{assert_only_known, is_test_code, sources, without_tests};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};

/// Lines of a file without its unit tests.
const MAX_FILE_LINES: usize = 600;

/// Lines of a function, signature and braces included.
const MAX_FUNCTION_LINES: usize = 70;

const LONG_FILES: [&str; 0] = [];
const LONG_FUNCTIONS: [&str; 0] = [];

#[test]
fn files_are_short() {
    let mut found = BTreeSet::new();
    for extension in ["rs", "js", "css", "html"] {
        for (path, text) in sources(extension) {
            if !is_test_code(&path) && without_tests(&text).lines().count() > MAX_FILE_LINES {
                found.insert(path);
            }
        }
    }
    assert_only_known("a file over 600 lines without its tests", &found, &LONG_FILES);
}

struct Functions<'a> {
    path: &'a str,
    found: BTreeSet<String>,
}

impl Functions<'_> {
    fn check(&mut self, name: &syn::Ident, whole: proc_macro2::Span) {
        let lines = whole.end().line.saturating_sub(name.span().start().line) + 1;
        if lines > MAX_FUNCTION_LINES {
            self.found.insert(format!("{}: {name}", self.path));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = item.attrs.iter().any(|attr| attr.path().is_ident("cfg"));
        if !is_test {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig.ident, item.span());
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig.ident, item.span());
        visit::visit_impl_item_fn(self, item);
    }
}

#[test]
fn functions_are_short() {
    let mut found = BTreeSet::new();
    for (path, text) in sources("rs") {
        if is_test_code(&path) {
            continue;
        }
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        let mut functions = Functions { path: &path, found: BTreeSet::new() };
        functions.visit_file(&file);
        found.extend(functions.found);
    }
    assert_only_known("a function over 70 lines", &found, &LONG_FUNCTIONS);
}
