//! Sources and documents are tidy: sizes, module headers, banned words, no dead modules, links
//! that resolve. There are no exemptions.
#![expect(clippy::unwrap_used, reason = "test code")]

mod sources;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sources::{read, root, tracked, with_extension};
use syn::spanned::Spanned;
use syn::visit::Visit;

const FILE_LINES_MAX: usize = 500;
const FUNCTION_LINES_MAX: usize = 70;
const ARCHITECTURE_LINES_MAX: usize = 250;

#[test]
fn rust_files_are_short_and_say_what_they_are() {
    let mut problems = Vec::new();
    for path in with_extension("rs") {
        let text = read(&path);
        let lines = text.lines().count();
        if lines > FILE_LINES_MAX {
            problems.push(format!("{}: {lines} lines, at most {FILE_LINES_MAX}", path.display()));
        }
        if !text.starts_with("//!") {
            problems.push(format!("{}: does not begin with a `//!` header", path.display()));
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

struct Functions<'a> {
    path: &'a Path,
    problems: Vec<String>,
}

impl Functions<'_> {
    fn check(&mut self, name: &syn::Ident, block: &syn::Block) {
        let span = block.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES_MAX {
            self.problems.push(format!(
                "{}:{}: fn {name} has {lines} lines, at most {FUNCTION_LINES_MAX}",
                self.path.display(),
                span.start().line
            ));
        }
    }
}

impl<'ast> Visit<'ast> for Functions<'_> {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.check(&item.sig.ident, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.check(&item.sig.ident, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.check(&item.sig.ident, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn functions_are_short() {
    let mut problems = Vec::new();
    for path in with_extension("rs") {
        let file = syn::parse_file(&read(&path)).unwrap();
        let mut functions = Functions { path: &path, problems: Vec::new() };
        functions.visit_file(&file);
        problems.append(&mut functions.problems);
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn banned_words_are_absent() {
    // Spelled in halves so that this file does not contain them.
    let words: [(String, &str); 9] = [
        (format!("to{}!", "do"), "finish it, or leave it out"),
        (format!("unimplem{}!", "ented"), "finish it, or leave it out"),
        (format!("db{}!", "g"), "use tracing"),
        (format!("#[ign{}", "ore"), "a test that does not run proves nothing"),
        (format!("#[should_{}", "panic"), "return an error and test for it"),
        (format!("#[all{}(", "ow"), "use #[expect(.., reason = \"..\")]"),
        (format!("FIX{}", "ME"), "fix it, or open an issue"),
        (format!("XX{}", "X"), "say what you mean"),
        (format!("unsa{} {{", "fe"), "no unsafe code here"),
    ];
    let mut problems = Vec::new();
    for path in with_extension("rs") {
        let text = read(&path);
        for (number, line) in text.lines().enumerate() {
            for (word, instead) in &words {
                if line.contains(word.as_str()) {
                    problems.push(format!("{}:{}: `{word}`: {instead}", path.display(), number + 1));
                }
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}

#[test]
fn names_say_what_is_inside() {
    let banned = ["utils", "util", "common", "manager", "helpers", "misc", "types"];
    let problems: Vec<String> = tracked()
        .iter()
        .filter(|path| {
            path.components().any(|part| {
                let name = part.as_os_str().to_string_lossy();
                banned.contains(&name.split('.').next().unwrap_or_default())
            })
        })
        .map(|path| path.display().to_string())
        .collect();
    assert!(problems.is_empty(), "names that say nothing:\n{}", problems.join("\n"));
}

/// Files that a `mod name;` in `path` may mean.
fn module_files(path: &Path, name: &str) -> [PathBuf; 2] {
    let stem = path.file_stem().unwrap().to_string_lossy();
    let parent = path.parent().unwrap();
    let is_target = parent.ends_with("tests") || parent.ends_with("examples");
    let is_root = ["lib", "main", "mod"].contains(&&*stem) || is_target;
    let folder = if is_root { parent.to_owned() } else { parent.join(&*stem) };
    [folder.join(format!("{name}.rs")), folder.join(name).join("mod.rs")]
}

/// The file that a `#[path = "..."]` names.
fn named_file(attributes: &[syn::Attribute]) -> Option<String> {
    attributes.iter().find(|attribute| attribute.path().is_ident("path")).and_then(|attribute| {
        let syn::Meta::NameValue(pair) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(file), .. }) = &pair.value else { return None };
        Some(file.value())
    })
}

fn declared_modules(items: &[syn::Item], path: &Path, found: &mut BTreeSet<PathBuf>) {
    for item in items {
        if let syn::Item::Mod(module) = item {
            match &module.content {
                None => found.extend(match named_file(&module.attrs) {
                    Some(file) => vec![path.parent().unwrap().join(file)],
                    None => module_files(path, &module.ident.to_string()).to_vec(),
                }),
                Some((_, inner)) => declared_modules(inner, path, found),
            }
        }
    }
}

#[test]
fn no_module_is_dead() {
    let files = with_extension("rs");
    let mut declared = BTreeSet::new();
    for path in &files {
        declared_modules(&syn::parse_file(&read(path)).unwrap().items, path, &mut declared);
    }
    let is_target = |path: &Path| {
        let parent = path.parent().unwrap();
        path.ends_with("src/lib.rs")
            || path.ends_with("src/main.rs")
            || path.ends_with("build.rs")
            || parent.ends_with("examples")
            || parent.ends_with("fuzz/targets")
            || parent.ends_with("tests")
    };
    let dead: Vec<String> = files
        .iter()
        .filter(|path| !declared.contains(*path) && !is_target(path))
        .map(|path| path.display().to_string())
        .collect();
    assert!(dead.is_empty(), "no `mod` names these files:\n{}", dead.join("\n"));
}

#[test]
fn documents_are_short_and_their_links_resolve() {
    let mut problems = Vec::new();
    for path in with_extension("md") {
        let text = read(&path);
        if path.ends_with("docs/ARCHITECTURE.md") && text.lines().count() > ARCHITECTURE_LINES_MAX {
            problems.push(format!("{}: above {ARCHITECTURE_LINES_MAX} lines", path.display()));
        }
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or_default();
            let external = target.contains("://") || file.is_empty();
            if !external && !root().join(path.parent().unwrap()).join(file).exists() {
                problems.push(format!("{}: broken link {target}", path.display()));
            }
        }
    }
    assert!(problems.is_empty(), "\n{}", problems.join("\n"));
}
