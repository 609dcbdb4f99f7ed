//! What a text of Rust defines: parsed, never compiled.

use std::collections::{HashMap, HashSet};

use ra_ap_syntax::ast::{self, AstToken, HasDocComments, HasModuleItem, HasName, HasVisibility};
use ra_ap_syntax::{AstNode, NodeOrToken, SyntaxKind, SyntaxNode};

use super::super::is_complete::without_commands;
use super::super::parsing::parsed;
use super::Entry;

/// The longest declaration that is shown on one line, in characters.
const LABEL: usize = 300;

/// Reads definitions.
pub struct Reading {
    entries: Vec<Entry>,
}

impl Reading {
    /// What a cell defines on its top level: variables, items, methods. Nothing when the parser gives up.
    pub fn of_a_cell(code: &str) -> Vec<Entry> {
        let rust = without_commands(code);
        let body = format!("fn cell() {{\n{rust}\n}}");
        let read = parsed(&body, |file| {
            let mut reading = Reading {
                entries: Vec::new(),
            };
            let cell = file.tree().items().find_map(|item| match item {
                ast::Item::Fn(cell) => cell.body()?.stmt_list(),
                _ => None,
            });
            for statement in cell.iter().flat_map(ast::StmtList::statements) {
                match statement {
                    ast::Stmt::LetStmt(binding) => reading.binding(&binding),
                    ast::Stmt::Item(item) => reading.item(&item, true),
                    ast::Stmt::ExprStmt(_) => {}
                }
            }
            reading.entries
        });
        read.unwrap_or_default()
    }

    /// What the prelude exports, with the methods of its types. `files` are its sources.
    pub fn of_the_prelude(files: &[(&str, &str)]) -> Vec<Entry> {
        let lib = files.iter().find(|(name, _)| name.ends_with("/lib.rs"));
        // By name: from which module.
        let exported: HashMap<String, String> =
            lib.iter().flat_map(|(_, text)| exports(text)).collect();
        let mut entries = Vec::new();
        for (file, text) in files {
            let found = parsed(text, |file| {
                let mut reading = Reading {
                    entries: Vec::new(),
                };
                file.tree()
                    .items()
                    .for_each(|item| reading.item(&item, false));
                reading.entries
            });
            // Other modules may have something of the same name for themselves.
            let is_of = |module: &String| {
                file.ends_with(&format!("/{module}.rs")) || file.contains(&format!("/{module}/"))
            };
            let is_public = |entry: &Entry| match &entry.owner {
                Some(owner) => exported.get(owner).is_some_and(is_of),
                None => entry.kind == "macro" || exported.get(&entry.name).is_some_and(is_of),
            };
            entries.extend(found.into_iter().flatten().filter(is_public));
        }
        // What comes from std, or from a macro, is known by its name alone.
        let found: HashSet<String> = entries
            .iter()
            .filter(|entry| entry.owner.is_none())
            .map(|entry| entry.name.clone())
            .collect();
        let mut rest: Vec<String> = exported
            .into_keys()
            .filter(|name| !found.contains(name))
            .collect();
        rest.sort();
        entries.extend(rest.into_iter().map(|name| Entry {
            kind: "struct",
            label: name.clone(),
            doc: String::new(),
            source: String::new(),
            owner: None,
            words: vec![name.clone()],
            name,
        }));
        entries
    }

    fn binding(&mut self, binding: &ast::LetStmt) {
        let source = binding.syntax().text().to_string();
        let typed: Option<SyntaxNode> = binding.ty().map(|ty| ty.syntax().clone());
        let from = typed.or_else(|| binding.initializer().map(|value| value.syntax().clone()));
        let words = from.iter().flat_map(words).collect::<Vec<_>>();
        let Some(pattern) = binding.pat() else { return };
        for name in pattern
            .syntax()
            .descendants()
            .filter_map(ast::IdentPat::cast)
            .filter_map(|pattern| pattern.name())
        {
            self.entries.push(Entry {
                name: name.text().to_string(),
                kind: "instance",
                label: one_line(&source),
                doc: String::new(),
                source: source.clone(),
                owner: None,
                words: words.clone(),
            });
        }
    }

    /// Adds what an item defines. `all`: private ones too.
    fn item(&mut self, item: &ast::Item, all: bool) {
        match item {
            ast::Item::Fn(function) => self.function(function, None, all),
            ast::Item::Struct(it) => self.named(it, "struct", "struct", all),
            ast::Item::Enum(it) => self.named(it, "enum", "enum", all),
            ast::Item::Union(it) => self.named(it, "struct", "union", all),
            ast::Item::Trait(it) => self.named(it, "interface", "trait", all),
            ast::Item::TypeAlias(it) => self.named(it, "class", "type", all),
            ast::Item::Const(it) => self.named(it, "constant", "const", all),
            ast::Item::Static(it) => self.named(it, "constant", "static", all),
            ast::Item::Module(it) => self.named(it, "module", "mod", all),
            ast::Item::MacroRules(it) => {
                let text = it.syntax().text().to_string();
                // `#[macro_export]` is what makes one public; a name with `__` is for other macros.
                if (all || text.contains("#[macro_export]"))
                    && it.name().is_some_and(|name| !name.text().starts_with("__"))
                {
                    self.add(
                        it,
                        "macro",
                        |name| format!("macro {name}!"),
                        None,
                        Vec::new(),
                        all,
                    );
                }
            }
            ast::Item::Impl(it) if it.trait_().is_none() => {
                let owner = it
                    .self_ty()
                    .and_then(|ty| words(ty.syntax()).into_iter().next());
                let functions = it
                    .assoc_item_list()
                    .into_iter()
                    .flat_map(|list| list.assoc_items());
                for function in functions {
                    if let (ast::AssocItem::Fn(function), Some(owner)) = (function, &owner) {
                        self.function(&function, Some(owner), all);
                    }
                }
            }
            _ => {}
        }
    }

    fn function(&mut self, function: &ast::Fn, owner: Option<&str>, all: bool) {
        if !all
            && function
                .visibility()
                .is_none_or(|visibility| visibility.syntax().text() != "pub")
        {
            return;
        }
        let is_method = function
            .param_list()
            .is_some_and(|parameters| parameters.self_param().is_some());
        let kind = if is_method { "method" } else { "function" };
        let label = head(function.syntax());
        let label = match owner {
            Some(owner) => format!("{owner}: {label}"),
            None => label,
        };
        let gives = function
            .ret_type()
            .iter()
            .flat_map(|ty| words(ty.syntax()))
            .collect();
        self.add(function, kind, |_| label, owner, gives, all);
    }

    fn named(
        &mut self,
        item: &(impl HasName + HasDocComments + HasVisibility),
        kind: &'static str,
        keyword: &str,
        all: bool,
    ) {
        if all || item.visibility().is_some() {
            self.add(
                item,
                kind,
                |name| format!("{keyword} {name}"),
                None,
                Vec::new(),
                all,
            );
        }
    }

    fn add(
        &mut self,
        item: &(impl HasName + HasDocComments),
        kind: &'static str,
        label: impl FnOnce(&str) -> String,
        owner: Option<&str>,
        words: Vec<String>,
        with_source: bool,
    ) {
        let Some(name) = item.name() else { return };
        let name = name.text().to_string();
        let doc: Vec<String> = item
            .doc_comments()
            .filter_map(|comment| Some(comment.doc_comment()?.0.trim_start_matches(' ').to_owned()))
            .collect();
        // The documentation is shown apart.
        let source = item
            .syntax()
            .text()
            .to_string()
            .lines()
            .skip_while(|line| line.trim_start().starts_with("///"))
            .collect::<Vec<_>>()
            .join("\n");
        self.entries.push(Entry {
            label: label(&name),
            name,
            kind,
            doc: without_hidden_lines(&doc.join("\n")),
            source: if with_source { source } else { String::new() },
            owner: owner.map(str::to_owned),
            words,
        });
    }
}

/// The names that `pub use` brings out of a file, each with the first word of its path.
fn exports(text: &str) -> Vec<(String, String)> {
    let exported = parsed(text, |file| {
        let uses = file.tree().items().filter_map(|item| match item {
            ast::Item::Use(it) if it.visibility().is_some() => it.use_tree(),
            _ => None,
        });
        let mut names = Vec::new();
        for tree in uses {
            let Some(module) = words(tree.syntax()).into_iter().next() else {
                continue;
            };
            for leaf in tree.syntax().descendants().filter_map(ast::UseTree::cast) {
                let path = leaf.path().filter(|_| leaf.use_tree_list().is_none());
                let name = path.and_then(|path| path.segment()?.name_ref());
                names.extend(name.map(|name| (name.text().to_string(), module.clone())));
            }
        }
        names
    });
    exported.unwrap_or_default()
}

/// A function's text up to its body, on one line, without documentation and attributes.
fn head(function: &SyntaxNode) -> String {
    let parts = function.children_with_tokens().filter(|part| {
        !matches!(
            part.kind(),
            SyntaxKind::COMMENT | SyntaxKind::ATTR | SyntaxKind::BLOCK_EXPR
        )
    });
    one_line(&parts.map(|part| part.to_string()).collect::<String>())
}

fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(LABEL) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

/// The names in a piece of syntax, in their order.
fn words(node: &SyntaxNode) -> Vec<String> {
    node.descendants_with_tokens()
        .filter_map(NodeOrToken::into_token)
        .filter_map(ast::Ident::cast)
        .map(|name| name.text().to_owned())
        .collect()
}

/// Documentation as a reader sees it: rustdoc hides lines of examples that begin with `# `.
fn without_hidden_lines(doc: &str) -> String {
    let mut in_code = false;
    let shown = doc.lines().filter(|line| {
        in_code ^= line.starts_with("```");
        !(in_code && (line.starts_with("# ") || *line == "#"))
    });
    shown.collect::<Vec<_>>().join("\n")
}
